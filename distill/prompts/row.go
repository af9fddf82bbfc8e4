package prompts

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
)

// A maker makes prompts of rows.
type maker struct {
	o        *Rows
	template *compiled // nil where a column holds the prompt
	answer   *compiled // of examples; nil where a column holds it
}

func newMaker(o *Rows) (m *maker, err error) {
	m = &maker{o: o}
	prompt, answer := o.Template.parts()
	if m.template, err = prompt.compile(); err == nil {
		m.answer, err = answer.compile()
	}
	return m, err
}

// columns are those that are read, each with the key that names it; the answer's only for examples. None are all.
func (m *maker) columns(examples bool) (names, keys []string) {
	add := func(key string, columns ...string) {
		for _, name := range columns {
			if name != "" && !slices.Contains(names, name) {
				names, keys = append(names, name), append(keys, key)
			}
		}
	}
	add("prompt", m.o.Prompt)
	add("reference", m.o.Reference)
	add("id", m.o.ID)
	add("system", m.o.System)
	add("tools", m.o.Tools)
	add("meta", m.o.Meta...)
	if examples {
		add("few_shot.answer", m.o.FewShot.Answer)
	}
	if m.template != nil { // after the others, whose values are decoded in another way
		add("template", m.template.columns...)
	}
	if examples && m.answer != nil {
		add("template", m.answer.columns...)
	}
	return names, keys
}

// toRead are the columns to read from a file; none are all.
func (m *maker) toRead(examples bool) []string {
	if m.template != nil && m.template.all || examples && m.answer != nil && m.answer.all {
		return nil
	}
	names, _ := m.columns(examples)
	return names
}

// missing is an error when a column that is to be read is not among those there.
func (m *maker) missing(file string, there []string, examples bool) error {
	names, keys := m.columns(examples)
	for i, name := range names {
		if slices.Contains(there, name) {
			continue
		}
		if keys[i] == "template" {
			return stillhouse.Invalidf("read prompts: %s has no column %q, which %s.template reads: the columns there are %s", file, name, m.o.Section, strings.Join(there, ", "))
		}
		return stillhouse.Invalidf("read prompts: %s has no column %q (%s.%s): the columns there are %s", file, name, m.o.Section, keys[i], strings.Join(there, ", "))
	}
	return nil
}

// A made prompt is one that has no examples before it yet, and no place in the order.
type made struct {
	stillhouse.Prompt
	file     *file
	row      int      // its number in the file
	content  identity // of the conversation and its tools
	question identity // of the conversation without the system prompt
	answer   string   // of an example
}

// An identity is a hash of content. Two contents of one identity are the same.
type identity [16]byte

func identityOf(v any) (identity, error) {
	b, err := rowfile.Encode(v)
	if err != nil {
		return identity{}, rowfile.BadRowf("%w", err)
	}
	sum := sha256.Sum256(b)
	return identity(sum[:16]), nil
}

// rank is the place of an identity in the order that a seed gives: the first eight bytes of the SHA-256 over the seed
// (eight bytes, the lowest first) and the identity, as a number.
func (id identity) rank(seed int64) uint64 {
	var b [8 + len(identity{})]byte
	binary.LittleEndian.PutUint64(b[:], uint64(seed))
	copy(b[8:], id[:])
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(sum[:])
}

// make makes the prompt of the row that f handed out last. An error is that of the row.
func (m *maker) make(row rowfile.Row, f *rowfile.File, from *file, example bool) (p made, err error) {
	o := m.o
	p = made{file: from, row: f.Number(), Prompt: stillhouse.Prompt{Source: o.Source}}
	if p.Source == "" {
		p.Source = from.Source
	}
	there, _ := f.Columns()
	values, err := m.values(row, example)
	if err != nil {
		return p, err
	}
	switch {
	case m.template != nil:
		p.Prompt.Prompt, err = m.template.render(row, there, 0)
	case !slices.Contains(there, o.Prompt):
		err = rowfile.BadRowf("there is no column %q (%s.prompt): the columns there are %s", o.Prompt, o.Section, strings.Join(there, ", "))
	default:
		if p.Prompt.Prompt, p.Messages, err = conversation.Read(values[o.Prompt]); err != nil {
			err = rowfile.BadRowf("column %q: %w", o.Prompt, err)
		}
	}
	if err != nil {
		return p, err
	}
	if o.System != "" {
		system, ok := asText(values[o.System])
		if !ok && values[o.System] != nil {
			return p, rowfile.BadRowf("column %q is not a text", o.System)
		}
		if p.Messages, err = conversation.AddSystem(system, &p.Prompt.Prompt, p.Messages); err != nil {
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
		if p.Tools, err = conversation.Tools(values[o.Tools]); err != nil {
			return p, rowfile.BadRowf("column %q: %w", o.Tools, err)
		}
	}
	if p.Meta, err = m.meta(values); err != nil {
		return p, err
	}
	if o.ID != "" {
		id, ok := asText(values[o.ID])
		if id = strings.TrimSpace(id); !ok || id == "" {
			return p, rowfile.BadRowf("column %q holds no id", o.ID)
		}
		p.ID = id
	}
	if example {
		if err := m.answerOf(&p, row, there, values); err != nil {
			return p, err
		}
	}
	return p, p.identify(o.FewShot != nil)
}

// answerOf fills in the answer of an example.
func (m *maker) answerOf(p *made, row rowfile.Row, there []string, values map[string]any) error {
	if m.answer != nil {
		ms, err := m.answer.render(row, there, len(m.template.messages))
		if err == nil {
			p.answer = ms[0].Content
		}
		return err
	}
	column := m.o.FewShot.Answer
	if column == "" {
		column = m.o.Reference
	}
	if p.answer, _ = asText(values[column]); strings.TrimSpace(p.answer) == "" {
		return rowfile.BadRowf("column %q: %w", column, errNoAnswer)
	}
	return nil
}

// identify hashes the content; what tells a row from its examples only where there are any.
func (p *made) identify(examples bool) (err error) {
	if p.content, err = identityOf(p.Identity()); err != nil || !examples {
		return err
	}
	if p.Messages != nil {
		raw, err := p.whole()
		if err != nil {
			return err
		}
		system, _ := splitSystem(p.Prompt.Prompt)
		p.question, err = identityOf(raw[len(system):])
		return err
	}
	_, turns := splitSystem(p.Prompt.Prompt)
	p.question, err = identityOf(turns)
	return err
}

// whole are the messages with all that they have, each as JSON.
func (p *made) whole() (raw []json.RawMessage, err error) {
	if p.Messages != nil {
		return raw, json.Unmarshal([]byte(*p.Messages), &raw)
	}
	for _, m := range p.Prompt.Prompt {
		b, err := rowfile.Encode(m)
		if err != nil {
			return nil, err
		}
		raw = append(raw, b)
	}
	return raw, nil
}

// values are those of the columns that are read, numbers as json.Number.
func (m *maker) values(row rowfile.Row, example bool) (map[string]any, error) {
	values := map[string]any{}
	names, keys := m.columns(example)
	for i, name := range names {
		if raw, ok := row[name]; ok && keys[i] != "template" {
			var v any
			if err := rowfile.Decode(raw, &v); err != nil {
				return nil, rowfile.BadRowf("column %q: %w", name, err)
			}
			values[name] = v
		}
	}
	return values, nil
}

func (m *maker) meta(values map[string]any) (*string, error) {
	if len(m.o.Meta) == 0 {
		return nil, nil
	}
	kept := make(map[string]any, len(m.o.Meta))
	for _, name := range m.o.Meta {
		kept[name] = values[name]
	}
	b, err := rowfile.Encode(kept)
	if err != nil {
		return nil, rowfile.BadRowf("meta: %w", err)
	}
	s := string(b)
	return &s, nil
}

// splitSystem cuts the system prompt off a conversation.
func splitSystem(ms []stillhouse.Message) (system, turns []stillhouse.Message) {
	n := 0
	for n < len(ms) && conversation.HasSystem(ms[n:]) {
		n++
	}
	return ms[:n], ms[n:]
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
