package candidates

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"stillhouse"
	"stillhouse/internal/spool"
)

// encode writes an item for the disk.
func (r read) encode() ([]byte, error) {
	r.Tokens, r.LogProbs = packed(r.LogProbs), nil // of which some are no number
	return json.Marshal(r)
}

func decode(b []byte) (r read, err error) {
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("sort candidates: %w", err)
	}
	if len(r.Tokens) > 0 {
		r.LogProbs, r.Tokens = unpacked(r.Tokens), nil
	}
	return r, nil
}

// MostBytes is how much the rows of one prompt may hold: they are in memory together.
const MostBytes = 1 << 30

// A grouper takes items in the order of their prompts and hands them on prompt by prompt.
type grouper struct {
	o     *Options
	to    Sink
	s     Summary
	first string // the first row that is no candidate

	rank  uint64
	items []read
	bytes int
}

func (g *grouper) add(k spool.Key, b []byte) error {
	if len(g.items) > 0 && k.Rank != g.rank {
		if err := g.flush(); err != nil {
			return err
		}
	}
	it, err := decode(b)
	if err != nil {
		return err
	}
	g.rank, g.items = k.Rank, append(g.items, it)
	if g.bytes += len(b); g.bytes > MostBytes {
		return stillhouse.Invalidf("read candidates: %s: the rows of one prompt hold more than %d MiB, which are in memory together: are they all of one prompt?", it.Place, MostBytes>>20)
	}
	return nil
}

// flush hands on what there is of a prompt.
func (g *grouper) flush() error {
	items, err := g.settle(g.items)
	g.items, g.bytes = nil, 0
	if err != nil || len(items) == 0 {
		return err
	}
	kept := 0
	for i := range items {
		it := &items[i]
		g.s.Account.In++
		switch {
		case it.Reason == BadRow:
			g.s.Account.Dropped = plus(g.s.Account.Dropped, it.Reason)
		case it.Reason != "":
			g.s.Account.Failed = plus(g.s.Account.Failed, it.Reason)
		default:
			kept++
			if it.Reference == nil {
				g.s.Unreferenced++
			}
			g.s.Longest = max(g.s.Longest, it.CompletionTokens)
			if it.CompletionTokens == 0 && it.Text() != "" {
				g.s.Uncounted++
			}
		}
		if it.Reason != "" && g.first == "" {
			g.first = fmt.Sprintf("%s: %s: %s", it.Place, it.Reason, it.Detail)
		}
	}
	g.s.Account.Kept += int64(kept)
	g.s.Samples = max(g.s.Samples, kept)
	if kept > 0 {
		g.s.Prompts++
	}
	if g.to == nil {
		return nil
	}
	return g.to(items)
}

func plus(counts map[string]int64, reason string) map[string]int64 {
	if counts == nil {
		counts = map[string]int64{}
	}
	counts[reason]++
	return counts
}

// settle makes the items of one prompt what they are in the end: with its prompt, its id and their numbers, in their order.
func (g *grouper) settle(in []read) ([]Item, error) {
	var bad []Item
	var prompt *read
	requests, answered := 0, 0
	items := in[:0:0]
	for i := range in {
		it := &in[i]
		switch {
		case it.Reason == BadRow:
			bad = append(bad, it.Item)
			continue
		case prompt == nil && !it.Bare:
			prompt = it
		case prompt != nil && !it.Bare && it.Hash != prompt.Hash:
			detail := fmt.Sprintf("the id %q is that of %s too, whose prompt is another: ids must differ", it.ID, prompt.Place)
			if g.o.OnBadRow == OnBadRowError {
				return nil, stillhouse.Invalidf("read candidates: %s: %s; mend the row, name another column as candidates.columns.id, or write on_bad_row: skip to leave such rows out", it.Place, detail)
			}
			bad = append(bad, Item{Reason: BadRow, Detail: detail, Place: it.Place})
			continue
		}
		if it.Request {
			requests++
			continue
		}
		if it.Begins {
			answered++
		}
		items = append(items, *it)
	}
	if prompt == nil {
		return append(noPrompts(items), bad...), nil
	}
	for i := range items {
		items[i].belong(prompt)
	}
	for n := answered; n < requests; n++ {
		lost := *prompt
		lost.belong(prompt)
		items = append(items, lost.unplaced().fail(NoResponse, "the request has no answer"))
	}
	number(items)
	out := make([]Item, 0, len(items)+len(bad))
	for _, it := range items {
		out = append(out, it.Item)
	}
	return append(out, bad...), nil
}

// noPrompts are answers to something that is not there, one a row.
func noPrompts(items []read) (out []Item) {
	for _, it := range items {
		if it.Begins {
			out = append(out, it.unplaced().fail(NoPrompt, fmt.Sprintf("no request has the id %q", it.ID)).Item)
		}
	}
	return out
}

// belong gives an item the id of its prompt, and the prompt where that stands elsewhere.
func (r *read) belong(p *read) {
	if r.Bare {
		reference := r.Reference
		r.Prompt, r.Hash = p.Prompt, p.Hash
		if reference != nil {
			r.Reference = reference
		}
	}
	if r.ID == "" && len(r.Prompt.Prompt) > 0 {
		r.ID = hex.EncodeToString(r.Hash[:])
	}
}

// number gives the answers their numbers: those of the source, as far as no earlier answer has them; else, and where the
// source has none, the lowest that is free. It puts them in that order; what has no number comes last.
func number(items []read) {
	taken := map[int32]bool{}
	var waiting []*read
	seen := map[int32]int32{} // pairs of one prompt follow each other
	for i := range items {
		it := &items[i]
		if it.Pair {
			seen[it.Sample]++
			it.Sample += 2 * (seen[it.Sample] - 1)
		}
	}
	for i := range items {
		it := &items[i]
		switch {
		case it.Sample == Unknown:
		case it.Counted || taken[it.Sample]:
			waiting = append(waiting, it)
		default:
			taken[it.Sample] = true
		}
	}
	next := int32(0)
	for _, it := range waiting {
		for taken[next] {
			next++
		}
		it.Sample = next
		taken[next] = true
	}
	slices.SortStableFunc(items, func(a, b read) int { return cmp.Compare(uint32(a.Sample), uint32(b.Sample)) })
}
