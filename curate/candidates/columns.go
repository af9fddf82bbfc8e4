package candidates

import (
	"strings"

	"stillhouse/internal/rowfile"
)

// override takes what the config names in place of what the shape says, for the n-th item of a row.
func (r *scanner) override(it *read, from *row, n int) (err error) {
	c := &r.o.Columns
	find := func(name string) (any, error) {
		v, ok := from.find(name)
		if !ok && !it.Request && !it.Bare { // the prompts of a batch are elsewhere than its answers
			return nil, from.missing(name)
		}
		return v, nil
	}
	for _, t := range []struct {
		column string
		to     func(v any)
	}{
		{c.ID, func(v any) { it.ID = strings.TrimSpace(word(v)) }},
		{c.Sample, func(v any) {
			if n, ok := whole(v); ok && it.Sample != Unknown {
				it.Sample, it.Counted = n, false
			}
		}},
		{c.Reasoning, func(v any) { it.Reasoning = optional(nth(v, n)) }},
		{c.FinishReason, func(v any) { it.FinishReason = word(nth(v, n)) }},
		{c.Model, func(v any) { it.Model = word(nth(v, n)) }},
		{c.PromptTokens, func(v any) { it.PromptTokens = count(nth(v, n)) }},
		{c.CompletionTokens, func(v any) { it.CompletionTokens = count(nth(v, n)) }},
		{r.o.Reference, func(v any) { it.Reference = optional(v) }},
	} {
		if t.column == "" {
			continue
		}
		v, err := find(t.column)
		if err != nil {
			return err
		}
		if v != nil || !it.Bare {
			t.to(v)
		}
	}
	if c.System != "" && !it.Bare && len(it.Prompt.Prompt) > 0 {
		v, err := find(c.System)
		if err == nil {
			err = addSystem(&it.Prompt, v)
		}
		if err != nil {
			return err
		}
	}
	if c.Tools != "" && !it.Bare {
		v, err := find(c.Tools)
		if err == nil {
			it.Tools, err = toolsText(v)
		}
		if err != nil {
			return err
		}
	}
	return it.addMeta(c.Meta, find)
}

// addMeta carries columns along, beside what the shape keeps there.
func (r *read) addMeta(columns []string, find func(string) (any, error)) error {
	if len(columns) == 0 || r.Bare {
		return nil
	}
	kept := map[string]any{}
	if r.Meta != nil {
		var was any
		if rowfile.Decode([]byte(*r.Meta), &was) == nil {
			if m, ok := was.(map[string]any); ok {
				kept = m
			}
		}
	}
	for _, name := range columns {
		v, err := find(name)
		if err != nil {
			return err
		}
		kept[name] = v
	}
	var err error
	r.Meta, err = encoded(kept)
	return err
}
