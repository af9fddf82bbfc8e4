package conversation

import (
	"encoding/json"
	"errors"
	"slices"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// HasSystem reports whether messages begin with a system prompt of their own.
func HasSystem(ms []stillhouse.Message) bool {
	return len(ms) > 0 && isSystem(ms[0].Role)
}

func isSystem(role string) bool { return role == "system" || role == "developer" }

// WithSystem puts a system prompt before messages that have none.
func WithSystem(system string, ms []stillhouse.Message) []stillhouse.Message {
	if system == "" || HasSystem(ms) {
		return ms
	}
	return append([]stillhouse.Message{{Role: "system", Content: system}}, ms...)
}

// FullWithSystem is WithSystem for messages that are JSON, which stay the bytes that they are.
func FullWithSystem(system, full string) (string, error) {
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(full), &list); err != nil || len(list) == 0 {
		return "", errors.New("the column prompt_messages is not a JSON list of messages")
	}
	var first struct {
		Role string `json:"role"`
	}
	if err := json.Unmarshal(list[0], &first); err != nil {
		return "", errors.New("the column prompt_messages is not a JSON list of messages")
	}
	if system == "" || isSystem(first.Role) {
		return full, nil
	}
	head, err := rowfile.Encode(stillhouse.Message{Role: "system", Content: system})
	if err != nil {
		return "", err
	}
	all, err := rowfile.Encode(append([]json.RawMessage{head}, list...))
	return string(all), err
}

// AddSystem puts a system prompt before a prompt's messages, in both forms.
func AddSystem(system string, ms *[]stillhouse.Message, full *string) (*string, error) {
	*ms = WithSystem(system, *ms)
	if full == nil {
		return nil, nil
	}
	s, err := FullWithSystem(system, *full)
	return &s, err
}

// InsertTurns puts messages after the system prompts of messages that are JSON.
func InsertTurns(turns []stillhouse.Message, full string) (string, error) {
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(full), &list); err != nil {
		return "", errors.New("the column prompt_messages is not a JSON list of messages")
	}
	n := 0
	for n < len(list) {
		var m struct {
			Role string `json:"role"`
		}
		if json.Unmarshal(list[n], &m) != nil || !isSystem(m.Role) {
			break
		}
		n++
	}
	all := slices.Clone(list[:n])
	for _, turn := range turns {
		b, err := rowfile.Encode(turn)
		if err != nil {
			return "", err
		}
		all = append(all, b)
	}
	b, err := rowfile.Encode(append(all, list[n:]...))
	return string(b), err
}
