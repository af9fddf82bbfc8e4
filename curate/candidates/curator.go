package candidates

import (
	"strings"

	"stillhouse/internal/rowfile"
)

// curatorRequests are the requests of Bespoke Curator 0.1.27: requests_N.jsonl in its working folder.
var curatorRequests = &shape{format: "curator", title: "requests of Bespoke Curator", needs: "messages, original_row", own: true, request: true,
	is: func(h *head) bool { return h.has("messages") && h.any("original_row", "original_row_idx") },
	read: func(r *row) ([]read, error) {
		i, err := curatorPrompt(r.at("messages"))
		return []read{{Item: i, Request: true, Begins: true}}, err
	}}

// curatorResponses are the lines of responses_N.jsonl, in the order in which answers came (types/generic_response.py at
// 8f26600e). The row of the user's dataset that each belongs to is in them, so the order of the prompts is that of the
// dataset, with the requests or without them.
var curatorResponses = &shape{format: "curator", title: "responses of Bespoke Curator", needs: "response_message, generic_request", own: true,
	is: func(h *head) bool { return h.has("response_message", "generic_request") },
	read: func(r *row) ([]read, error) {
		if err := r.missing("generic_request"); err != nil {
			return nil, err
		}
		request := r.at("generic_request")
		i, err := curatorPrompt(dig(request, "messages"))
		if err != nil {
			return nil, err
		}
		raw := r.at("raw_response")
		i.Model = word(dig(request, "model"))
		i.FinishReason = word(r.at("finish_reason"))
		if i.FinishReason == "" {
			i.FinishReason = word(dig(raw, "choices", 0, "finish_reason"))
		}
		i.PromptTokens = firstCount(dig(r.at("token_usage"), "input"), dig(raw, "usage", "prompt_tokens"))
		i.CompletionTokens = firstCount(dig(r.at("token_usage"), "output"), dig(raw, "usage", "completion_tokens"))
		i.SystemFingerprint = optional(dig(raw, "system_fingerprint"))
		c := counted(i)
		if n, ok := whole(dig(request, "original_row_idx")); ok {
			at := int64(n)
			c.row = &at
		}
		if errs := r.at("response_errors"); r.at("response_message") == nil && !noPrompt(errs) {
			return []read{c.fail(APIError, curatorErrors(errs))}, nil
		}
		var a answer
		if m := dig(raw, "choices", 0, "message"); m != nil {
			if a, err = messageAnswer(m); err != nil {
				return nil, err
			}
		}
		if said := r.at("response_message"); said != nil { // which structured output has made an object of
			b, err := answerOf(said)
			if err != nil {
				return nil, err
			}
			a.text, a.there = b.text, b.there
		}
		return []read{c.take(a)}, nil
	}}

func curatorPrompt(messages any) (i Item, err error) {
	if noPrompt(messages) {
		return i, rowfile.BadRowf("the request has no messages")
	}
	return i, promptOf(&i.Prompt, messages)
}

func curatorErrors(v any) string {
	list, ok := v.([]any)
	if !ok {
		return word(v)
	}
	var out []string
	for _, e := range list {
		out = append(out, word(e))
	}
	return strings.Join(out, "; ")
}

func firstCount(values ...any) int32 {
	for _, v := range values {
		if n, ok := whole(v); ok {
			return n
		}
	}
	return 0
}
