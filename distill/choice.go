package distill

import (
	"encoding/json"
	"math"
	"strings"

	"stillhouse"
	"stillhouse/internal/conversation"
)

type wireChoice struct {
	Index        *int            `json:"index"`
	Message      json.RawMessage `json:"message"`
	Text         *string         `json:"text"` // of /completions, in place of the message
	LogProbs     json.RawMessage `json:"logprobs"`
	FinishReason *string         `json:"finish_reason"`
	Error        json.RawMessage `json:"error"`
}

type wireMessage struct {
	Content          json.RawMessage `json:"content"`
	Refusal          *string         `json:"refusal"`
	ReasoningContent *string         `json:"reasoning_content"`
	Reasoning        *string         `json:"reasoning"`
	ReasoningDetails json.RawMessage `json:"reasoning_details"`
	ToolCalls        json.RawMessage `json:"tool_calls"`
	FunctionCall     json.RawMessage `json:"function_call"`
}

// brokenReasons are the finish reasons of an answer that ended for the server's sake, with what they mean: it is no
// more of an answer than a body that was cut off.
var brokenReasons = map[string]string{
	"error":                        "the model failed in the middle of the answer",          // OpenRouter, Mistral
	"abort":                        "the server gave the answer up",                         // vLLM, SGLang
	"insufficient_system_resource": "the server ran short and broke the answer off",         // DeepSeek
	"network_error":                "the server lost the model in the middle of the answer", // Zhipu
}

// truncatedReasons are other words for length.
var truncatedReasons = map[string]bool{"max_tokens": true, "model_length": true, "MAX_TOKENS": true}

// broken is why a choice is no answer: it has an error of its own, as OpenRouter's have, or its finish reason says so.
func (c wireChoice) broken() *apiError {
	if isError(c.Error) {
		if said := parseError([]byte(`{"error":` + string(c.Error) + `}`)); said != nil {
			return said
		}
	}
	if c.FinishReason == nil {
		return nil
	}
	if why, ok := brokenReasons[*c.FinishReason]; ok {
		return &apiError{Message: "finish_reason is " + *c.FinishReason + ": " + why, Type: *c.FinishReason}
	}
	return nil
}

// reason is the finish reason: "" where there is none.
func (c wireChoice) reason() string {
	switch {
	case c.FinishReason == nil:
		return ""
	case truncatedReasons[*c.FinishReason]:
		return "length"
	}
	return *c.FinishReason
}

// answer reads the choice's message; it says no where there is none.
func (c wireChoice) answer() (Answer, bool) {
	var m wireMessage
	if c.Text != nil && !isValue(c.Message) {
		return Answer{Content: *c.Text, FinishReason: c.reason()}, true
	}
	if !isValue(c.Message) || json.Unmarshal(c.Message, &m) != nil {
		return Answer{}, false
	}
	content, ok := readContent(m.Content)
	if !ok {
		return Answer{}, false
	}
	a := Answer{Content: content.text, Reasoning: first(m.ReasoningContent, m.Reasoning, &content.thinking), Refusal: first(m.Refusal, &content.refusal),
		ToolCalls: conversation.ToolCalls(m.ToolCalls, m.FunctionCall)}
	if a.Reasoning == "" {
		a.Reasoning = detailedReasoning(m.ReasoningDetails)
	}
	if a.Content == "" {
		a.Content = a.Refusal
	}
	a.FinishReason = c.reason()
	if isValue(c.LogProbs) {
		a.LogProbs = readLogProbs(c.LogProbs)
	}
	return a, true
}

// A content is what stands in a message's content.
type content struct{ text, thinking, refusal string }

// readContent reads a message's content: a string, nothing, or a list of parts. Of the parts those of text are joined,
// and so are those of thinking, which Mistral and Anthropic write as parts of their own; parts of other kinds, such as
// references, are left out. It says no to anything else.
func readContent(raw json.RawMessage) (c content, ok bool) {
	if !isValue(raw) || json.Unmarshal(raw, &c.text) == nil {
		return c, true
	}
	var parts []struct {
		Type     string          `json:"type"`
		Text     string          `json:"text"`
		Thinking json.RawMessage `json:"thinking"`
		Refusal  string          `json:"refusal"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return c, false
	}
	var text, thinking, refusal strings.Builder
	for _, p := range parts {
		switch p.Type {
		case "text", "output_text", "":
			text.WriteString(p.Text)
		case "thinking", "reasoning":
			thinking.WriteString(p.Text)
			if inner, ok := readContent(p.Thinking); ok {
				thinking.WriteString(inner.text)
			}
		case "refusal":
			refusal.WriteString(p.Refusal)
		}
	}
	return content{text.String(), thinking.String(), refusal.String()}, true
}

// detailedReasoning joins the texts of OpenRouter's reasoning_details, for models that have nothing in reasoning.
func detailedReasoning(raw json.RawMessage) string {
	var details []struct {
		Text    string `json:"text"`
		Summary string `json:"summary"`
	}
	if !isValue(raw) || json.Unmarshal(raw, &details) != nil {
		return ""
	}
	var b strings.Builder
	for _, d := range details {
		b.WriteString(d.Text)
		b.WriteString(d.Summary)
	}
	return b.String()
}

// readLogProbs reads what stands under logprobs: for each token of the content (and of the refusal) its text, its
// log-probability and the likeliest tokens at its place. It is nil where there is nothing of the kind.
func readLogProbs(raw json.RawMessage) []stillhouse.TokenLogProb {
	type token struct {
		Token   string   `json:"token"`
		LogProb *float64 `json:"logprob"`
		Top     []struct {
			Token   string   `json:"token"`
			LogProb *float64 `json:"logprob"`
		} `json:"top_logprobs"`
	}
	var w struct {
		Content []token `json:"content"`
		Refusal []token `json:"refusal"`
	}
	if json.Unmarshal(raw, &w) != nil {
		return nil
	}
	number := func(v *float64) float64 {
		if v == nil {
			return math.NaN()
		}
		return *v
	}
	var out []stillhouse.TokenLogProb
	for _, t := range append(w.Content, w.Refusal...) {
		p := stillhouse.TokenLogProb{Token: t.Token, LogProb: number(t.LogProb)}
		for _, a := range t.Top {
			p.Top = append(p.Top, stillhouse.AlternativeToken{Token: a.Token, LogProb: number(a.LogProb)})
		}
		out = append(out, p)
	}
	return out
}

func first(texts ...*string) string {
	for _, t := range texts {
		if t != nil && *t != "" {
			return *t
		}
	}
	return ""
}
