package candidates

import (
	"regexp"
	"strconv"
	"strings"
)

// nemoSkills are the rows of NeMo-Skills 0.7's generate step (inference/generate.py at 0b012df8), a file a seed:
// output-rs0.jsonl and so on. Neither the prompt as it was filled nor the model is in them.
var nemoSkills = &shape{format: "nemo_skills", title: "NeMo-Skills outputs", needs: "generation, and problem, question or messages", own: true,
	is: func(h *head) bool {
		return h.has("generation") && !h.has("distilabel_metadata") && (h.any(nemoMarks...) || h.any("problem", "question"))
	},
	read: nemoRow}

// nemoMarks are columns that its generate step adds.
var nemoMarks = []string{"num_generated_tokens", "serialized_output", "generation_start_time", "_full_generation"}

// seedFile is the name of a file of one seed.
var seedFile = regexp.MustCompile(`-rs(\d{1,6})(?:[._-]|$)`)

func nemoRow(r *row) ([]read, error) {
	if err := r.missing("generation"); err != nil {
		return nil, err
	}
	if err := r.missing("messages", "problem", "question"); err != nil {
		return nil, err
	}
	var i Item
	i.Reference = optional(r.at("expected_answer"))
	i.FinishReason = word(r.at("finish_reason"))
	i.PromptTokens, i.CompletionTokens = count(r.at("num_input_tokens")), count(r.at("num_generated_tokens"))
	i.Reasoning, i.ToolCalls = optional(r.at("reasoning_content")), callsText(r.at("tool_calls"))
	if full, ok := r.at("_full_generation").(string); ok && i.Reasoning == nil {
		i.Reasoning = thought(full)
	}
	c := counted(i)
	if m := seedFile.FindStringSubmatch(r.file.base); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			c = numbered(i, n)
			c.Begins = true
		}
	}
	var prompt any
	for _, name := range []string{"messages", "problem", "question"} {
		if noPrompt(prompt) {
			prompt = r.at(name)
		}
	}
	return pair(c, prompt, r.at("generation"))
}

// thought is the reasoning in a whole generation: what stands before </think>, or all of it where that never came.
func thought(full string) *string {
	before, _, _ := strings.Cut(full, "</think>")
	before = strings.TrimSpace(before)
	before = strings.TrimSpace(strings.TrimPrefix(before, "<think>"))
	if before == "" {
		return nil
	}
	return &before
}
