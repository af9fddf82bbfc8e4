package prompts

import (
	"container/heap"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"

	"stillhouse"
	"stillhouse/internal/spool"
)

// A mark is where a prompt stands in the order that a seed gives: by its rank, and where two prompts have the same
// conversation, by their order in the files.
type mark struct {
	rank uint64
	at   int64
}

func (m mark) after(n mark) bool { return m.rank > n.rank || m.rank == n.rank && m.at > n.at }

// marks are a heap whose top is the last mark.
type marks []mark

func (m marks) Len() int           { return len(m) }
func (m marks) Less(i, j int) bool { return m[i].after(m[j]) }
func (m marks) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }
func (m *marks) Push(v any)        { *m = append(*m, v.(mark)) }
func (m *marks) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}

// cutoff finds the last mark of a sample: the n prompts whose ranks are lowest are it. Since a rank follows from the seed
// and the conversation alone, a prompt stays in or out of a sample when others are added, until lower ones push it out.
func (r *reader) cutoff(ctx context.Context, n int, seed int64) (mark, error) {
	var lowest marks
	at := int64(0)
	_, err := r.read(ctx, func(p made) error {
		m := mark{p.content.rank(seed), at}
		at++
		switch {
		case len(lowest) < n:
			heap.Push(&lowest, m)
		case lowest[0].after(m):
			lowest[0] = m
			heap.Fix(&lowest, 0)
		}
		return nil
	})
	if err != nil || len(lowest) < n {
		return mark{math.MaxUint64, math.MaxInt64}, err
	}
	return lowest[0], nil
}

// An order hands prompts on, those that were drawn, as they come or in the order of their marks.
type order struct {
	seed  int64
	last  mark          // of the sample; the zero mark where all are taken
	spool *spool.Sorter // nil where prompts come in the order of the files
	to    func(stillhouse.Prompt) error

	examples bool // prompts have examples before them

	at   int64
	mark mark // of the prompt asked about last
}

// drawn says whether a prompt is in the sample. It is asked about every prompt, in the order of the files.
func (o *order) drawn(p made) (bool, error) {
	o.mark = mark{p.content.rank(o.seed), o.at}
	o.at++
	return o.last == (mark{}) || !o.mark.after(o.last), nil
}

// put takes the prompt that was asked about last.
func (o *order) put(p made) error {
	if p.ID == "" {
		id := p.content
		if o.examples { // which are before the prompt now
			var err error
			if id, err = identityOf(p.Identity()); err != nil {
				return fmt.Errorf("%s: %w", p.file.Name, err)
			}
		}
		p.ID = hex.EncodeToString(id[:])
	}
	if o.to == nil {
		return nil
	}
	if o.spool != nil {
		b, err := json.Marshal(p.Prompt)
		if err != nil {
			return fmt.Errorf("shuffle prompts: %w", err)
		}
		return o.spool.Put(spool.Key{Rank: o.mark.rank, At: o.mark.at}, b)
	}
	return o.to(p.Prompt)
}

// flush hands on what waited for its place.
func (o *order) flush(ctx context.Context) error {
	if o.spool == nil || o.to == nil {
		return nil
	}
	return o.spool.Each(ctx, func(_ spool.Key, b []byte) error {
		var p stillhouse.Prompt
		if err := json.Unmarshal(b, &p); err != nil {
			return fmt.Errorf("shuffle prompts: %w", err)
		}
		return o.to(p)
	})
}
