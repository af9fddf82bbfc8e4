package candidates

import (
	"slices"
	"strings"

	"stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
)

// distilabelGenerations are the rows of distilabel 1.5's tasks (steps/tasks/base.py, text_generation.py): one a
// generation; or, with group_generations, one a prompt, in which generation and distilabel_metadata are lists.
var distilabelGenerations = &shape{format: "distilabel", title: "distilabel generations", needs: "instruction or messages, generation", own: true,
	is: func(h *head) bool {
		return h.has("generation", "distilabel_metadata") || h.has("generation") && h.any("instruction", "model_name") && !h.any(nemoMarks...)
	},
	read: func(r *row) ([]read, error) { return generations(r, "generation") }}

// distilabelGroups are rows in which steps/columns/group.py put the answers of several models side by side.
var distilabelGroups = &shape{format: "distilabel", title: "distilabel generations", needs: "instruction or messages, generations", own: true,
	is:   func(h *head) bool { return h.has("generations") && h.any("instruction", "messages", "prompt") },
	read: func(r *row) ([]read, error) { return generations(r, "generations") }}

// generations makes candidates of a row with one answer or a list of them.
func generations(r *row, column string) (out []read, err error) {
	if err := r.missing(column); err != nil {
		return nil, err
	}
	if err := r.missing("instruction", "messages", "prompt"); err != nil {
		return nil, err
	}
	prompt := r.at("instruction")
	for _, name := range []string{"messages", "prompt"} {
		if noPrompt(prompt) {
			prompt = r.at(name)
		}
	}
	var i Item
	if noPrompt(prompt) {
		return []read{counted(i).unplaced().fail(NoPrompt, "there is no instruction")}, nil
	}
	if err := promptOf(&i.Prompt, prompt); err != nil {
		return nil, err
	}
	if err := addSystem(&i.Prompt, r.at("system_prompt")); err != nil {
		return nil, err
	}
	list, several := r.at(column).([]any)
	if !several {
		return generation(counted(i), r, r.at(column), 0)
	}
	if len(list) == 0 {
		return []read{counted(i).unplaced().fail(NoResponse, "the list of generations is empty")}, nil
	}
	for n, v := range list {
		got, err := generation(numbered(i, n), r, v, n)
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

// generation makes the n-th candidate of a row.
func generation(c read, r *row, v any, n int) ([]read, error) {
	for _, name := range []string{"generation_models", "generation_model", "model_names", "model_name"} {
		if c.Model == "" {
			c.Model = word(nth(r.at(name), n))
		}
	}
	meta, _ := nth(r.at("distilabel_metadata"), n).(map[string]any)
	var steps []string
	for name := range meta {
		if strings.HasPrefix(name, "statistics_") {
			steps = append(steps, name)
		}
	}
	if slices.Sort(steps); len(steps) > 0 { // of the last step, where there are several
		s := meta[steps[len(steps)-1]]
		c.PromptTokens, c.CompletionTokens = count(nth(dig(s, "input_tokens"), 0)), count(nth(dig(s, "output_tokens"), 0))
	}
	if _, ok := v.([]any); ok {
		return nil, rowfile.BadRowf("answer %d is %s: it must be a text", n, conversation.KindOf(v))
	}
	a, err := answerOf(v)
	if err != nil {
		return nil, err
	}
	return []read{c.take(a)}, nil
}
