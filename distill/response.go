package distill

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"sort"
	"strings"
	"unicode/utf8"
)

// An Answer is one choice of a response.
type Answer struct {
	Content      string // the text, or the refusal where the endpoint puts that in a field of its own
	Reasoning    string // reasoning_content or reasoning
	ToolCalls    string // the JSON array as it came, "" for none
	FinishReason string // "" where the endpoint gave none
	Model        string // as the endpoint calls what it served

	// PromptTokens is the length of the prompt, the same for each answer of one response. CompletionTokens is the
	// endpoint's count where a response holds one answer. Where it holds several, endpoints give one sum for all: it is
	// shared out in proportion to the bytes of each answer, so that the shares add up to the sum. Where the endpoint
	// gives no count it is one token for every four bytes begun.
	PromptTokens, CompletionTokens int
}

// Truncated reports whether the answer ended because it had reached max_tokens.
func (a Answer) Truncated() bool { return a.FinishReason == "length" }

// A reply is what a response body says.
type reply struct {
	answers          []Answer // by the choices' index where the endpoint numbers them 0, 1, 2…, else as they came
	choices          int      // choices in the body, those that hold no message included
	promptTokens     int64    // what the endpoint counted for the whole response
	completionTokens int64
	cachedTokens     int64 // of promptTokens, those that the endpoint had in its cache
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

type wireMessage struct {
	Content          json.RawMessage `json:"content"`
	Refusal          *string         `json:"refusal"`
	ReasoningContent *string         `json:"reasoning_content"`
	Reasoning        *string         `json:"reasoning"`
	ToolCalls        json.RawMessage `json:"tool_calls"`
}

type wireChoice struct {
	Index        *int            `json:"index"`
	Message      json.RawMessage `json:"message"`
	Text         *string         `json:"text"` // of /completions, in place of the message
	FinishReason *string         `json:"finish_reason"`
}

type wireResponse struct {
	Model   string          `json:"model"`
	Choices []wireChoice    `json:"choices"`
	Error   json.RawMessage `json:"error"`
	Usage   *struct {
		PromptTokens     json.RawMessage `json:"prompt_tokens"`
		CompletionTokens json.RawMessage `json:"completion_tokens"`
		PromptDetails    struct {
			CachedTokens json.RawMessage `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
	} `json:"usage"`
}

// parseReply reads the body of a response with status 200. It is the only reader of such bodies, fresh or from the
// store: what it makes of the same bytes is always the same.
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
	if len(w.Choices) == 0 && isValue(w.Error) {
		return reply{}, parseError(trimmed)
	}
	r := reply{choices: len(w.Choices)}
	for _, c := range inOrder(w.Choices) {
		if a, ok := c.answer(); ok {
			a.Model = w.Model
			r.answers = append(r.answers, a)
		}
	}
	if len(r.answers) == 0 {
		return reply{}, errEmpty
	}
	counted := false
	if w.Usage != nil {
		r.promptTokens, _ = tokens(w.Usage.PromptTokens)
		r.completionTokens, counted = tokens(w.Usage.CompletionTokens)
		r.cachedTokens, _ = tokens(w.Usage.PromptDetails.CachedTokens)
	}
	weights := make([]int64, len(r.answers))
	for i, a := range r.answers {
		weights[i] = int64(len(a.Content) + len(a.Reasoning) + len(a.ToolCalls))
	}
	shares := share(r.completionTokens, weights)
	for i := range r.answers {
		a := &r.answers[i]
		a.PromptTokens = int(r.promptTokens)
		a.CompletionTokens = int(shares[i])
		if !counted || r.completionTokens == 0 {
			a.CompletionTokens = int(min((weights[i]+3)/4, math.MaxInt32))
		}
	}
	return r, nil
}

func (c wireChoice) answer() (Answer, bool) {
	var m wireMessage
	if c.Text != nil && !isValue(c.Message) {
		a := Answer{Content: *c.Text}
		if c.FinishReason != nil {
			a.FinishReason = *c.FinishReason
		}
		return a, true
	}
	if !isValue(c.Message) || json.Unmarshal(c.Message, &m) != nil {
		return Answer{}, false
	}
	content, ok := contentText(m.Content)
	if !ok {
		return Answer{}, false
	}
	a := Answer{Content: content, Reasoning: first(m.ReasoningContent, m.Reasoning)}
	if a.Content == "" && m.Refusal != nil {
		a.Content = *m.Refusal
	}
	if calls := bytes.TrimSpace(m.ToolCalls); len(calls) > 2 && calls[0] == '[' && utf8.Valid(calls) {
		a.ToolCalls = string(calls)
	}
	if c.FinishReason != nil {
		a.FinishReason = *c.FinishReason
	}
	return a, true
}

// contentText reads a message's content: a string, nothing, or a list of parts of which those of text count.
func contentText(raw json.RawMessage) (string, bool) {
	if !isValue(raw) {
		return "", true
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s, true
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", false
	}
	var b strings.Builder
	for _, p := range parts {
		if p.Type == "text" || p.Type == "" {
			b.WriteString(p.Text)
		}
	}
	return b.String(), true
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

// share splits total in proportion to the weights by largest remainders; the parts add up to total.
func share(total int64, weights []int64) []int64 {
	out := make([]int64, len(weights))
	if len(weights) == 1 {
		out[0] = total
		return out
	}
	var sum int64
	for _, w := range weights {
		sum += max(w, 1)
	}
	left := total
	order := make([]int, len(weights))
	rest := make([]float64, len(weights))
	for i, w := range weights {
		exact := float64(total) * float64(max(w, 1)) / float64(sum)
		out[i] = int64(exact)
		rest[i] = exact - float64(out[i])
		left -= out[i]
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return rest[order[a]] > rest[order[b]] })
	for i := 0; left > 0; i = (i + 1) % len(order) {
		out[order[i]]++
		left--
	}
	return out
}

// tokens reads a count leniently: endpoints send null, floats and worse. It is 0 to 2³¹-1.
func tokens(raw json.RawMessage) (int64, bool) {
	var f float64
	if !isValue(raw) || json.Unmarshal(raw, &f) != nil || f < 0 {
		return 0, false
	}
	return int64(min(f, math.MaxInt32)), true
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
		if isValue(raw) {
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

func looksLikeHTML(b []byte) bool {
	head := strings.ToLower(string(b[:min(len(b), 256)]))
	return strings.HasPrefix(head, "<!doctype") || strings.HasPrefix(head, "<html") || strings.Contains(head, "<body") || strings.Contains(head, "<head")
}

func first(texts ...*string) string {
	for _, t := range texts {
		if t != nil && *t != "" {
			return *t
		}
	}
	return ""
}
