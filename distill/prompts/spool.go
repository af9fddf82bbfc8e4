package prompts

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"stillhouse"
)

// A spool sorts more prompts than memory holds: an external merge sort. Prompts gather in memory up to a bound; then they
// are sorted and written to a temporary file, which has no name any more, so that a process that is killed leaves none
// behind. At the end the files are read side by side.
type spool struct {
	most  int // bytes in memory
	held  []waiting
	bytes int
	files []*os.File
}

// A waiting prompt is one in its encoded form.
type waiting struct {
	mark
	prompt []byte
}

func newSpool() *spool { return &spool{most: 64 << 20} }

func (s *spool) put(m mark, p stillhouse.Prompt) error {
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("shuffle prompts: %w", err)
	}
	s.held = append(s.held, waiting{m, b})
	if s.bytes += len(b) + 64; s.bytes < s.most {
		return nil
	}
	return s.spill()
}

func (s *spool) sort() {
	slices.SortFunc(s.held, func(a, b waiting) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.at, b.at)) })
}

// spill writes what is held to a file.
func (s *spool) spill() error {
	f, err := os.CreateTemp("", "stillhouse-prompts-*")
	if err != nil {
		return spoolError(err)
	}
	s.files = append(s.files, f)
	if err := os.Remove(f.Name()); err != nil {
		return spoolError(err)
	}
	s.sort()
	w := bufio.NewWriterSize(f, 1<<20)
	for _, h := range s.held {
		var head [20]byte
		binary.LittleEndian.PutUint64(head[:], h.rank)
		binary.LittleEndian.PutUint64(head[8:], uint64(h.at))
		binary.LittleEndian.PutUint32(head[16:], uint32(len(h.prompt)))
		if _, err := w.Write(append(head[:], h.prompt...)); err != nil {
			return spoolError(err)
		}
	}
	s.held, s.bytes = s.held[:0], 0
	return spoolError(w.Flush())
}

func spoolError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return stillhouse.Invalidf("shuffle prompts: the disk of %s is full (%w): free some space, or set TMPDIR to a folder with room for all prompts", os.TempDir(), err)
	}
	if err != nil {
		return stillhouse.Invalidf("shuffle prompts: %w: set TMPDIR to a folder that can be written", err)
	}
	return nil
}

// A run is one sorted file, or what was still held, and the prompt that comes next of it.
type run struct {
	next waiting
	more func() (waiting, error) // io.EOF at the end
}

// runs are a heap whose top is the run with the next prompt.
type runs []*run

func (r runs) Len() int           { return len(r) }
func (r runs) Less(i, j int) bool { return r[j].next.after(r[i].next.mark) }
func (r runs) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *runs) Push(v any)        { *r = append(*r, v.(*run)) }
func (r *runs) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// each visits the prompts in the order of their marks.
func (s *spool) each(ctx context.Context, visit func(stillhouse.Prompt) error) error {
	s.sort()
	left := s.held
	all := runs{{more: func() (waiting, error) {
		if len(left) == 0 {
			return waiting{}, io.EOF
		}
		w := left[0]
		left = left[1:]
		return w, nil
	}}}
	for _, f := range s.files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return spoolError(err)
		}
		in := bufio.NewReaderSize(f, 1<<18)
		all = append(all, &run{more: func() (waiting, error) { return readWaiting(in) }})
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
		var p stillhouse.Prompt
		if err := json.NewDecoder(bytes.NewReader(r.next.prompt)).Decode(&p); err != nil {
			return fmt.Errorf("shuffle prompts: %w", err)
		}
		if err := visit(p); err != nil {
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

func readWaiting(in *bufio.Reader) (w waiting, err error) {
	var head [20]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return w, io.EOF
		}
		return w, spoolError(err)
	}
	w.rank, w.at = binary.LittleEndian.Uint64(head[:]), int64(binary.LittleEndian.Uint64(head[8:]))
	w.prompt = make([]byte, binary.LittleEndian.Uint32(head[16:]))
	_, err = io.ReadFull(in, w.prompt)
	return w, spoolError(err)
}

// close gives the files' room back.
func (s *spool) close() (err error) {
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}
