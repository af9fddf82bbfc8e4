package candidates

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"stillhouse"
	"stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
)

// A row is one row of a file, its values decoded when they are looked at: texts, json.Number, bool, []any, map[string]any.
type row struct {
	raw    rowfile.Row
	values map[string]any
	err    error // of the first value that could not be decoded
	file   *file
	place  string
}

// at is a column's value, nil where there is none.
func (r *row) at(name string) any {
	if v, ok := r.values[name]; ok {
		return v
	}
	raw, ok := r.raw[name]
	if !ok {
		return nil
	}
	var v any
	if err := rowfile.Decode(raw, &v); err != nil && r.err == nil {
		r.err = rowfile.BadRowf("column %q: %w", name, err)
	}
	r.values[name] = v
	return v
}

func (r *row) has(name string) bool { _, ok := r.raw[name]; return ok }

// find is the value of a column, or of what a name with dots leads to.
func (r *row) find(name string) (any, bool) {
	if r.has(name) {
		return r.at(name), true
	}
	for i := range name {
		if name[i] == '.' && r.has(name[:i]) {
			return inside(r.at(name[:i]), name[i+1:])
		}
	}
	return nil, false
}

func inside(v any, name string) (any, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, false
	}
	if v, ok := m[name]; ok {
		return v, true
	}
	for i := range name {
		if name[i] == '.' {
			if below, ok := m[name[:i]]; ok {
				return inside(below, name[i+1:])
			}
		}
	}
	return nil, false
}

// dig follows keys (text) and places (int) into a value, nil where they lead nowhere.
func dig(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if v = nil; p < len(l) {
				v = l[p]
			}
		}
	}
	return v
}

// text is that of a text, a number or a truth value.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// optional is a text that may be missing; an empty one is none.
func optional(v any) *string {
	if s, ok := text(v); ok && s != "" {
		return &s
	}
	return nil
}

// word is a text that may be missing.
func word(v any) string {
	s, _ := text(v)
	return s
}

// whole is a whole number from 0 to the largest int32; ok says whether there is one.
func whole(v any) (n int32, ok bool) {
	number, isNumber := v.(json.Number)
	if !isNumber {
		return 0, false
	}
	f, err := number.Float64()
	if err != nil || f != math.Trunc(f) || f < 0 || f > math.MaxInt32 {
		return 0, false
	}
	return int32(f), true
}

// count is a number of tokens; 0 where it is not known.
func count(v any) int32 {
	n, _ := whole(v)
	return n
}

func optionalCount(v any) *int32 {
	if n, ok := whole(v); ok {
		return &n
	}
	return nil
}

// nth is the value for the i-th of several answers: that of a list, or what is said once of all.
func nth(v any, i int) any {
	if l, ok := v.([]any); ok {
		if i < len(l) {
			return l[i]
		}
		return nil
	}
	return v
}

// encoded is a value as JSON text.
func encoded(v any) (*string, error) {
	b, err := rowfile.Encode(v)
	if err != nil {
		return nil, rowfile.BadRowf("%w", err)
	}
	s := string(b)
	return &s, nil
}

// toolsText is a list of tools as JSON text; an error is that of the row.
func toolsText(v any) (*string, error) {
	s, err := conversation.Tools(v)
	if err != nil {
		return nil, rowfile.BadRowf("%w", err)
	}
	return s, nil
}

// callsText is a list of tool calls in the one form that they have in rows, nil where there is none.
func callsText(v any) *string {
	if s, ok := v.(string); ok && strings.TrimSpace(s) != "" {
		v = nil
		_ = rowfile.Decode([]byte(s), &v)
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil
	}
	raw, err := rowfile.Encode(list)
	if err != nil {
		return nil
	}
	if s := conversation.ToolCalls(raw, nil); s != "" {
		return &s
	}
	return nil
}

// promptOf reads a prompt: a text or messages.
func promptOf(p *stillhouse.Prompt, v any) (err error) {
	if p.Prompt, p.Messages, err = conversation.Read(v); err != nil {
		return rowfile.BadRowf("%w", err)
	}
	return nil
}

// noPrompt says whether a value holds no prompt at all.
func noPrompt(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return strings.TrimSpace(v) == ""
	case []any:
		return len(v) == 0
	}
	return false
}

// addSystem puts a system prompt before a conversation.
func addSystem(p *stillhouse.Prompt, v any) (err error) {
	s, ok := v.(string)
	if !ok || s == "" {
		return nil
	}
	if p.Messages, err = conversation.AddSystem(s, &p.Prompt, p.Messages); err != nil {
		return rowfile.BadRowf("%w", err)
	}
	return nil
}

// An answer is what a model said.
type answer struct {
	text      string
	there     bool // there is a text, which may be empty
	more      []stillhouse.Message
	reasoning *string
	calls     *string
	refusal   *string
}

// answerOf reads an answer: a text, a message, or messages of which the first is the assistant's. An object that is no
// message is a structured answer, whose JSON is its text.
func answerOf(v any) (a answer, err error) {
	switch v := v.(type) {
	case nil:
		return a, nil
	case string:
		return answer{text: v, there: true}, nil
	case json.Number, bool:
		a.text, a.there = text(v)
		return a, nil
	case []any:
		if len(v) == 0 {
			return a, nil
		}
		if a, err = messageAnswer(v[0]); err != nil || len(v) == 1 {
			return a, err
		}
		for _, m := range v[1:] {
			fields, _ := m.(map[string]any)
			content, _ := contentOf(fields["content"])
			role, ok := fields["role"].(string)
			if !ok {
				return a, rowfile.BadRowf("the answer has a message without a role")
			}
			a.more = append(a.more, stillhouse.Message{Role: role, Content: content})
		}
		return a, nil
	case map[string]any:
		if _, ok := v["role"]; ok {
			return messageAnswer(v)
		}
		s, err := encoded(v)
		if err != nil {
			return a, err
		}
		return answer{text: *s, there: true}, nil
	}
	return a, rowfile.BadRowf("the answer is %s", conversation.KindOf(v))
}

// messageAnswer reads the assistant's message.
func messageAnswer(v any) (a answer, err error) {
	fields, ok := v.(map[string]any)
	if !ok {
		return a, rowfile.BadRowf("the answer's message is %s: it must have role and content", conversation.KindOf(v))
	}
	if role, ok := fields["role"].(string); ok && role != "assistant" {
		return a, rowfile.BadRowf("the answer's message is that of %q: it must be the assistant's", role)
	}
	a.text, a.there = contentOf(fields["content"])
	if !a.there && fields["content"] != nil {
		return a, rowfile.BadRowf("the answer's content is %s: it must be a text", conversation.KindOf(fields["content"]))
	}
	for _, name := range []string{"reasoning_content", "reasoning", "thinking"} {
		if a.reasoning == nil {
			a.reasoning = optional(fields[name])
		}
	}
	a.calls, a.refusal = callsText(fields["tool_calls"]), optional(fields["refusal"])
	return a, nil
}

// contentOf is a message's text: a text, or the texts of its parts.
func contentOf(v any) (string, bool) {
	parts, ok := v.([]any)
	if !ok {
		s, ok := v.(string)
		return s, ok
	}
	var b strings.Builder
	for _, p := range parts {
		s, ok := dig(p, "text").(string)
		if !ok {
			return "", false
		}
		b.WriteString(s)
	}
	return b.String(), len(parts) > 0
}

// take puts the answer into a candidate. Where there is nothing in it, the candidate is none.
func (r read) take(a answer) read {
	if !a.there && a.reasoning == nil && a.calls == nil && a.refusal == nil {
		return r.fail(NoContent, "the answer has no text, tool call or reasoning")
	}
	if !a.there && a.refusal != nil { // as distill has it
		a.text = *a.refusal
	}
	r.Completion = append([]stillhouse.Message{{Role: "assistant", Content: a.text}}, a.more...)
	if a.reasoning != nil {
		r.Reasoning = a.reasoning
	}
	if a.calls != nil {
		r.ToolCalls = a.calls
	}
	r.Refusal = a.refusal
	return r
}

// missing is an error of a row that lacks the column of its shape.
func (r *row) missing(names ...string) error {
	for _, n := range names {
		if r.has(n) {
			return nil
		}
	}
	there := make([]string, 0, len(r.raw))
	for n := range r.raw {
		there = append(there, n)
	}
	slices.Sort(there)
	return rowfile.BadRowf("there is no column %s: the columns there are %s", quoted(names), rowfile.Some(there))
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(out, " or ")
}
