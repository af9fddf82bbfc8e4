package candidates

import (
	"fmt"

	"stillhouse"
	"stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
)

// promptCompletion are TRL 1.16's prompt-completion rows: texts or messages. Rows that this program exported have more
// columns, by the names that candidates have.
var promptCompletion = &shape{format: "prompt_completion", title: "prompt and completion", needs: "prompt, completion",
	is: func(h *head) bool { return h.has("prompt", "completion") },
	read: func(r *row) ([]read, error) {
		if err := r.missing("prompt"); err != nil {
			return nil, err
		}
		if err := r.missing("completion"); err != nil {
			return nil, err
		}
		i := Item{}
		i.ID, i.Model, i.FinishReason = word(r.at("prompt_id")), word(r.at("model")), word(r.at("finish_reason"))
		i.Reference, i.Reasoning, i.ToolCalls = optional(r.at("reference")), optional(r.at("reasoning")), callsText(r.at("tool_calls"))
		i.PromptTokens, i.CompletionTokens = count(r.at("prompt_tokens")), count(r.at("completion_tokens"))
		var err error
		if i.Tools, err = toolsText(r.at("tools")); err != nil {
			return nil, err
		}
		sample, named := whole(r.at("sample"))
		c := counted(i)
		if named {
			c = numbered(i, int(sample))
		}
		c.Begins = true
		return pair(c, r.at("prompt"), r.at("completion"))
	}}

// pair makes a candidate of a prompt and an answer.
func pair(c read, prompt, completion any) ([]read, error) {
	if noPrompt(prompt) {
		return []read{c.unplaced().fail(NoPrompt, "there is no prompt")}, nil
	}
	if len(c.Prompt.Prompt) == 0 {
		if err := promptOf(&c.Prompt, prompt); err != nil {
			return nil, err
		}
	}
	a, err := answerOf(completion)
	if err != nil {
		return nil, err
	}
	if c.Reasoning != nil {
		a.reasoning = c.Reasoning
	}
	if c.ToolCalls != nil {
		a.calls = c.ToolCalls
	}
	return []read{c.take(a)}, nil
}

// alpaca are rows of instruction, input and output, as LLaMA-Factory reads them (data/README.md at 015ff251), with system
// and history where they are there.
var alpaca = &shape{format: "alpaca", title: "Alpaca rows", needs: "instruction, output, and input where there is one",
	is: func(h *head) bool { return h.has("instruction", "output") },
	read: func(r *row) ([]read, error) {
		if err := r.missing("instruction"); err != nil {
			return nil, err
		}
		if err := r.missing("output"); err != nil {
			return nil, err
		}
		said := word(r.at("instruction"))
		if input := word(r.at("input")); input != "" {
			if said != "" {
				said += "\n"
			}
			said += input
		}
		var list []any
		history, _ := r.at("history").([]any)
		for _, h := range history {
			list = append(list, map[string]any{"role": "user", "content": dig(h, 0)}, map[string]any{"role": "assistant", "content": dig(h, 1)})
		}
		c := counted(Item{})
		if said == "" {
			return pair(c, nil, r.at("output"))
		}
		if len(list) == 0 {
			c.Prompt.Prompt = user(said)
		} else if err := promptOf(&c.Prompt, append(list, map[string]any{"role": "user", "content": said})); err != nil {
			return nil, err
		}
		if err := addSystem(&c.Prompt, r.at("system")); err != nil {
			return nil, err
		}
		return pair(c, said, r.at("output"))
	}}

func user(text string) []stillhouse.Message {
	return []stillhouse.Message{{Role: "user", Content: text}}
}

// openRLHF are the rows that OpenRLHF 0.9.5 writes (cli/batch_inference.py): what went to the model and what came back, and
// what a reward model said of it. All prompts come N times over.
var openRLHF = &shape{format: "openrlhf", title: "OpenRLHF generations", needs: "input, output, and reward where there is one",
	is: func(h *head) bool { return h.has("input", "output") && !h.has("instruction") },
	read: func(r *row) ([]read, error) {
		if err := r.missing("input"); err != nil {
			return nil, err
		}
		if err := r.missing("output"); err != nil {
			return nil, err
		}
		i := Item{}
		if err := rewarded(&i, r.at("reward")); err != nil {
			return nil, err
		}
		return pair(counted(i), r.at("input"), r.at("output"))
	}}

// rewarded keeps the source's reward in meta.
func rewarded(i *Item, v any) (err error) {
	if v != nil {
		i.Meta, err = encoded(map[string]any{"reward": v})
	}
	return err
}

// preference are pairs for DPO: as OpenRLHF's iter_dpo writes them, with rewards, and as TRL reads them. The answers may be
// messages, with or without the prompt's before them.
var preference = &shape{format: "preference", title: "preference pairs", needs: "prompt, chosen, rejected",
	is: func(h *head) bool { return h.has("prompt", "chosen", "rejected") },
	read: func(r *row) (out []read, err error) {
		for n, name := range []string{"chosen", "rejected"} {
			if err := r.missing(name); err != nil {
				return nil, err
			}
			i := Item{}
			if err := rewarded(&i, r.at(name+"_reward")); err != nil {
				return nil, err
			}
			v := r.at(name)
			if list, ok := v.([]any); ok && len(list) > 1 && dig(list[0], "role") != "assistant" {
				v = list[len(list)-1:]
			}
			c := numbered(i, n)
			c.Pair = true
			got, err := pair(c, r.at("prompt"), v)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			out = append(out, got...)
		}
		return out, nil
	}}

// mappedShape is what the config's columns say.
func mappedShape(c *Columns) *shape {
	s := &shape{format: "columns", title: "the columns of candidates.columns", read: func(r *row) ([]read, error) { return mappedRow(r, c) }}
	if c.Messages != "" {
		s.read = func(r *row) ([]read, error) {
			v, ok := r.find(c.Messages)
			if !ok {
				return nil, r.missing(c.Messages)
			}
			list, ok := v.([]any)
			if !ok {
				return nil, rowfile.BadRowf("column %q is %s: it must be a list of messages", c.Messages, conversation.KindOf(v))
			}
			if len(list) > 0 && dig(list[0], "from") != nil {
				for n, turn := range list {
					m, err := shareGPTTurn(turn)
					if err != nil {
						return nil, err
					}
					list[n] = m
				}
			}
			return turns(r, Item{}, list)
		}
	}
	return s
}

// mappedRow makes candidates of the columns prompt and completion, where that may be a list of texts.
func mappedRow(r *row, c *Columns) (out []read, err error) {
	prompt, ok := r.find(c.Prompt)
	if !ok {
		return nil, r.missing(c.Prompt)
	}
	completion, ok := r.find(c.Completion)
	if !ok {
		return nil, r.missing(c.Completion)
	}
	list, several := completion.([]any)
	if several && len(list) > 0 {
		_, isMessage := list[0].(map[string]any)
		several = !isMessage
	}
	if !several {
		return pair(counted(Item{}), prompt, completion)
	}
	if len(list) == 0 {
		c := counted(Item{}).unplaced().fail(NoResponse, "the list of answers is empty")
		return []read{c}, promptOf(&c.Prompt, prompt)
	}
	for n, v := range list {
		got, err := pair(numbered(Item{}, n), prompt, v)
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}
