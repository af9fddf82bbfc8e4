// Package spool sorts more records than memory holds: an external merge sort.
//
// Records gather in memory up to a bound; then they are sorted and written to a temporary file, which has no name any
// more, so that a process that is killed leaves none behind. At the end the files are read side by side.
package spool

import (
	"bufio"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"syscall"

	"stillhouse"
)

// A Key is a record's place in the order: by rank, and of one rank by At.
type Key struct {
	Rank uint64
	At   int64
}

// Compare is negative where k comes before l.
func (k Key) Compare(l Key) int { return cmp.Or(cmp.Compare(k.Rank, l.Rank), cmp.Compare(k.At, l.At)) }

// DefaultBytes is how much a sorter holds in memory by default.
const DefaultBytes = 64 << 20

// A Sorter takes records and hands them out in the order of their keys.
type Sorter struct {
	what  string
	most  int // bytes in memory
	held  []record
	bytes int
	files []*os.File
}

type record struct {
	Key
	data []byte
}

// New makes a sorter that holds so many bytes of records in memory. What it sorts is told in errors: shuffle prompts.
func New(what string, most int) *Sorter { return &Sorter{what: what, most: most} }

// Put takes a record, and data with it.
func (s *Sorter) Put(k Key, data []byte) error {
	s.held = append(s.held, record{k, data})
	if s.bytes += len(data) + 64; s.bytes < s.most {
		return nil
	}
	return s.spill()
}

// Files is how many files are on disk.
func (s *Sorter) Files() int { return len(s.files) }

func (s *Sorter) sort() {
	slices.SortFunc(s.held, func(a, b record) int { return a.Compare(b.Key) })
}

// spill writes what is held to a file.
func (s *Sorter) spill() error {
	f, err := os.CreateTemp("", "stillhouse-*")
	if err != nil {
		return s.error(err)
	}
	s.files = append(s.files, f)
	if err := os.Remove(f.Name()); err != nil {
		return s.error(err)
	}
	s.sort()
	w := bufio.NewWriterSize(f, 1<<20)
	for _, h := range s.held {
		var head [20]byte
		binary.LittleEndian.PutUint64(head[:], h.Rank)
		binary.LittleEndian.PutUint64(head[8:], uint64(h.At))
		binary.LittleEndian.PutUint32(head[16:], uint32(len(h.data)))
		_, err := w.Write(head[:])
		if err == nil {
			_, err = w.Write(h.data)
		}
		if err != nil {
			return s.error(err)
		}
	}
	clear(s.held) // the records are garbage now
	s.held, s.bytes = s.held[:0], 0
	return s.error(w.Flush())
}

func (s *Sorter) error(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return stillhouse.Invalidf("%s: the disk of %s is full (%w): free some space, or set TMPDIR to a folder with room for all of them", s.what, os.TempDir(), err)
	}
	if err != nil {
		return stillhouse.Invalidf("%s: %w: set TMPDIR to a folder that can be written", s.what, err)
	}
	return nil
}

// A run is one sorted file, or what was still held, and the record that comes next of it.
type run struct {
	next record
	more func() (record, error) // io.EOF at the end
}

// runs are a heap whose top is the run with the next record.
type runs []*run

func (r runs) Len() int           { return len(r) }
func (r runs) Less(i, j int) bool { return r[i].next.Compare(r[j].next.Key) < 0 }
func (r runs) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *runs) Push(v any)        { *r = append(*r, v.(*run)) }
func (r *runs) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// Each visits the records in the order of their keys. The data is the visitor's.
func (s *Sorter) Each(ctx context.Context, visit func(Key, []byte) error) error {
	s.sort()
	left := s.held
	all := runs{{more: func() (record, error) {
		if len(left) == 0 {
			return record{}, io.EOF
		}
		w := left[0]
		left[0] = record{}
		left = left[1:]
		return w, nil
	}}}
	s.held = nil
	for _, f := range s.files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return s.error(err)
		}
		in := bufio.NewReaderSize(f, 1<<18)
		all = append(all, &run{more: func() (record, error) { return s.read(in) }})
	}
	var open runs
	for _, r := range all {
		if err := r.advance(); err == nil {
			open = append(open, r)
		} else if !errors.Is(err, io.EOF) {
			return err
		}
	}
	heap.Init(&open)
	for len(open) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := open[0]
		if err := visit(r.next.Key, r.next.data); err != nil {
			return err
		}
		switch err := r.advance(); {
		case err == nil:
			heap.Fix(&open, 0)
		case errors.Is(err, io.EOF):
			heap.Pop(&open)
		default:
			return err
		}
	}
	return nil
}

func (r *run) advance() (err error) {
	r.next, err = r.more()
	return err
}

func (s *Sorter) read(in *bufio.Reader) (w record, err error) {
	var head [20]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return w, io.EOF
		}
		return w, s.error(err)
	}
	w.Rank, w.At = binary.LittleEndian.Uint64(head[:]), int64(binary.LittleEndian.Uint64(head[8:]))
	w.data = make([]byte, binary.LittleEndian.Uint32(head[16:]))
	_, err = io.ReadFull(in, w.data)
	return w, s.error(err)
}

// Close gives the files' room back.
func (s *Sorter) Close() (err error) {
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}
