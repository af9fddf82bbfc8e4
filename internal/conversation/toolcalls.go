package conversation

import (
	"bytes"
	"encoding/json"
	"strings"

	"stillhouse/internal/rowfile"
)

// A toolCall is one call as endpoints write it. Kinds of calls that have no function keep their other fields as they
// came.
type toolCall struct {
	ID       string
	Type     string
	Name     string
	Args     string // the JSON text of the arguments, exactly as it came; a broken one stays broken
	function bool
	other    map[string]json.RawMessage
}

// ToolCalls writes a message's calls in one form, so that the same calls are the same text whichever server they come
// from and whether they were streamed: a JSON array of {"id", "type", "function": {"name", "arguments"}} in this order
// without spaces, any other field after them in the order of the names. arguments is the text that came: a server that
// sends an object instead of its text has it as its text. Calls without a type are functions. The older function_call is
// a call without an id. It is "" where there is none, or nothing that can be read.
func ToolCalls(calls, function json.RawMessage) string {
	var list []json.RawMessage
	if there(calls) && json.Unmarshal(calls, &list) != nil {
		return ""
	}
	if len(list) == 0 && there(function) {
		list = []json.RawMessage{json.RawMessage(`{"function":` + string(function) + `}`)}
	}
	var out bytes.Buffer
	for _, raw := range list {
		call, ok := readToolCall(raw)
		if !ok {
			continue
		}
		if out.WriteByte(','); out.Len() == 1 {
			out.Reset()
			out.WriteByte('[')
		}
		call.write(&out)
	}
	if out.Len() == 0 {
		return ""
	}
	out.WriteByte(']')
	return out.String()
}

func readToolCall(raw json.RawMessage) (c toolCall, ok bool) {
	if json.Unmarshal(raw, &c.other) != nil || c.other == nil {
		return c, false
	}
	take := func(from map[string]json.RawMessage, name string) string {
		v := text(from[name])
		delete(from, name)
		return v
	}
	c.ID, c.Type = take(c.other, "id"), take(c.other, "type")
	delete(c.other, "index") // its place in the list says it
	var f map[string]json.RawMessage
	if there(c.other["function"]) && json.Unmarshal(c.other["function"], &f) == nil {
		c.function = true
		c.Name, c.Args = take(f, "name"), text(f["arguments"])
		delete(c.other, "function")
	}
	if c.Type == "" && c.function {
		c.Type = "function"
	}
	return c, c.function || len(c.other) > 0
}

func (c *toolCall) write(to *bytes.Buffer) {
	put := func(before string, v any) {
		to.WriteString(before)
		b, err := rowfile.Encode(v)
		if err != nil { // texts always marshal
			b = []byte("null")
		}
		to.Write(b)
	}
	put(`{"id":`, c.ID)
	put(`,"type":`, c.Type)
	if c.function {
		put(`,"function":{"name":`, c.Name)
		put(`,"arguments":`, c.Args)
		to.WriteByte('}')
	}
	if len(c.other) > 0 {
		rest, err := rowfile.Encode(c.other)
		if err == nil {
			to.WriteByte(',')
			to.Write(rest[1 : len(rest)-1])
		}
	}
	to.WriteByte('}')
}

func there(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// text is that of a JSON string, the JSON of anything else, "" for null.
func text(raw json.RawMessage) string {
	var s string
	if !there(raw) || json.Unmarshal(raw, &s) == nil {
		return s
	}
	return strings.ToValidUTF8(string(raw), "\uFFFD")
}
