package distill

import (
	"encoding/json"
	"slices"
	"strings"
)

// A contentSoFar is a message's content: a text, or a list of parts where a piece came as one.
type contentSoFar struct {
	there  bool
	listed bool
	parts  []*partSoFar
}

// A partSoFar is a text, to which more may come, or a part of another kind as it came.
type partSoFar struct {
	text strings.Builder
	raw  json.RawMessage
}

func (c *contentSoFar) add(raw json.RawMessage) int {
	if !isValue(raw) {
		return 0
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		c.there = true
		return c.addText(text)
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return 0
	}
	c.there, c.listed = true, true
	n := 0
	for _, part := range list {
		var p struct {
			Type string  `json:"type"`
			Text *string `json:"text"`
		}
		if json.Unmarshal(part, &p) == nil && p.Type == "text" && p.Text != nil {
			n += c.addText(*p.Text)
			continue
		}
		c.parts = append(c.parts, &partSoFar{raw: slices.Clone(part)})
		n += len(part)
	}
	return n
}

func (c *contentSoFar) addText(text string) int {
	if n := len(c.parts); n == 0 || c.parts[n-1].raw != nil {
		c.parts = append(c.parts, &partSoFar{})
	}
	c.parts[len(c.parts)-1].text.WriteString(text)
	return len(text)
}

func (c *contentSoFar) value() any {
	switch {
	case !c.there:
		return nil
	case !c.listed:
		return c.parts[0].text.String()
	}
	list := make([]any, len(c.parts))
	for i, p := range c.parts {
		if list[i] = p.raw; p.raw == nil {
			list[i] = map[string]any{"type": "text", "text": p.text.String()}
		}
	}
	return list
}

type chunkFunction struct {
	Name      *string         `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// A callSoFar is what came of one tool call.
type callSoFar struct {
	index     *int
	id, kind  string
	name      string
	arguments strings.Builder
	other     map[string]json.RawMessage
	function  bool
}

// callsSoFar are the tool calls of a choice, in the order in which they began.
type callsSoFar struct {
	list []*callSoFar
}

// add takes a piece of a call. Which call it belongs to its index says; but some servers send none, and some send 0 for
// all calls. So a piece with an id of its own begins a new call, and so does one without index and id that has a name
// where the last call has one already.
func (c *callsSoFar) add(raw json.RawMessage) (n int) {
	var p struct {
		Index    *int           `json:"index"`
		ID       string         `json:"id"`
		Type     string         `json:"type"`
		Function *chunkFunction `json:"function"`
	}
	if json.Unmarshal(raw, &p) != nil {
		return 0
	}
	named := p.Function != nil && p.Function.Name != nil && *p.Function.Name != ""
	call := c.find(p.Index, p.ID, named)
	if call == nil {
		call = &callSoFar{index: p.Index, other: map[string]json.RawMessage{}}
		c.list = append(c.list, call)
		n++
	}
	if p.ID != "" {
		call.id = p.ID
	}
	if p.Type != "" {
		call.kind = p.Type
	}
	if p.Function != nil {
		n += call.add(*p.Function)
	}
	var fields map[string]json.RawMessage
	if p.Function == nil && json.Unmarshal(raw, &fields) == nil { // calls of other kinds come whole
		keep(call.other, fields, "index", "id", "type", "function")
	}
	return n
}

// find is the call that a piece belongs to; nil for a new one. Of several with one index it is the last.
func (c *callsSoFar) find(index *int, id string, named bool) *callSoFar {
	for _, call := range slices.Backward(c.list) {
		same := index != nil && call.index != nil && *index == *call.index
		switch {
		case id != "" && call.id == id && (index == nil || same):
			return call
		case id != "":
			if same && call.id == "" {
				return call
			}
		case index != nil:
			if same {
				return call
			}
		case named && call.name != "":
			return nil
		default:
			return call
		}
	}
	return nil
}

func (c *callSoFar) add(f chunkFunction) (n int) {
	c.function = true
	if f.Name != nil && *f.Name != c.name { // some servers repeat the name in every piece
		c.name += *f.Name
		n += len(*f.Name)
	}
	if isValue(f.Arguments) {
		args := scalar(f.Arguments) // the text, or that of an object
		c.arguments.WriteString(args)
		n += len(args)
	}
	return n
}

func (c *callSoFar) value() map[string]any {
	return map[string]any{"name": c.name, "arguments": c.arguments.String()}
}

func (c *callsSoFar) value() []any {
	var list []any
	for _, call := range c.list {
		v := make(map[string]any, len(call.other)+3)
		for name, field := range call.other {
			v[name] = field
		}
		v["id"] = call.id
		if call.kind != "" {
			v["type"] = call.kind
		}
		if call.function {
			v["function"] = call.value()
		}
		list = append(list, v)
	}
	return list
}
