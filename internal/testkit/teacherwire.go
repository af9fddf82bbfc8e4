package testkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"stillhouse"
)

// Status is a fault: an error with a status, in OpenAI's form. retryAfter goes into the header when it is not empty.
func Status(status int, code, retryAfter string) *Fault {
	return &Fault{Status: status, RetryAfter: retryAfter, Body: errorBody("scripted", code, fmt.Sprintf("scripted failure %d", status))}
}

// Garbage is a fault: a 200 with something that is not JSON to its end.
func Garbage() *Fault {
	return &Fault{Body: `{"id":"x","choices":[{"index":0,"message":{"role":"assis`}
}

// HTML is a fault: a 200 with a page.
func HTML() *Fault {
	return &Fault{Type: "text/html", Body: "<!DOCTYPE html><html><head><title>Welcome</title></head><body>nginx</body></html>"}
}

// EmptyChoices is a fault: a 200 without choices.
func EmptyChoices() *Fault {
	return &Fault{Body: `{"id":"x","object":"chat.completion","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":0}}`}
}

// ErrorObject is a fault: a 200 that holds an error.
func ErrorObject(message string) *Fault { return &Fault{Body: errorBody("scripted", "", message)} }

func errorBody(kind, code, message string) string {
	inner := map[string]any{"message": message, "type": kind, "param": nil, "code": nil}
	if code != "" {
		inner["code"] = code
	}
	b, err := json.Marshal(map[string]any{"error": inner})
	if err != nil { // strings always marshal
		panic(err)
	}
	return string(b)
}

func writeTeacherError(w http.ResponseWriter, status int, retryAfter, kind, code, message string) {
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(errorBody(kind, code, message)))
}

func parseCall(body []byte) (Call, error) {
	var q struct {
		Model         string               `json:"model"`
		Messages      []stillhouse.Message `json:"messages"`
		Prompt        string               `json:"prompt"`
		N             *int                 `json:"n"`
		Seed          *int64               `json:"seed"`
		Temperature   *float64             `json:"temperature"`
		MaxTokens     int                  `json:"max_tokens"`
		MaxCompletion int                  `json:"max_completion_tokens"`
		Tools         json.RawMessage      `json:"tools"`
		Stream        bool                 `json:"stream"`
		StreamOptions struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	var fields map[string]json.RawMessage
	for _, v := range []any{&q, &fields} {
		if err := json.Unmarshal(body, v); err != nil {
			return Call{}, err
		}
	}
	if len(q.Messages) == 0 && q.Prompt == "" {
		return Call{}, errors.New("messages must not be empty")
	}
	c := Call{Body: string(body), Model: q.Model, Messages: q.Messages, Text: q.Prompt, N: 1, Seed: q.Seed, Temperature: q.Temperature,
		MaxTokens: max(q.MaxTokens, q.MaxCompletion), Tools: q.Tools, Stream: q.Stream, StreamUsage: q.StreamOptions.IncludeUsage, Fields: fields}
	if q.N != nil {
		c.N = *q.N
	}
	return c, nil
}

// answer is the body of a proper answer.
func (t *Teacher) answer(c Call) []byte {
	make1 := t.Answer
	if make1 == nil {
		make1 = Prose
	}
	n := c.N
	if t.MaxChoices > 0 {
		n = min(n, t.MaxChoices)
	}
	choices := make([]map[string]any, n)
	total := 0
	for i := range choices {
		c.Sample = i
		choice := make1(c)
		if choice.FinishReason == "" {
			choice.FinishReason = "stop"
		}
		if choice.Tokens == 0 {
			choice.Tokens = len(strings.Fields(choice.Content))
		}
		total += choice.Tokens
		choices[i] = map[string]any{"index": i, "message": t.message(choice), "finish_reason": choice.FinishReason}
		if c.Text != "" {
			choices[i] = map[string]any{"index": i, "text": choice.Content, "finish_reason": choice.FinishReason}
		}
		if choice.LogProbs != nil {
			choices[i]["logprobs"] = choice.LogProbs
		}
		if choice.Error != nil {
			choices[i]["error"] = choice.Error
		}
	}
	body := map[string]any{"id": fmt.Sprintf("chatcmpl-%d", c.Number), "object": "chat.completion", "created": 1700000000, "model": c.Model, "choices": choices}
	if !t.NoUsage {
		prompt := 0
		for _, m := range c.Messages {
			prompt += 4 + len(strings.Fields(m.Content))
		}
		usage := map[string]any{"prompt_tokens": prompt, "completion_tokens": total, "total_tokens": prompt + total}
		maps.Copy(usage, t.Usage)
		body["usage"] = usage
	}
	if t.Fingerprint != "" {
		body["system_fingerprint"] = t.Fingerprint
	}
	b, err := json.Marshal(body)
	if err != nil { // only a test's own broken ToolCalls get here
		panic(err)
	}
	return b
}

func (t *Teacher) message(c Choice) any {
	if c.Null {
		return nil
	}
	m := map[string]any{"role": "assistant", "content": c.Content}
	if c.Reasoning != "" {
		field := t.ReasoningField
		if field == "" {
			field = "reasoning_content"
		}
		m[field] = c.Reasoning
	}
	if c.Parts != nil {
		m["content"] = c.Parts
	}
	if c.Refusal != "" {
		m["content"], m["refusal"] = nil, c.Refusal
	}
	if c.ToolCalls != "" {
		m["tool_calls"] = json.RawMessage(c.ToolCalls)
		m["content"] = nil
	}
	return m
}
