package prompts

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/rowfile"
	"stillhouse/internal/spool"
)

// A BadRow is a row that was left out.
type BadRow struct {
	Place  string // such as "line 7", of several files "b.jsonl line 7"
	Reason string // bad_row or duplicate; those of a grown prompt are told in package grow
	Detail string
	Text   string // the prompt, where there is one
}

// A Sink takes what is read, in its order. A nil function takes nothing.
type Sink struct {
	Prompt func(stillhouse.Prompt) error
	Bad    func(BadRow) error
}

// A Summary says what became of the rows.
type Summary struct {
	Account  stillhouse.Account // in: rows read and drawn; dropped: bad_row and duplicate
	NotDrawn int64              // prompts that sample left out, which are in no account
}

// Scan reads prompts one by one. It holds 32 bytes a row, for finding duplicates, and as much again for each prompt of a
// sample; the prompts themselves wait on disk where they are put in order (in the folder for temporary files).
//
// A row is bad when it cannot be read, has no prompt, its template cannot be rendered, or it has the id of an earlier row:
// an error that names the row, or a drop with the reason bad_row where on_bad_row is skip. Without a column of ids, a row
// with the very conversation of an earlier one is a drop with the reason duplicate: the teacher would be asked the same
// twice. If its reference is another, the row is bad.
func Scan(ctx context.Context, o Options, to Sink) (s Summary, err error) {
	o.EnsureDefaults()
	if err := options.Under(o.Section, o.Validate()); err != nil {
		return s, err
	}
	m, err := newMaker(&o.Rows)
	if err != nil {
		return s, options.Under(o.Section, options.Under("template", err))
	}
	r := &reader{maker: m, limit: o.Limit}
	if r.files, err = filesOf(ctx, o.Path, o.Progress); err != nil {
		return s, fmt.Errorf("read prompts: %s.path: %w", o.Section, err)
	}
	examples, err := readExamples(ctx, m, r.files)
	if err != nil {
		return s, err
	}
	ordered := &order{seed: o.Seed, to: to.Prompt, examples: o.FewShot != nil}
	if o.Shuffle {
		ordered.spool = spool.New("shuffle prompts", spool.DefaultBytes)
		defer func() { err = errors.Join(err, ordered.spool.Close()) }()
	}
	if o.Sample > 0 {
		if ordered.last, err = r.cutoff(ctx, o.Sample, o.Seed); err != nil {
			return s, err
		}
	}
	r.bad = to.Bad
	s.Account, err = r.read(ctx, func(p made) error {
		drawn, err := ordered.drawn(p)
		if err != nil || !drawn {
			s.NotDrawn++
			return err
		}
		if err := examples.before(&p); err != nil {
			return err
		}
		return ordered.put(p)
	})
	if err != nil {
		return s, err
	}
	s.Account.In -= s.NotDrawn
	s.Account.Kept -= s.NotDrawn
	return s, ordered.flush(ctx)
}

// PromptRows is what was read.
type PromptRows struct {
	Rows []stillhouse.Prompt
	Summary
	Bad []BadRow
}

// Read is [Scan] into memory.
func Read(ctx context.Context, o Options) (p PromptRows, err error) {
	p.Summary, err = Scan(ctx, o, Sink{
		Prompt: func(row stillhouse.Prompt) error { p.Rows = append(p.Rows, row); return nil },
		Bad:    func(b BadRow) error { p.Bad = append(p.Bad, b); return nil },
	})
	if err != nil {
		return PromptRows{}, err
	}
	return p, nil
}

// A reader goes over the rows of files, as often as it is asked to.
type reader struct {
	*maker
	files    []file
	limit    int
	examples bool // the rows are few-shot examples
	bad      func(BadRow) error
}

// seen is where a prompt was seen first.
type seen struct {
	file, row int32
	reference [8]byte // of the hash
}

var errDuplicate = errors.New("the same prompt")

// read makes the prompt of every row and visits those that are there for the first time.
func (r *reader) read(ctx context.Context, visit func(made) error) (a stillhouse.Account, err error) {
	a.Dropped = map[string]int64{}
	known := map[identity]seen{}
	var columns []string // of all files that were read whole
	first := ""
	for i := range r.files {
		if r.limit > 0 && a.Kept >= int64(r.limit) {
			break
		}
		there, err := r.readFile(ctx, i, known, &a, &first, visit)
		if err != nil {
			return a, err
		}
		for _, name := range there {
			if !slices.Contains(columns, name) {
				columns = append(columns, name)
			}
		}
	}
	if err := r.missing(r.name(), columns, r.examples); err != nil {
		return a, err
	}
	if a.Kept == 0 {
		return a, stillhouse.Invalidf("read prompts: none of the %d rows of %s can be used; the first: %s", a.In, r.name(), first)
	}
	return a, nil
}

// name is what errors call the files.
func (r *reader) name() string {
	names := make([]string, len(r.files))
	for i, f := range r.files {
		names[i] = f.Name
	}
	return rowfile.Some(names)
}

func (r *reader) readFile(ctx context.Context, at int, known map[identity]seen, a *stillhouse.Account, first *string, visit func(made) error) ([]string, error) {
	from := &r.files[at]
	path, err := from.Fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("read prompts: %s.path: %w", r.o.Section, err)
	}
	f, err := rowfile.Open(path, r.toRead(r.examples)...)
	if err != nil {
		return nil, fmt.Errorf("read prompts: %s.path: %w", r.o.Section, err)
	}
	defer f.Close()
	from.word = f.Word()
	if there, all := f.Columns(); all {
		if err := r.missing(from.Name, there, r.examples); err != nil {
			return nil, err
		}
	}
	for r.limit == 0 || a.Kept < int64(r.limit) {
		row, err := f.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		var p made
		if err == nil {
			if p, err = r.make(row, f, from, r.examples); err == nil {
				err = r.know(&p, at, known)
			}
		}
		a.In++
		var bad *rowfile.BadRow
		switch {
		case err == nil:
			a.Kept++
			if err := visit(p); err != nil {
				return nil, err
			}
			continue
		case errors.As(err, &bad) && errors.Is(bad.Err, errDuplicate):
			err = r.drop(a, first, BadRow{Place: r.place(at, f), Reason: "duplicate", Detail: bad.Err.Error()})
		case errors.As(err, &bad) && (r.o.OnBadRow == OnBadRowSkip || r.examples && errors.Is(bad.Err, errNoAnswer)):
			err = r.drop(a, first, BadRow{Place: r.place(at, f), Reason: "bad_row", Detail: bad.Err.Error()})
		case errors.As(err, &bad):
			return nil, stillhouse.Invalidf("read prompts: %s, %s: %w; mend the row, or write on_bad_row: skip to leave such rows out", from.Name, f.Place(), bad.Err)
		default:
			return nil, fmt.Errorf("read prompts: %w", err)
		}
		if err != nil {
			return nil, err
		}
	}
	there, _ := f.Columns()
	return there, nil
}

// place is where the row that f handed out last stands.
func (r *reader) place(at int, f *rowfile.File) string {
	if len(r.files) == 1 {
		return f.Place()
	}
	return r.files[at].Source + " " + f.Place()
}

func (r *reader) drop(a *stillhouse.Account, first *string, b BadRow) error {
	a.Dropped[b.Reason]++
	if *first == "" {
		*first = b.Place + ": " + b.Detail
	}
	if r.bad == nil {
		return nil
	}
	return r.bad(b)
}

// know remembers a prompt and finds those that were there before.
func (r *reader) know(p *made, at int, known map[identity]seen) error {
	key := p.content
	var err error
	if p.ID != "" {
		if key, err = identityOf(p.ID); err != nil {
			return err
		}
	}
	now := seen{file: int32(at), row: int32(p.row)}
	if p.Reference != nil {
		hash := sha256.Sum256([]byte(*p.Reference))
		now.reference = [8]byte(hash[:8])
	}
	before, ok := known[key]
	if !ok {
		known[key] = now
		return nil
	}
	place := fmt.Sprintf("%s %d", r.files[before.file].word, before.row)
	if len(r.files) > 1 {
		place = r.files[before.file].Source + " " + place
	}
	switch {
	case p.ID != "":
		return rowfile.BadRowf("the id %q is that of %s too: ids must differ", p.ID, place)
	case before.reference != now.reference:
		return rowfile.BadRowf("the prompt is that of %s with another reference", place)
	}
	return rowfile.BadRowf("%w as %s", errDuplicate, place)
}
