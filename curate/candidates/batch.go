package candidates

import (
	"fmt"
	"strings"

	"stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
)

const batchFormat = "openai_batch"

// batchInput are the requests of OpenAI's Batch API, and of vLLM's run_batch (BatchRequestInput at 0056ae7b).
var batchInput = &shape{format: batchFormat, title: "input of OpenAI's Batch API", needs: "custom_id, body", own: true, request: true,
	is: func(h *head) bool { return h.has("custom_id", "body") && !h.has("response") },
	read: func(r *row) ([]read, error) {
		id := word(r.at("custom_id"))
		if id == "" {
			return nil, rowfile.BadRowf(`column "custom_id" holds no id`)
		}
		body := r.at("body")
		prompt := dig(body, "messages")
		if prompt == nil {
			prompt = dig(body, "prompt")
		}
		if prompt == nil {
			return nil, rowfile.BadRowf("the request to %s has neither messages nor a prompt in its body: only chat completions and completions can be read", word(r.at("url")))
		}
		var i Item
		i.ID = id
		if err := promptOf(&i.Prompt, prompt); err != nil {
			return nil, err
		}
		var err error
		if i.Tools, err = toolsText(dig(body, "tools")); err != nil {
			return nil, err
		}
		return []read{{Item: i, Request: true, Begins: true}}, nil
	}}

// batchOutput are the answers (BatchRequestOutput), which name their requests by custom_id. What is in the file of errors
// has the same form.
var batchOutput = &shape{format: batchFormat, title: "output of OpenAI's Batch API", needs: "custom_id, response", own: true,
	is: func(h *head) bool { return h.has("custom_id") && h.any("response", "error") && !h.has("body") },
	read: func(r *row) (out []read, err error) {
		if err := r.missing("custom_id"); err != nil {
			return nil, err
		}
		var i Item
		if i.ID = word(r.at("custom_id")); i.ID == "" {
			return nil, rowfile.BadRowf(`column "custom_id" holds no id`)
		}
		bare := read{Item: i, Begins: true, Bare: true}
		body := dig(r.at("response"), "body")
		status, known := whole(dig(r.at("response"), "status_code"))
		choices, _ := dig(body, "choices").([]any)
		if failed := r.at("error"); failed != nil || body == nil || known && status != 200 || dig(body, "error") != nil {
			return []read{bare.unplaced().fail(APIError, batchError(failed, body, status))}, nil
		}
		if len(choices) == 0 {
			return []read{bare.unplaced().fail(NoContent, "the response has no choices")}, nil
		}
		for n, choice := range choices {
			got, err := chatChoice(bare, body, choice, n, len(choices))
			if err != nil {
				return nil, err
			}
			got.Begins = n == 0
			out = append(out, got)
		}
		return out, nil
	}}

// batchError is what the source says of a request that failed.
func batchError(failed, body any, status int32) string {
	inner := dig(body, "error")
	if inner == nil {
		inner = failed
	}
	var parts []string
	if status != 0 && status != 200 {
		parts = append(parts, fmt.Sprintf("status %d", status))
	}
	for _, key := range []string{"code", "message"} {
		if s := word(dig(inner, key)); s != "" {
			parts = append(parts, s)
		}
	}
	if s, ok := inner.(string); ok {
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		return "there is neither an answer nor an error"
	}
	return strings.Join(parts, ": ")
}

// chatChoice makes a candidate of a choice of a chat completion, or of a completion, in which it has its text bare. usage
// counts all choices together, so that it is an answer's only where there is one.
func chatChoice(c read, body, choice any, n, all int) (read, error) {
	c.Sample = int32(n)
	if index, ok := whole(dig(choice, "index")); ok {
		c.Sample = index
	}
	c.Model, c.FinishReason = word(dig(body, "model")), word(dig(choice, "finish_reason"))
	c.SystemFingerprint = optional(dig(body, "system_fingerprint"))
	c.PromptTokens = count(dig(body, "usage", "prompt_tokens"))
	c.CachedTokens = optionalCount(dig(body, "usage", "prompt_tokens_details", "cached_tokens"))
	if all == 1 {
		c.CompletionTokens = count(dig(body, "usage", "completion_tokens"))
		c.ReasoningTokens = optionalCount(dig(body, "usage", "completion_tokens_details", "reasoning_tokens"))
	}
	message := dig(choice, "message")
	if message == nil {
		message = dig(choice, "text")
	}
	if list, ok := message.([]any); ok {
		return c, rowfile.BadRowf("the message of choice %d is %s", n, conversation.KindOf(list))
	}
	a, err := answerOf(message)
	if err != nil {
		return c, err
	}
	return c.take(a), nil
}
