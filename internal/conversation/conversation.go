// Package conversation reads conversations in the form that OpenAI's API has given them: messages with role and content,
// and some with tool calls, the id of a call that they answer, or a name.
package conversation

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// extras are what a message may have beside role and content, in the order in which they are written.
var extras = []string{"name", "tool_call_id", "reasoning_content", "tool_calls"}

// Read reads a prompt from a value of JSON: a text, which becomes the user's turn, or a list of messages that ends before
// the assistant speaks. full is the JSON of the messages where some have more than role and content; it holds only
// what servers know. The content of such a message may be missing; it is a text elsewhere, or a list of parts of text.
func Read(v any) (ms []stillhouse.Message, full *string, err error) {
	switch v := v.(type) {
	case nil:
		return nil, nil, errors.New("there is no prompt")
	case string:
		if strings.TrimSpace(v) == "" {
			return nil, nil, errors.New("the prompt is empty")
		}
		return []stillhouse.Message{{Role: "user", Content: v}}, nil, nil
	case []any:
		return turns(v)
	default:
		return nil, nil, fmt.Errorf("the prompt is %s: it must be a text or a list of messages", KindOf(v))
	}
}

func turns(list []any) ([]stillhouse.Message, *string, error) {
	if len(list) == 0 {
		return nil, nil, errors.New("the prompt is a conversation without messages")
	}
	ms, whole, more := make([]stillhouse.Message, len(list)), make([]message, len(list)), false
	for i, item := range list {
		m, err := readMessage(item)
		if err != nil {
			return nil, nil, fmt.Errorf("message %d %w", i, err)
		}
		ms[i], whole[i] = m.Message, m
		more = more || len(m.extra) > 0
	}
	last := ms[len(ms)-1]
	if last.Role == "assistant" {
		return nil, nil, errors.New("the conversation ends with the assistant's turn: it must end before the assistant speaks")
	}
	if strings.TrimSpace(last.Content) == "" {
		return nil, nil, errors.New("the prompt is empty: the last message has no text")
	}
	if !more {
		return ms, nil, nil
	}
	b, err := rowfile.Encode(whole)
	s := string(b)
	return ms, &s, err
}

// A message is one with all that it has.
type message struct {
	stillhouse.Message
	empty bool // it has no content
	extra map[string]any
}

// MarshalJSON writes the fields in a fixed order.
func (m message) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	put := func(name string, v any) error {
		text, err := rowfile.Encode(v)
		b.WriteString(`,"` + name + `":` + string(text))
		return err
	}
	var content any = m.Content
	if m.empty {
		content = nil
	}
	err := errors.Join(put("role", m.Role), put("content", content))
	for _, name := range extras {
		if v, ok := m.extra[name]; ok {
			err = errors.Join(err, put(name, v))
		}
	}
	return []byte("{" + b.String()[1:] + "}"), err
}

func readMessage(item any) (m message, err error) {
	fields, ok := item.(map[string]any)
	if !ok {
		return m, fmt.Errorf("is %s: it must have role and content", KindOf(item))
	}
	role, ok := fields["role"].(string)
	if !ok || !slices.Contains([]string{"system", "developer", "user", "assistant", "tool"}, role) {
		return m, fmt.Errorf("has the role %v: it must be system, developer, user, assistant or tool", fields["role"])
	}
	m.Role, m.extra = role, map[string]any{}
	if err := m.readExtra(fields); err != nil {
		return m, err
	}
	_, calls := m.extra["tool_calls"]
	if m.Content, ok = readText(fields["content"]); !ok && (fields["content"] != nil || !calls) {
		return m, fmt.Errorf("has %s as its content: it must be a text", KindOf(fields["content"]))
	}
	m.empty = !ok
	return m, nil
}

func (m *message) readExtra(fields map[string]any) error {
	for _, name := range []string{"name", "tool_call_id", "reasoning_content"} {
		switch v := fields[name].(type) {
		case nil:
		case string:
			if v != "" {
				m.extra[name] = v
			}
		default:
			return fmt.Errorf("has %s as its %s: it must be a text", KindOf(v), name)
		}
	}
	calls := fields["tool_calls"]
	if calls == nil || m.Role != "assistant" {
		return nil
	}
	if s, ok := calls.(string); ok { // as a run's own rows have them
		if strings.TrimSpace(s) == "" {
			return nil
		}
		if err := json.Unmarshal([]byte(s), &calls); err != nil {
			return fmt.Errorf("has tool_calls that are not JSON: %w", err)
		}
	}
	list, ok := calls.([]any)
	if !ok {
		return fmt.Errorf("has %s as its tool_calls: they must be a list", KindOf(calls))
	}
	raw, err := rowfile.Encode(list)
	if err != nil {
		return err
	}
	if text := ToolCalls(raw, nil); text != "" {
		m.extra["tool_calls"] = json.RawMessage(text)
	}
	return nil
}

// readText reads a content: a text, or a list of parts of text.
func readText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []any:
		var b strings.Builder
		for _, part := range v {
			fields, _ := part.(map[string]any)
			text, ok := fields["text"].(string)
			if kind, _ := fields["type"].(string); !ok || kind != "text" {
				return "", false
			}
			b.WriteString(text)
		}
		return b.String(), len(v) > 0
	}
	return "", false
}

// KindOf says what a value of JSON is.
func KindOf(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case string:
		return "a text"
	case json.Number, float64:
		return "a number"
	case bool:
		return "a truth value"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}
