package chat

import (
	"encoding/json"
	"fmt"
	"strings"

	"stillhouse/internal/chat/jinja"
)

// A Message is one message of a conversation, with the names that OpenAI's API has.
type Message struct {
	Role             string          `json:"role"`
	Content          string          `json:"content"`
	ReasoningContent string          `json:"reasoning_content,omitempty"`
	ToolCalls        json.RawMessage `json:"tool_calls,omitempty"` // a JSON array
	ToolCallID       string          `json:"tool_call_id,omitempty"`
	Name             string          `json:"name,omitempty"`

	noContent, emptyReasoning bool // what a JSON message had: no content or null; reasoning_content ""
}

// UnmarshalJSON reads a message whose content is a string, null, or a list of text parts, which are joined. Templates
// see no content where it's null or missing, as in transformers, and "" where it's "".
func (m *Message) UnmarshalJSON(raw []byte) error {
	var in struct {
		Role             string          `json:"role"`
		Content          json.RawMessage `json:"content"`
		ReasoningContent *string         `json:"reasoning_content"`
		ToolCalls        json.RawMessage `json:"tool_calls"`
		ToolCallID       string          `json:"tool_call_id"`
		Name             string          `json:"name"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	*m = Message{Role: in.Role, ToolCallID: in.ToolCallID, Name: in.Name, noContent: null(in.Content)}
	if !null(in.ToolCalls) {
		m.ToolCalls = in.ToolCalls
	}
	if in.ReasoningContent != nil {
		m.ReasoningContent, m.emptyReasoning = *in.ReasoningContent, *in.ReasoningContent == ""
	}
	if m.noContent || json.Unmarshal(in.Content, &m.Content) == nil {
		return nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if err := json.Unmarshal(in.Content, &parts); err != nil {
		return fmt.Errorf("the content of a message is %.40s: give a string or a list of text parts", in.Content)
	}
	var texts []string
	for _, p := range parts {
		if p.Type != "text" {
			return fmt.Errorf("a message has a content part of type %q: only text is supported", p.Type)
		}
		texts = append(texts, p.Text)
	}
	m.Content = strings.Join(texts, "")
	return nil
}

// value is the message as a template sees it: keys in this order, those without a value left out. Reasoning has the
// older name thinking too, and before the others, as transformers 5 gives it.
func (m Message) value() (jinja.Value, error) {
	d := jinja.NewDict()
	reasoning := m.ReasoningContent != "" || m.emptyReasoning
	if reasoning {
		d.Set("thinking", m.ReasoningContent)
	}
	d.Set("role", m.Role)
	if m.Content != "" || !m.noContent {
		d.Set("content", m.Content)
	}
	if reasoning {
		d.Set("reasoning_content", m.ReasoningContent)
	}
	if !null(m.ToolCalls) {
		calls, err := jinja.ParseJSON(m.ToolCalls)
		if err != nil {
			return nil, fmt.Errorf("tool_calls: %w", err)
		}
		d.Set("tool_calls", calls)
	}
	if m.ToolCallID != "" {
		d.Set("tool_call_id", m.ToolCallID)
	}
	if m.Name != "" {
		d.Set("name", m.Name)
	}
	return d, nil
}
