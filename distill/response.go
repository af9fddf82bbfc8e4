package distill

import (
	"bytes"
	"encoding/json"
	"errors"
	"sort"
	"strings"

	"stillhouse"
)

// An Answer is one choice of a response.
type Answer struct {
	Content      string // the text, or the refusal where the endpoint puts that in a field of its own
	Reasoning    string // reasoning_content, reasoning, or the parts of the content that are thinking
	Refusal      string // the refusal, where it has a field of its own
	ToolCalls    string // a JSON array in the form of conversation.ToolCalls, "" for none
	FinishReason string // "" where the endpoint gave none; length for all the words that endpoints have for it
	LogProbs     []stillhouse.TokenLogProb
	Model        string // as the endpoint calls what it served
	Fingerprint  string // system_fingerprint

	// PromptTokens is the length of the prompt, the same for each answer of one response. CompletionTokens is the
	// endpoint's count where a response holds one answer. Where it holds several, endpoints give one sum for all: it is
	// shared out in proportion to the bytes of each answer, so that the shares add up to the sum. Where the endpoint
	// gives no count it is one token for every four bytes begun.
	PromptTokens, CompletionTokens int

	// CachedTokens is how many of the prompt's tokens the endpoint had in its cache; ReasoningTokens is how many of the
	// completion's are reasoning, shared out in proportion to the bytes of each answer's reasoning. Both are -1 where the
	// endpoint does not say.
	CachedTokens, ReasoningTokens int
}

// Truncated reports whether the answer ended because it had reached max_tokens.
func (a Answer) Truncated() bool { return a.FinishReason == "length" }

// A reply is what a response body says.
type reply struct {
	answers          []Answer // by the choices' index where the endpoint numbers them 0, 1, 2…, else as they came
	choices          int      // choices in the body, those that hold no message included
	promptTokens     int64    // what the endpoint counted for the whole response
	completionTokens int64
	cachedTokens     int64 // of the prompt's; 0 where the endpoint does not say
	reasoningTokens  int64 // of the completion's; the same
}

// What may be wrong with the body of an answer that came with status 200.
var (
	errHTML    = errors.New("the body is HTML, not JSON")
	errGarbage = errors.New("the body is not the JSON of a chat completion")
	errEmpty   = errors.New("the answer has no choices")
)

// An apiError is what an endpoint says about a request that it did not answer.
type apiError struct {
	Message, Type, Code string
}

func (e *apiError) Error() string { return e.Message }

type wireResponse struct {
	Object      string          `json:"object"`
	Model       string          `json:"model"`
	Fingerprint *string         `json:"system_fingerprint"`
	Choices     []wireChoice    `json:"choices"`
	Error       json.RawMessage `json:"error"`
	Usage       *wireUsage      `json:"usage"`
}

// parseReply reads the body of a response with status 200. It is the only reader of such bodies, fresh or from the
// store: what it makes of the same bytes is always the same.
//
// A body that holds an error is an error, also where it holds choices, and so is one of which every choice broke off:
// nothing that was cut is given out as whole.
func parseReply(body []byte) (reply, error) {
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 || trimmed[0] != '{' {
		if looksLikeHTML(trimmed) {
			return reply{}, errHTML
		}
		return reply{}, errGarbage
	}
	var w wireResponse
	if err := json.Unmarshal(trimmed, &w); err != nil {
		return reply{}, errGarbage
	}
	if isError(w.Error) || w.Object == "error" {
		if said := parseError(trimmed); said != nil {
			return reply{}, said
		}
	}
	r := reply{choices: len(w.Choices)}
	var broken *apiError
	for _, c := range inOrder(w.Choices) {
		if said := c.broken(); said != nil {
			broken = said
			continue
		}
		if a, ok := c.answer(); ok {
			a.Model = w.Model
			if w.Fingerprint != nil {
				a.Fingerprint = *w.Fingerprint
			}
			r.answers = append(r.answers, a)
		}
	}
	switch {
	case len(r.answers) == 0 && broken != nil:
		return reply{}, broken
	case len(r.answers) == 0:
		return reply{}, errEmpty
	}
	r.count(w.Usage)
	return r, nil
}

// inOrder sorts choices by their index where the indexes are there and differ.
func inOrder(cs []wireChoice) []wireChoice {
	seen := make(map[int]bool, len(cs))
	for _, c := range cs {
		if c.Index == nil || seen[*c.Index] {
			return cs
		}
		seen[*c.Index] = true
	}
	sort.SliceStable(cs, func(i, j int) bool { return *cs[i].Index < *cs[j].Index })
	return cs
}

// parseError finds the message in the ways that endpoints write errors; nil when there is none.
func parseError(body []byte) *apiError {
	var w struct {
		Error   json.RawMessage `json:"error"`
		Message json.RawMessage `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &w) != nil {
		return nil
	}
	var inner struct {
		Message json.RawMessage `json:"message"`
		Type    json.RawMessage `json:"type"`
		Code    json.RawMessage `json:"code"`
	}
	if isValue(w.Error) && json.Unmarshal(w.Error, &inner) == nil {
		return &apiError{Message: scalar(inner.Message), Type: scalar(inner.Type), Code: scalar(inner.Code)}
	}
	for _, raw := range []json.RawMessage{w.Error, w.Message, w.Detail} {
		if isError(raw) {
			return &apiError{Message: scalar(raw)}
		}
	}
	return nil
}

// scalar is the text of a JSON value: that of a string, the JSON of anything else, "" for null.
func scalar(raw json.RawMessage) string {
	var s string
	if !isValue(raw) {
		return ""
	}
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return strings.ToValidUTF8(string(raw), "�")
}

func isValue(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// isError tells an error from the ways to write that there is none.
func isError(raw json.RawMessage) bool {
	switch string(raw) {
	case "", "null", "{}", `""`, "false", "0", "[]":
		return false
	}
	return true
}

func looksLikeHTML(b []byte) bool {
	head := strings.ToLower(string(b[:min(len(b), 256)]))
	return strings.HasPrefix(head, "<!doctype") || strings.HasPrefix(head, "<html") || strings.Contains(head, "<body") || strings.Contains(head, "<head")
}
