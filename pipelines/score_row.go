package pipelines

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/conversation"
	"stillhouse/internal/options"
	"stillhouse/internal/rowfile"
)

// scoreFields are what a row that is scored may have, each with other names that its column may have: those of our own
// shards of candidates.
var scoreFields = map[string][]string{
	"id": {"prompt_id"}, "prompt": nil, "reference": nil, "completion": nil, "tools": nil, "meta": nil, "reasoning": nil,
	"tool_calls": nil, "tokens": {"completion_tokens"}, "logprobs": nil, "finish_reason": nil,
}

// CheckScoreColumn is an error when there is no such field.
func CheckScoreColumn(field string) error {
	if _, ok := scoreFields[field]; !ok {
		return stillhouse.Invalidf("--column %s=…: there is no such field: %s", field, options.Nearest(field, slices.Sorted(maps.Keys(scoreFields))))
	}
	return nil
}

// scoreColumns map the fields of a row to its columns.
type scoreColumns struct {
	names    map[string]string // by field
	numbered bool              // the id is the row's number
	taken    map[string]bool   // columns that are fields
}

func newScoreColumns(named map[string]string) scoreColumns {
	c := scoreColumns{names: map[string]string{}, taken: map[string]bool{}}
	for field, others := range scoreFields {
		name, said := named[field]
		switch {
		case said && name == "" && field == "id":
			c.numbered = true
		case said && name != "":
			c.names[field] = name
		default:
			c.names[field] = field
			for _, other := range others {
				c.taken[other] = true
			}
		}
		c.taken[c.names[field]] = true
	}
	return c
}

// value is a field of a row, nil where it is not there.
func (s scoreColumns) value(row rowfile.Row, field string) json.RawMessage {
	name := s.names[field]
	if v, ok := row[name]; ok || name != field {
		return v
	}
	for _, other := range scoreFields[field] {
		if v, ok := row[other]; ok {
			return v
		}
	}
	return nil
}

// candidate makes a candidate of a row, and its id as it stands there.
func (s scoreColumns) candidate(row rowfile.Row, number int) (id json.RawMessage, c stillhouse.Candidate, err error) {
	bad := func(field, format string, args ...any) (json.RawMessage, stillhouse.Candidate, error) {
		return nil, c, rowfile.BadRowf("column %q: %s", s.names[field], fmt.Sprintf(format, args...))
	}
	if s.numbered {
		id = json.RawMessage(fmt.Sprint(number))
		c.ID = string(id)
	} else {
		id = s.value(row, "id")
		text, ok := scalarText(id)
		switch {
		case !ok:
			return bad("id", "it is %s: an id is a text or a number", kindOf(id))
		case text == nil || *text == "":
			return nil, c, rowfile.BadRowf("there is no id in column %q: name the column as --column id=NAME, or number the rows by --column id=", s.names["id"])
		}
		c.ID = *text
	}
	for field, to := range map[string]**string{"reference": &c.Reference, "tools": &c.Tools, "meta": &c.Meta, "reasoning": &c.Reasoning, "tool_calls": &c.ToolCalls} {
		var ok bool
		if *to, ok = scalarText(s.value(row, field)); !ok && *to == nil {
			return bad(field, "it cannot be read")
		}
	}
	if c.Meta == nil {
		c.Meta = s.others(row)
	}
	if finish, ok := scalarText(s.value(row, "finish_reason")); ok && finish != nil {
		c.FinishReason = *finish
	}
	if v := s.value(row, "prompt"); v != nil && string(v) != "null" {
		var value any
		if err := rowfile.Decode(v, &value); err != nil {
			return bad("prompt", "%v", err)
		}
		if c.Prompt.Prompt, c.Messages, err = conversation.Read(value); err != nil {
			return bad("prompt", "%v", err)
		}
	}
	if v := s.value(row, "tokens"); v != nil && string(v) != "null" {
		var n float64
		if err := json.Unmarshal(v, &n); err != nil || n < 0 || n > math.MaxInt32 || n != math.Trunc(n) {
			return bad("tokens", "it is %s: it must be a whole number", kindOf(v))
		}
		c.CompletionTokens = int32(n)
	}
	if c.LogProbs, err = readLogProbs(s.value(row, "logprobs")); err != nil {
		return bad("logprobs", "%v", err)
	}
	v := s.value(row, "completion")
	if (v == nil || string(v) == "null") && c.ToolCalls == nil {
		return nil, c, rowfile.BadRowf("there is no completion in column %q: name the column as --column completion=NAME; there are %s", s.names["completion"], strings.Join(slices.Sorted(maps.Keys(row)), ", "))
	}
	if err := readCompletion(v, &c); err != nil {
		return bad("completion", "%v", err)
	}
	return id, c, nil
}

// others are the columns that are no fields, as a JSON object: what a program or an expression may want of the row.
func (s scoreColumns) others(row rowfile.Row) *string {
	var rest map[string]json.RawMessage
	for name, v := range row {
		if !s.taken[name] {
			if rest == nil {
				rest = map[string]json.RawMessage{}
			}
			rest[name] = v
		}
	}
	if rest == nil {
		return nil
	}
	data, err := rowfile.Encode(rest)
	if err != nil {
		return nil
	}
	text := string(data)
	return &text
}

// readCompletion reads an answer: a text, a message, or a list of messages of which those of the assistant count.
func readCompletion(v json.RawMessage, c *stillhouse.Candidate) error {
	if v == nil || string(v) == "null" {
		c.Completion = []stillhouse.Message{{Role: "assistant"}}
		return nil
	}
	type message struct {
		Role             string
		Content          *string
		Reasoning        *string         `json:"reasoning_content"`
		ToolCalls        json.RawMessage `json:"tool_calls"`
		FunctionCall     json.RawMessage `json:"function_call"`
		ReasoningOfOther *string         `json:"reasoning"`
	}
	var list []message
	switch v[0] {
	case '"':
		var text string
		if err := json.Unmarshal(v, &text); err != nil {
			return err
		}
		c.Completion = []stillhouse.Message{{Role: "assistant", Content: text}}
		return nil
	case '{':
		list = make([]message, 1)
		if err := json.Unmarshal(v, &list[0]); err != nil {
			return fmt.Errorf("it is no message with role and content: %w", err)
		}
	case '[':
		if err := json.Unmarshal(v, &list); err != nil {
			return fmt.Errorf("it is no list of messages with role and content: %w", err)
		}
	default:
		return fmt.Errorf("it is %s: it must be a text, or messages", kindOf(v))
	}
	for _, m := range list {
		if m.Role != "assistant" && m.Role != "" {
			continue
		}
		said := stillhouse.Message{Role: "assistant"}
		if m.Content != nil {
			said.Content = *m.Content
		}
		c.Completion = append(c.Completion, said)
		for _, r := range []*string{m.Reasoning, m.ReasoningOfOther} {
			if c.Reasoning == nil {
				c.Reasoning = r
			}
		}
		if calls := conversation.ToolCalls(m.ToolCalls, m.FunctionCall); c.ToolCalls == nil && calls != "" {
			c.ToolCalls = &calls
		}
	}
	if len(c.Completion) == 0 {
		return fmt.Errorf("there is no message of the assistant among %d", len(list))
	}
	return nil
}

// readLogProbs reads log-probabilities: numbers, or objects with token and logprob as our shards and OpenAI's API have them.
func readLogProbs(v json.RawMessage) (out []stillhouse.TokenLogProb, err error) {
	if v == nil || string(v) == "null" {
		return nil, nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(v, &items); err != nil {
		return nil, fmt.Errorf("it is %s: it must be a list of numbers, or of objects with token and logprob", kindOf(v))
	}
	for i, item := range items {
		var t struct {
			Token   string
			LogProb *float64
		}
		err := json.Unmarshal(item, &t.LogProb)
		if err != nil {
			err = json.Unmarshal(item, &t)
		}
		if err != nil {
			return nil, fmt.Errorf("item %d is %s: it must be a number, or an object with token and logprob", i+1, kindOf(item))
		}
		p := stillhouse.TokenLogProb{Token: t.Token, LogProb: math.NaN()}
		if t.LogProb != nil {
			p.LogProb = *t.LogProb
		}
		out = append(out, p)
	}
	return out, nil
}

// kindOf names what a value of JSON is.
func kindOf(v json.RawMessage) string {
	var value any
	if err := rowfile.Decode(v, &value); err != nil {
		return "no JSON"
	}
	return conversation.KindOf(value)
}
