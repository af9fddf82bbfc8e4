package candidates

import (
	"stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
)

// datatrove are the documents that datatrove 0.10's InferenceRunner writes (pipeline/inference/run_inference.py at
// a649de79): the prompt is the document's text, the answers are metadata.rollout_results. Rollouts that failed are not there.
var datatrove = &shape{format: "datatrove", title: "datatrove documents", needs: "text, metadata.rollout_results", own: true,
	is: func(h *head) bool {
		return h.has("text", "metadata") && dig(h.first["metadata"], "rollout_results") != nil
	},
	read: func(r *row) (out []read, err error) {
		if err := r.missing("text"); err != nil {
			return nil, err
		}
		var i Item
		i.ID = word(r.at("id"))
		if noPrompt(r.at("text")) {
			return []read{counted(i).unplaced().fail(NoPrompt, "the document has no text")}, nil
		}
		if err := promptOf(&i.Prompt, r.at("text")); err != nil {
			return nil, err
		}
		results := dig(r.at("metadata"), "rollout_results")
		list, ok := results.([]any)
		if !ok && results != nil {
			return nil, rowfile.BadRowf("metadata.rollout_results is %s: it must be a list", conversation.KindOf(results))
		}
		if len(list) == 0 {
			return []read{counted(i).unplaced().fail(NoResponse, "the document has no rollout results")}, nil
		}
		for n, v := range list {
			c := numbered(i, n)
			c.FinishReason = word(dig(v, "finish_reason"))
			c.PromptTokens, c.CompletionTokens = count(dig(v, "usage", "prompt_tokens")), count(dig(v, "usage", "completion_tokens"))
			a, err := answerOf(dig(v, "text"))
			if err != nil {
				return nil, err
			}
			a.reasoning = optional(dig(v, "reasoning"))
			out = append(out, c.take(a))
		}
		return out, nil
	}}
