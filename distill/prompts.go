package distill

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"stillhouse"
)

// PromptsOptions is the block `prompts:` of a config: which file, and which of its columns mean what.
type PromptsOptions struct {
	Path      string   `yaml:"path" json:"path" doc:"A file of prompts: JSONL (one object a line) or Parquet."`
	Prompt    string   `yaml:"prompt" json:"prompt" doc:"The column of the prompt: a text, or a conversation as a list of messages with role and content."`
	Reference string   `yaml:"reference" json:"reference" doc:"The column of the right answer, where there is one."`
	ID        string   `yaml:"id" json:"id" doc:"The column of the prompt's id; by default the id is a hash of the conversation and its tools."`
	System    string   `yaml:"system" json:"system" doc:"The column of a system prompt for the row; it becomes the conversation's first message."`
	Tools     string   `yaml:"tools" json:"tools" doc:"The column of the tools that the teacher may call: a list, or its JSON text."`
	Meta      []string `yaml:"meta" json:"meta" doc:"Columns that are carried along as they are."`
	Limit     int      `yaml:"limit" json:"limit" doc:"The most prompts to take, from the start of the file; 0 takes all."`
	OnBadRow  string   `yaml:"on_bad_row" json:"on_bad_row" doc:"error stops at the first row that cannot be used; skip leaves such rows out and counts them."`
	Source    string   `yaml:"source" json:"source" doc:"What the rows are called in the column source; by default the file's name."`
}

// What on_bad_row may be.
const (
	OnBadRowError = "error"
	OnBadRowSkip  = "skip"
)

// EnsureDefaults fills in what was left out.
func (o *PromptsOptions) EnsureDefaults() {
	if o.Prompt == "" {
		o.Prompt = "prompt"
	}
	if o.OnBadRow == "" {
		o.OnBadRow = OnBadRowError
	}
	if o.Source == "" && o.Path != "" {
		o.Source = filepath.Base(o.Path)
	}
}

// Validate says which key has a value that cannot be, and what would be right.
func (o *PromptsOptions) Validate() error {
	switch {
	case o.Path == "":
		return stillhouse.Invalidf("prompts.path is missing: name a JSONL or Parquet file")
	case o.Limit < 0:
		return stillhouse.Invalidf("prompts.limit is %d: it must be a positive number, or 0 for all", o.Limit)
	case o.OnBadRow != "" && o.OnBadRow != OnBadRowError && o.OnBadRow != OnBadRowSkip:
		return stillhouse.Invalidf("prompts.on_bad_row is %q: it must be %s or %s", o.OnBadRow, OnBadRowError, OnBadRowSkip)
	}
	return nil
}

// columns are those that are read.
func (o *PromptsOptions) columns() []string {
	var names []string
	for _, name := range append([]string{o.Prompt, o.Reference, o.ID, o.System, o.Tools}, o.Meta...) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// A BadRow is a row of a file of prompts that was left out.
type BadRow struct {
	Place  string // such as "line 7"
	Reason string // bad_row or duplicate
	Detail string
}

// PromptRows is what was read of a file of prompts.
type PromptRows struct {
	Rows    []stillhouse.Prompt
	Account stillhouse.Account // in: rows read; dropped: bad_row and duplicate
	Bad     []BadRow
}

// A row of a file: the values of its columns as encoding/json would have them, numbers as json.Number.
type row map[string]any

// A rowReader hands out the rows of a file one by one. At the end it returns io.EOF; a *badRow is an error of one row
// after which others can be read.
type rowReader interface {
	next() (row, error)
	place() string     // of the row that next returned last
	columns() []string // that are in the file, or were seen so far
	io.Closer
}

type badRow struct{ err error }

func (b *badRow) Error() string { return b.err.Error() }

func badf(format string, args ...any) error { return &badRow{fmt.Errorf(format, args...)} }

// ReadPrompts reads all prompts of a file. It is done before the first request is sent, so that a bad row costs nothing.
//
// A row is bad when it cannot be read, has no prompt, or has the id of an earlier row: an error that names the row, or
// a drop with the reason bad_row where on_bad_row is skip. Without a column of ids, a row with the very conversation of
// an earlier one is a drop with the reason duplicate: the teacher would be asked the same twice. If its reference is
// another, the row is bad.
func ReadPrompts(ctx context.Context, o PromptsOptions) (p PromptRows, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return PromptRows{}, err
	}
	defer func() {
		// The Parquet reader panics on some damaged files.
		if r := recover(); r != nil {
			p, err = PromptRows{}, stillhouse.Invalidf("read prompts: %s is damaged: %v", o.Path, r)
		}
	}()
	r, err := openRows(&o)
	if err != nil {
		return PromptRows{}, err
	}
	defer r.Close()
	p.Account.Dropped = map[string]int64{}
	c := collector{o: &o, seen: map[string]seen{}}
	for o.Limit == 0 || len(p.Rows) < o.Limit {
		if err := ctx.Err(); err != nil {
			return PromptRows{}, err
		}
		values, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		var prompt stillhouse.Prompt
		if err == nil {
			prompt, err = c.prompt(values, r)
		}
		p.Account.In++
		var bad *badRow
		switch {
		case err == nil:
			p.Rows = append(p.Rows, prompt)
			p.Account.Kept++
		case errors.As(err, &bad) && errors.Is(bad.err, errDuplicate):
			p.drop(r.place(), "duplicate", bad.err)
		case errors.As(err, &bad) && o.OnBadRow == OnBadRowSkip:
			p.drop(r.place(), "bad_row", bad.err)
		case errors.As(err, &bad):
			return PromptRows{}, stillhouse.Invalidf("read prompts: %s, %s: %w; mend the row, or write on_bad_row: skip to leave such rows out", o.Path, r.place(), bad.err)
		default:
			return PromptRows{}, stillhouse.Invalidf("read prompts: %s: %w", o.Path, err)
		}
	}
	if p.Account.In == 0 {
		return PromptRows{}, stillhouse.Invalidf("read prompts: %s has no rows", o.Path)
	}
	for _, name := range o.columns() {
		if !slices.Contains(r.columns(), name) {
			return PromptRows{}, missingColumn(&o, name, r.columns())
		}
	}
	if len(p.Rows) == 0 {
		return PromptRows{}, stillhouse.Invalidf("read prompts: none of the %d rows of %s can be used; the first: %s: %s", p.Account.In, o.Path, p.Bad[0].Place, p.Bad[0].Detail)
	}
	return p, nil
}

func (p *PromptRows) drop(place, reason string, err error) {
	p.Account.Dropped[reason]++
	p.Bad = append(p.Bad, BadRow{Place: place, Reason: reason, Detail: err.Error()})
}

func missingColumn(o *PromptsOptions, name string, there []string) error {
	key := "prompt"
	for k, v := range map[string]string{"reference": o.Reference, "id": o.ID, "system": o.System, "tools": o.Tools} {
		if v == name && name != o.Prompt {
			key = k
		}
	}
	if slices.Contains(o.Meta, name) && name != o.Prompt {
		key = "meta"
	}
	return stillhouse.Invalidf("read prompts: %s has no column %q (prompts.%s): the columns there are %s", o.Path, name, key, strings.Join(there, ", "))
}

// openRows opens a file by what it holds, not by its name alone.
func openRows(o *PromptsOptions) (rowReader, error) {
	f, err := os.Open(o.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, stillhouse.Invalidf("read prompts: there is no file %s: check prompts.path", o.Path)
	}
	if err != nil {
		return nil, stillhouse.Invalidf("read prompts: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory: name a file", o.Path)
	}
	if err == nil && info.Size() == 0 {
		err = fmt.Errorf("%s is empty", o.Path)
	}
	if err != nil {
		f.Close()
		return nil, stillhouse.Invalidf("read prompts: %w", err)
	}
	magic := make([]byte, 4)
	n, _ := f.ReadAt(magic, 0)
	if bytes.Equal(magic[:n], []byte("PAR1")) || strings.EqualFold(filepath.Ext(o.Path), ".parquet") {
		r, err := openParquet(f, o)
		if err != nil {
			f.Close()
		}
		return r, err
	}
	return newJSONL(f), nil
}

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
		return p, badf("there is no column %q (prompts.prompt): the columns there are %s", o.Prompt, strings.Join(r.columns(), ", "))
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
