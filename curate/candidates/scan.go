package candidates

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/rowfile"
	"stillhouse/internal/spool"
)

// A Summary says what was read.
type Summary struct {
	Account      stillhouse.Account // in: what could be a candidate; failed: by what it lacks; dropped: bad_row
	Prompts      int64              // that have a candidate
	Samples      int                // the most candidates that a prompt has
	Longest      int32              // the most completion tokens that a candidate has, as far as they are known
	Unreferenced int64              // candidates without a right answer
	Uncounted    int64              // candidates whose completion tokens are not known
	Formats      []string           // what the files were read as, in words
}

// String is the summary in words: distilabel generations (12 prompts, 36 candidates).
func (s Summary) String() string {
	out := fmt.Sprintf("%s (%d prompts, %d candidates", strings.Join(s.Formats, " and "), s.Prompts, s.Account.Kept)
	for _, part := range []struct {
		counts map[string]int64
		what   string
	}{{s.Account.Failed, "rows that are none"}, {s.Account.Dropped, "rows left out"}} {
		var n int64
		for _, v := range part.counts {
			n += v
		}
		if n > 0 {
			out += fmt.Sprintf(", %d %s", n, part.what)
		}
	}
	return out + ")"
}

// file is a file of candidates.
type file struct {
	rowfile.Named
	base  string // its name without folder and endings
	path  string // where it is on this machine
	shape *shape
}

// A Sink takes the items of one prompt at a time, in order; it may keep them. A nil sink takes nothing.
type Sink func(items []Item) error

// memory is how much waits in memory for its place before it goes to disk, in bytes.
var memory = spool.DefaultBytes

// Scan reads all candidates and hands them on, prompt by prompt. It reads the files once, once more those of Bespoke Curator
// whose requests are not among them, and holds 40 bytes a prompt.
//
// A row that cannot be read, has no column of its file's shape, or has the id of another prompt, is an error that names it,
// or left out with the reason bad_row where on_bad_row is skip.
func Scan(ctx context.Context, o Options, to Sink) (s Summary, err error) {
	o.EnsureDefaults()
	if err := options.Under("candidates", o.Validate()); err != nil {
		return s, err
	}
	r := &scanner{o: &o, places: map[identity]int{}, sorter: spool.New("sort candidates", memory)}
	defer func() { err = errors.Join(err, r.sorter.Close()) }()
	if err := r.open(ctx); err != nil {
		return s, err
	}
	if err := r.order(ctx); err != nil {
		return s, err
	}
	for i := range r.files {
		if err := r.read(ctx, &r.files[i], r.put); err != nil {
			return s, err
		}
	}
	g := &grouper{o: &o, to: to}
	if err := r.sorter.Each(ctx, g.add); err != nil {
		return s, err
	}
	if err := g.flush(); err != nil {
		return s, err
	}
	s = g.s
	for _, f := range r.files {
		if t := f.shape.title; !slices.Contains(s.Formats, t) {
			s.Formats = append(s.Formats, t)
		}
	}
	if s.Account.Kept == 0 {
		return s, stillhouse.Invalidf("read candidates: none of the %d rows of %s is a candidate; the first: %s", s.Account.In, r.name(), g.first)
	}
	return s, nil
}

// An identity is a hash of what a prompt is.
type identity [16]byte

func (i identity) MarshalText() ([]byte, error)     { return []byte(hex.EncodeToString(i[:])), nil }
func (i *identity) UnmarshalText(text []byte) error { _, err := hex.Decode(i[:], text); return err }

func identityOf(v any) (identity, error) {
	b, err := rowfile.Encode(v)
	if err != nil {
		return identity{}, rowfile.BadRowf("%w", err)
	}
	sum := sha256.Sum256(b)
	return identity(sum[:16]), nil
}

// A scanner reads rows and lays the items in them down under the places of their prompts.
type scanner struct {
	o      *Options
	files  []file
	places map[identity]int // of prompts, in the order of their first rows
	at     int64            // items so far
	sorter *spool.Sorter
}

// name is what errors call the files.
func (r *scanner) name() string {
	names := make([]string, len(r.files))
	for i, f := range r.files {
		names[i] = f.Name
	}
	return rowfile.Some(names)
}

// open finds the files and their shapes. Requests come first.
func (r *scanner) open(ctx context.Context) error {
	paths, err := expand(r.o.Path)
	if err != nil {
		return fmt.Errorf("read candidates: candidates.path: %w", err)
	}
	inputs := 0
	seen := map[string]bool{}
	for _, block := range []struct {
		key   string
		paths rowfile.Paths
	}{{"batch_input", r.o.BatchInput}, {"path", paths}} {
		named, err := block.paths.Files(ctx, r.o.Progress)
		if err != nil {
			return fmt.Errorf("read candidates: candidates.%s: %w", block.key, err)
		}
		for _, n := range named {
			if seen[n.Name] {
				continue
			}
			seen[n.Name] = true
			f := file{Named: n, base: filepath.Base(n.Name)}
			if f.path, err = n.Fetch(ctx); err != nil {
				return fmt.Errorf("read candidates: candidates.%s: %w", block.key, err)
			}
			h, err := readHead(ctx, f.path)
			if err != nil {
				return fmt.Errorf("read candidates: candidates.%s: %w", block.key, err)
			}
			if f.shape = batchInput; block.key == "path" {
				f.shape, err = r.o.detect(h, n.Name)
			} else if !batchInput.is(h) {
				err = stillhouse.Invalidf("%s is no input file of the Batch API: the columns there are %s, and it must have custom_id and body", n.Name, rowfile.Some(h.columns))
			}
			if err != nil {
				return fmt.Errorf("read candidates: candidates.%s: %w", block.key, err)
			}
			if f.shape.request {
				inputs++
			}
			r.files = append(r.files, f)
		}
	}
	isOutput := func(f file) bool { return f.shape == batchOutput }
	isInput := func(f file) bool { return f.shape == batchInput }
	switch {
	case slices.ContainsFunc(r.files, isOutput) && !slices.ContainsFunc(r.files, isInput):
		return options.Wrongf("candidates.batch_input", "is missing: %s is output of the Batch API, which holds no prompts: name the input file that was sent", r.name())
	case inputs == len(r.files):
		return stillhouse.Invalidf("read candidates: candidates.path: %s holds requests only: name the files with the answers too", r.name())
	}
	slices.SortStableFunc(r.files, func(a, b file) int { return cmp.Compare(rank(a), rank(b)) })
	return nil
}

func rank(f file) int {
	if f.shape.request {
		return 0
	}
	return 1
}

// expand puts the shards of a run, or of one of its folders, in the place of the folder.
func expand(paths rowfile.Paths) (out rowfile.Paths, err error) {
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil || !info.IsDir() {
			out = append(out, p)
			continue
		}
		found, err := shards(filepath.Join(p, "candidates"))
		if err == nil && len(found) == 0 {
			found, err = shards(p)
		}
		if err != nil {
			return nil, stillhouse.Invalidf("%w: name a folder that can be read", err)
		}
		if len(found) == 0 {
			return nil, stillhouse.Invalidf("%s is a folder without candidates of a run (candidates/part-*.parquet): name files, as %s", p, filepath.Join(p, "*.jsonl"))
		}
		out = append(out, found...)
	}
	return out, nil
}

func shards(dir string) (out []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "part-") && strings.HasSuffix(e.Name(), ".parquet") {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, err
}

// order gives the prompts of Bespoke Curator's responses their places by the rows of the dataset, where the requests, which
// say the same, are not there.
func (r *scanner) order(ctx context.Context) error {
	for _, f := range r.files {
		if f.shape == curatorRequests {
			return nil
		}
	}
	type place struct {
		prompt identity
		row    int64
	}
	first := map[identity]int64{}
	for i := range r.files {
		if r.files[i].shape != curatorResponses {
			continue
		}
		err := r.read(ctx, &r.files[i], func(it read) error {
			row := int64(math.MaxInt64) // rows that do not say come after those that do
			if it.row != nil {
				row = *it.row
			}
			if was, ok := first[it.Hash]; it.Reason != BadRow && (!ok || row < was) {
				first[it.Hash] = row
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	var all []place
	for id, row := range first {
		if row < math.MaxInt64 {
			all = append(all, place{id, row})
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.row, b.row), slices.Compare(a.prompt[:], b.prompt[:]))
	})
	if r.o.Limit > 0 {
		all = all[:min(r.o.Limit, len(all))]
	}
	for i, p := range all {
		r.places[p.prompt] = i
	}
	return nil
}

// read reads a file and hands on what is in its rows.
func (r *scanner) read(ctx context.Context, from *file, to func(read) error) error {
	f, err := rowfile.Open(from.path)
	if err != nil {
		return fmt.Errorf("read candidates: %w", err)
	}
	defer f.Close()
	for {
		raw, err := f.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var items []read
		if err == nil {
			items, err = r.items(&row{raw: raw, values: map[string]any{}, file: from, place: from.Source + " " + f.Place()})
		}
		var bad *rowfile.BadRow
		switch {
		case err == nil:
		case errors.As(err, &bad) && r.o.OnBadRow == OnBadRowSkip:
			items = []read{{Item: Item{Reason: BadRow, Detail: bad.Error(), Place: from.Source + " " + f.Place()}}}
		case errors.As(err, &bad):
			return stillhouse.Invalidf("read candidates: %s, %s: %w; mend the row, or write on_bad_row: skip to leave such rows out", from.Name, f.Place(), bad.Err)
		default:
			return fmt.Errorf("read candidates: %w", err)
		}
		for _, it := range items {
			if err := to(it); err != nil {
				return err
			}
		}
	}
}

// items makes what is in a row, with what the config says of its columns, and its prompt's identity.
func (r *scanner) items(from *row) ([]read, error) {
	items, err := from.file.shape.read(from)
	if err == nil {
		err = from.err
	}
	if err != nil {
		return nil, err
	}
	for i := range items {
		it := &items[i]
		it.Place = from.place
		if err := r.override(it, from, i); err != nil {
			return nil, err
		}
		if r.o.Source != "" {
			it.Source = r.o.Source
		} else if it.Source == "" {
			it.Source = from.file.Source
		}
		it.Named = it.ID != ""
		if !it.Bare {
			if it.Hash, err = identityOf(it.Identity()); err != nil {
				return nil, err
			}
		}
	}
	return items, nil
}

// put lays an item down under the place of its prompt.
func (r *scanner) put(it read) error {
	rank := len(r.places) // a row that cannot be read stands behind the prompts before it
	if it.Reason != BadRow {
		key := it.Hash
		if it.Named && (it.Bare || it.ID != hex.EncodeToString(it.Hash[:])) { // else it has the id that it would have without a name
			sum := sha256.Sum256([]byte("id " + it.ID))
			key = identity(sum[:16])
		}
		at, known := r.places[key]
		if !known {
			if r.o.Limit > 0 && len(r.places) >= r.o.Limit {
				return nil
			}
			at = len(r.places)
			r.places[key] = at
		}
		rank = at
	} else if r.o.Limit > 0 && rank >= r.o.Limit {
		return nil
	}
	b, err := it.encode()
	if err != nil {
		return err
	}
	r.at++
	return r.sorter.Put(spool.Key{Rank: uint64(rank), At: r.at}, b)
}
