package distill

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
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

// prompt makes the prompt of the row that f handed out last.
func (c *collector) prompt(row rowfile.Row, f *rowfile.File) (stillhouse.Prompt, error) {
	o := c.o
	p := stillhouse.Prompt{Source: o.Source}
	if there, _ := f.Columns(); !slices.Contains(there, o.Prompt) {
		return p, rowfile.BadRowf("there is no column %q (%s.prompt): the columns there are %s", o.Prompt, o.Section, strings.Join(there, ", "))
	}
	values, err := c.values(row)
	if err != nil {
		return p, err
	}
	if p.Prompt, p.Messages, err = conversation.Read(values[o.Prompt]); err != nil {
		return p, rowfile.BadRowf("column %q: %w", o.Prompt, err)
	}
	if o.System != "" {
		system, ok := asText(values[o.System])
		if !ok && values[o.System] != nil {
			return p, rowfile.BadRowf("column %q is not a text", o.System)
		}
		if p.Messages, err = conversation.AddSystem(system, &p.Prompt, p.Messages); err != nil {
			return p, rowfile.BadRowf("column %q: %w", o.Prompt, err)
		}
	}
	if o.Reference != "" && values[o.Reference] != nil {
		text, ok := asText(values[o.Reference])
		if !ok {
			return p, rowfile.BadRowf("column %q is neither a text nor a number", o.Reference)
		}
		p.Reference = &text
	}
	if o.Tools != "" {
		if p.Tools, err = toolsText(values[o.Tools]); err != nil {
			return p, rowfile.BadRowf("column %q: %w", o.Tools, err)
		}
	}
	if p.Meta, err = c.meta(values); err != nil {
		return p, err
	}
	return p, c.name(&p, values, f.Place())
}

// values are those of the columns that are read, numbers as json.Number.
func (c *collector) values(row rowfile.Row) (map[string]any, error) {
	values := map[string]any{}
	for _, name := range c.o.columns() {
		if raw, ok := row[name]; ok {
			var v any
			if err := rowfile.Decode(raw, &v); err != nil {
				return nil, rowfile.BadRowf("column %q: %w", name, err)
			}
			values[name] = v
		}
	}
	return values, nil
}

// name gives the prompt its id and finds rows that have it already.
func (c *collector) name(p *stillhouse.Prompt, values map[string]any, place string) error {
	if c.o.ID != "" {
		id, ok := asText(values[c.o.ID])
		if id = strings.TrimSpace(id); !ok || id == "" {
			return rowfile.BadRowf("column %q holds no id", c.o.ID)
		}
		p.ID = id
	} else {
		b, err := marshal(p.Identity())
		if err != nil {
			return rowfile.BadRowf("%w", err)
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
		return rowfile.BadRowf("the id %q is that of %s too: ids must differ", p.ID, before.place)
	case ok && before.reference != reference:
		return rowfile.BadRowf("the prompt is that of %s with another reference", before.place)
	case ok:
		return rowfile.BadRowf("%w as %s", errDuplicate, before.place)
	}
	c.seen[p.ID] = seen{place: place, reference: reference}
	return nil
}

func (c *collector) meta(values map[string]any) (*string, error) {
	if len(c.o.Meta) == 0 {
		return nil, nil
	}
	m := make(map[string]any, len(c.o.Meta))
	for _, name := range c.o.Meta {
		m[name] = values[name]
	}
	b, err := marshal(m)
	if err != nil {
		return nil, rowfile.BadRowf("meta: %w", err)
	}
	s := string(b)
	return &s, nil
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
		if err := rowfile.Decode([]byte(s), &v); err != nil {
			return nil, fmt.Errorf("the tools are not JSON: %w", err)
		}
	}
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("the tools are %s: they must be a list", conversation.KindOf(v))
	}
	if len(list) == 0 {
		return nil, nil
	}
	b, err := marshal(list)
	s := string(b)
	return &s, err
}
