package distill

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"stillhouse"
)

// collector makes prompts of rows and knows those it made.
type collector struct {
	o    *PromptsOptions
	seen map[string]seen
}

type seen struct {
	place     string
	reference string
}

var errDuplicate = errors.New("the same prompt")

func (c *collector) prompt(values row, r rowReader) (stillhouse.Prompt, error) {
	o := c.o
	p := stillhouse.Prompt{Source: o.Source}
	if _, ok := values[o.Prompt]; !ok && !slices.Contains(r.columns(), o.Prompt) {
		return p, badf("there is no column %q (%s.prompt): the columns there are %s", o.Prompt, o.Section, strings.Join(r.columns(), ", "))
	}
	for _, name := range o.columns() {
		if !validText(values[name]) {
			return p, badf("column %q is not valid UTF-8", name)
		}
	}
	var err error
	if p.Prompt, err = messages(values[o.Prompt]); err != nil {
		return p, badf("column %q: %w", o.Prompt, err)
	}
	if o.System != "" {
		system, ok := asText(values[o.System])
		if !ok && values[o.System] != nil {
			return p, badf("column %q is not a text", o.System)
		}
		p.Prompt = conversation(system, p.Prompt)
	}
	if o.Reference != "" && values[o.Reference] != nil {
		text, ok := asText(values[o.Reference])
		if !ok {
			return p, badf("column %q is neither a text nor a number", o.Reference)
		}
		p.Reference = &text
	}
	if o.Tools != "" {
		if p.Tools, err = toolsText(values[o.Tools]); err != nil {
			return p, badf("column %q: %w", o.Tools, err)
		}
	}
	if p.Meta, err = c.meta(values); err != nil {
		return p, err
	}
	return p, c.name(&p, values, r.place())
}

// name gives the prompt its id and finds rows that have it already.
func (c *collector) name(p *stillhouse.Prompt, values row, place string) error {
	if c.o.ID != "" {
		id, ok := asText(values[c.o.ID])
		if id = strings.TrimSpace(id); !ok || id == "" {
			return badf("column %q holds no id", c.o.ID)
		}
		p.ID = id
	} else {
		b, err := marshal([]any{p.Prompt, p.Tools})
		if err != nil {
			return badf("%w", err)
		}
		sum := sha256.Sum256(b)
		p.ID = hex.EncodeToString(sum[:16])
	}
	reference := ""
	if p.Reference != nil {
		reference = *p.Reference
	}
	before, ok := c.seen[p.ID]
	switch {
	case ok && c.o.ID != "":
		return badf("the id %q is that of %s too: ids must differ", p.ID, before.place)
	case ok && before.reference != reference:
		return badf("the prompt is that of %s with another reference", before.place)
	case ok:
		return badf("%w as %s", errDuplicate, before.place)
	}
	c.seen[p.ID] = seen{place: place, reference: reference}
	return nil
}

func (c *collector) meta(values row) (*string, error) {
	if len(c.o.Meta) == 0 {
		return nil, nil
	}
	m := make(map[string]any, len(c.o.Meta))
	for _, name := range c.o.Meta {
		m[name] = values[name]
	}
	b, err := marshal(m)
	if err != nil {
		return nil, badf("meta: %w", err)
	}
	s := string(b)
	return &s, nil
}

// messages reads a prompt: a text, which becomes the user's turn, or a conversation that ends before the assistant
// speaks.
func messages(v any) ([]stillhouse.Message, error) {
	switch v := v.(type) {
	case nil:
		return nil, errors.New("there is no prompt")
	case string:
		if strings.TrimSpace(v) == "" {
			return nil, errors.New("the prompt is empty")
		}
		return []stillhouse.Message{{Role: "user", Content: v}}, nil
	case []any:
		return turnsOf(v)
	default:
		return nil, fmt.Errorf("the prompt is %s: it must be a text or a list of messages", kindOf(v))
	}
}

func turnsOf(list []any) ([]stillhouse.Message, error) {
	if len(list) == 0 {
		return nil, errors.New("the prompt is a conversation without messages")
	}
	ms := make([]stillhouse.Message, len(list))
	for i, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("message %d is %s: it must have role and content", i, kindOf(item))
		}
		role, ok := m["role"].(string)
		if !ok || !slices.Contains([]string{"system", "developer", "user", "assistant", "tool"}, role) {
			return nil, fmt.Errorf("message %d has the role %v: it must be system, developer, user, assistant or tool", i, m["role"])
		}
		content, ok := m["content"].(string)
		if !ok {
			return nil, fmt.Errorf("message %d has %s as its content: it must be a text", i, kindOf(m["content"]))
		}
		ms[i] = stillhouse.Message{Role: role, Content: content}
	}
	last := ms[len(ms)-1]
	if last.Role == "assistant" {
		return nil, errors.New("the conversation ends with the assistant's turn: it must end before the assistant speaks")
	}
	if strings.TrimSpace(last.Content) == "" {
		return nil, errors.New("the prompt is empty: the last message has no text")
	}
	return ms, nil
}

// asText is the text of a value that has one: a string, a number, a truth value.
func asText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	default:
		return "", false
	}
}

// toolsText checks a list of tools and writes it as JSON.
func toolsText(v any) (*string, error) {
	if s, ok := v.(string); ok {
		if strings.TrimSpace(s) == "" {
			return nil, nil
		}
		if err := decodeJSON([]byte(s), &v); err != nil {
			return nil, fmt.Errorf("the tools are not JSON: %w", err)
		}
	}
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("the tools are %s: they must be a list", kindOf(v))
	}
	if len(list) == 0 {
		return nil, nil
	}
	b, err := marshal(list)
	s := string(b)
	return &s, err
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case string:
		return "a text"
	case json.Number:
		return "a number"
	case bool:
		return "a truth value"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}

// validText reports whether all texts in a value are valid UTF-8.
func validText(v any) bool {
	switch v := v.(type) {
	case string:
		return utf8.ValidString(v)
	case []any:
		return !slices.ContainsFunc(v, func(x any) bool { return !validText(x) })
	case map[string]any:
		for name, x := range v {
			if !utf8.ValidString(name) || !validText(x) {
				return false
			}
		}
	}
	return true
}
