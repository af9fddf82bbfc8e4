package conversation

import (
	"bytes"
	"encoding/json"

	"stillhouse/internal/rowfile"
)

// CallsForTemplates are tool calls as chat templates want them. In OpenAI's API, and so in a run's rows, the arguments of
// a call are the text of a JSON object; templates write out an object, and would quote a text a second time. vLLM and
// transformers hand objects to them too. What is no text of an object stays what it is.
func CallsForTemplates(calls json.RawMessage) json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(calls, &list) != nil {
		return calls
	}
	changed := false
	for i, call := range list {
		if c, ok := withObject(call); ok {
			list[i], changed = c, true
		}
	}
	if !changed {
		return calls
	}
	b, err := rowfile.Encode(list)
	if err != nil {
		return calls
	}
	return b
}

// withObject puts the object in place of its text, and leaves all else the bytes that it was: templates may print the
// fields in their order.
func withObject(call json.RawMessage) (json.RawMessage, bool) {
	var c struct {
		Function json.RawMessage `json:"function"`
	}
	var f struct {
		Arguments json.RawMessage `json:"arguments"`
	}
	var text string
	var object map[string]json.RawMessage
	if json.Unmarshal(call, &c) != nil || json.Unmarshal(c.Function, &f) != nil || json.Unmarshal(f.Arguments, &text) != nil ||
		json.Unmarshal([]byte(text), &object) != nil || object == nil {
		return nil, false
	}
	function := bytes.Replace(c.Function, f.Arguments, []byte(text), 1)
	out := bytes.Replace(call, c.Function, function, 1)
	return out, json.Valid(out)
}

// ForTemplates are messages as chat templates want them: see [CallsForTemplates].
func ForTemplates(messages json.RawMessage) json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(messages, &list) != nil {
		return messages
	}
	for i, m := range list {
		var c struct {
			Calls json.RawMessage `json:"tool_calls"`
		}
		if json.Unmarshal(m, &c) != nil || !there(c.Calls) {
			continue
		}
		if out := bytes.Replace(m, c.Calls, CallsForTemplates(c.Calls), 1); json.Valid(out) {
			list[i] = out
		}
	}
	b, err := rowfile.Encode(list)
	if err != nil {
		return messages
	}
	return b
}
