package chat

import (
	"encoding/json"
	"fmt"
	"strings"

	"stillhouse/internal/chat/jinja"
)

// A Message is one message of a conversation, with the names that OpenAI's API has. One that was read from JSON keeps
// its other fields for the template. It is not to be changed then.
type Message struct {
	Role             string          `json:"role"`
	Content          string          `json:"content"`
	ReasoningContent string          `json:"reasoning_content,omitempty"`
	ToolCalls        json.RawMessage `json:"tool_calls,omitempty"` // a JSON array
	ToolCallID       string          `json:"tool_call_id,omitempty"`
	Name             string          `json:"name,omitempty"`

	read *jinja.Dict // the fields of a JSON message that are not null, in their order; nil for one that was made here
}

// UnmarshalJSON reads a message whose content is a string, null, or a list of text parts, which are joined. Templates
// see all of its fields but those that are null, as in transformers.
func (m *Message) UnmarshalJSON(raw []byte) error {
	var in struct {
		Role             string          `json:"role"`
		Content          json.RawMessage `json:"content"`
		ReasoningContent string          `json:"reasoning_content"`
		ToolCalls        json.RawMessage `json:"tool_calls"`
		ToolCallID       string          `json:"tool_call_id"`
		Name             string          `json:"name"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	*m = Message{Role: in.Role, ReasoningContent: in.ReasoningContent, ToolCallID: in.ToolCallID, Name: in.Name, read: jinja.NewDict()}
	if !null(in.ToolCalls) {
		m.ToolCalls = in.ToolCalls
	}
	fields, err := jinja.ParseJSON(raw)
	if err != nil {
		return err
	}
	if d, ok := fields.(*jinja.Dict); ok {
		for key, v := range d.All() {
			if v != nil {
				m.read.Set(key, v)
			}
		}
	}
	if null(in.Content) || json.Unmarshal(in.Content, &m.Content) == nil {
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
	m.read.Set("content", m.Content)
	return nil
}

// reasoningFields are the names of the reasoning before an answer, the one that counts first.
var reasoningFields = []string{"reasoning_content", "thinking", "reasoning"}

// value is the message as a template sees it: a message's own fields in their order, else those of [Message] that have a
// value, content always. Reasoning under any of its names is reasoning_content too, and thinking, before the others, as
// transformers 5 gives it.
func (m Message) value() (jinja.Value, error) {
	d := m.read
	if d == nil {
		d = jinja.NewDict()
		d.Set("role", m.Role)
		d.Set("content", m.Content)
		for _, f := range [][2]string{{"reasoning_content", m.ReasoningContent}, {"tool_call_id", m.ToolCallID}, {"name", m.Name}} {
			if f[1] != "" {
				d.Set(f[0], f[1])
			}
		}
		if !null(m.ToolCalls) {
			calls, err := jinja.ParseJSON(m.ToolCalls)
			if err != nil {
				return nil, fmt.Errorf("tool_calls: %w", err)
			}
			d.Set("tool_calls", calls)
		}
	}
	for _, name := range reasoningFields {
		if r, ok := d.Get(name); ok {
			out := jinja.NewDict()
			out.Set("thinking", r)
			for key, v := range d.All() {
				out.Set(key, v)
			}
			out.Set("reasoning_content", r)
			return out, nil
		}
	}
	return d, nil
}
