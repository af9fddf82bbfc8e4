package distill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/options"
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

	Section string `yaml:"-" json:"-"` // the block's own key, which errors name; prompts by default
}

// What on_bad_row may be.
const (
	OnBadRowError = "error"
	OnBadRowSkip  = "skip"
)

// EnsureDefaults fills in what was left out.
func (o *PromptsOptions) EnsureDefaults() {
	if o.Section == "" {
		o.Section = "prompts"
	}
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

// Validate says which key of the block has a value that cannot be, and what would be right.
func (o *PromptsOptions) Validate() error {
	switch {
	case o.Path == "":
		return options.Wrongf("path", "is missing: name a JSONL or Parquet file")
	case o.Limit < 0:
		return options.Wrongf("limit", "is %d: it must be a positive number, or 0 for all", o.Limit)
	case o.OnBadRow != "" && o.OnBadRow != OnBadRowError && o.OnBadRow != OnBadRowSkip:
		return options.Wrongf("on_bad_row", "is %q: it must be %s or %s", o.OnBadRow, OnBadRowError, OnBadRowSkip)
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
	if err := options.Under(o.Section, o.Validate()); err != nil {
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
	return stillhouse.Invalidf("read prompts: %s has no column %q (%s.%s): the columns there are %s", o.Path, name, o.Section, key, strings.Join(there, ", "))
}

// openRows opens a file by what it holds, not by its name alone.
func openRows(o *PromptsOptions) (rowReader, error) {
	f, err := os.Open(o.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, stillhouse.Invalidf("read prompts: there is no file %s: check %s.path", o.Path, o.Section)
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
