package candidates

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// A shape is one way in which candidates are written.
type shape struct {
	format string // as candidates.format names it
	title  string // as it is printed
	needs  string // its columns, for people

	// own says that the columns are the shape's alone, so that those of the common shapes do not count beside them.
	own     bool
	is      func(*head) bool
	request bool // the rows are prompts alone, whose answers have files of their own

	read func(*row) ([]read, error)
}

// shapes are all that are known.
var shapes = []*shape{stillhouseShape,
	batchInput, batchOutput, curatorRequests, curatorResponses, datatrove, distilabelGroups, distilabelGenerations, nemoSkills,
	messagesShape, promptCompletion, alpaca, sharegpt, preference, openRLHF}

// A head is what the first rows of a file have.
type head struct {
	bad     string // where the first row is that cannot be read, and why
	columns []string
	first   map[string]any // the first value of each column that is not null
}

func (h *head) has(names ...string) bool {
	for _, n := range names {
		if !slices.Contains(h.columns, n) {
			return false
		}
	}
	return true
}

// any says whether one of the columns is there.
func (h *head) any(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(h.columns, n) })
}

func (h *head) list(name string) bool { _, ok := h.first[name].([]any); return ok }

// headRows is how many rows the shape of a file is told by.
const headRows = 16

// readHead looks at the first rows of a file that can be read.
func readHead(ctx context.Context, path string) (*head, error) {
	f, err := rowfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := &head{first: map[string]any{}}
	for n := 0; n < headRows; {
		r, err := f.Next(ctx)
		var bad *rowfile.BadRow
		if errors.As(err, &bad) {
			h.bad = cmp.Or(h.bad, f.Place()+": "+bad.Error())
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		n++
		for name, raw := range r {
			if h.first[name] != nil {
				continue
			}
			var v any
			if rowfile.Decode(raw, &v) == nil {
				h.first[name] = v
			}
		}
	}
	h.columns, _ = f.Columns()
	return h, nil
}

// formats are the names that candidates.format may have, beside auto.
func formats() (names []string) {
	for _, s := range shapes {
		if !slices.Contains(names, s.format) {
			names = append(names, s.format)
		}
	}
	slices.Sort(names)
	return names
}

// detect finds the shape of a file.
func (o *Options) detect(h *head, name string) (*shape, error) {
	if o.Columns.mapped() {
		return mappedShape(&o.Columns), nil
	}
	var fit []*shape
	for _, own := range []bool{true, false} {
		for _, s := range shapes {
			if s.own == own && s.is(h) && (o.Format == Auto || o.Format == s.format) {
				fit = append(fit, s)
			}
		}
		if len(fit) > 0 {
			break
		}
	}
	if len(fit) == 1 {
		return fit[0], nil
	}
	there := rowfile.Some(h.columns)
	if len(fit) > 1 {
		return nil, stillhouse.Invalidf("%s can be read in more than one way, as %s: the columns there are %s; write candidates.format: %s, or name the columns in candidates.columns",
			name, titles(fit), there, fit[0].format)
	}
	if len(h.columns) == 0 && h.bad != "" {
		return nil, stillhouse.Invalidf("%s has no row that can be read; the first: %s: mend the rows or take them out", name, h.bad)
	}
	var known []string
	for _, s := range shapes {
		if o.Format == Auto || o.Format == s.format {
			known = append(known, s.format+" ("+s.needs+")")
		}
	}
	if o.Format != Auto {
		return nil, stillhouse.Invalidf("%s is not of the shape that candidates.format says, %s: the columns there are %s; write format: auto, or name the columns in candidates.columns", name, strings.Join(known, ", "), there)
	}
	return nil, stillhouse.Invalidf("%s has none of the shapes that are known: the columns there are %s; known are %s; name the columns in candidates.columns, as {prompt: …, completion: …}", name, there, strings.Join(known, ", "))
}

func titles(list []*shape) string {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.format + " (" + s.needs + ")"
	}
	return strings.Join(names, " and as ")
}
