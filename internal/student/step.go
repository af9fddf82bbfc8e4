package student

import (
	"stillhouse"
	"stillhouse/internal/kernel"
)

// A step is what the ops of a graph know of the micro-batch at hand, and what its loss op found.
type step struct {
	tokens    []int32
	positions []int32 // of each token in its row
	lengths   []int
	targets   []int32 // tokens at whose place a label is predicted
	labels    []int32 // of each target
	owners    []int32 // the row of each target
	gradients bool    // the backward pass will follow
	fresh     bool    // the gradients are zero: products overwrite what their memory holds
	scale     float32 // of the gradients
	seed      uint64  // of dropout
	stats     Stats
	byRow     []Stats // of each row
}

func (s *step) rows() int { return len(s.tokens) }

// beta is what a product multiplies a gradient by before it adds to it. The op's weight must be in shared.overwritten.
func (s *step) beta() float32 {
	if s.fresh {
		return 0
	}
	return 1
}

// read takes over a micro-batch after having checked it against the model and the graph's capacity.
func (s *step) read(b Batch, c Config, capacity int) error {
	if len(b.Labels) != len(b.Tokens) && b.Labels != nil {
		return stillhouse.Invalidf("batch: %d labels for %d tokens: there is one label, or Ignored, for each token", len(b.Labels), len(b.Tokens))
	}
	if len(b.Tokens) > capacity {
		return stillhouse.Invalidf("batch: %d tokens, the graph is made for at most %d: make it larger or split the batch", len(b.Tokens), capacity)
	}
	total := 0
	for i, n := range b.Lengths {
		if n < 0 || n > len(b.Tokens)-total {
			return stillhouse.Invalidf("batch: row %d has length %d, but only %d tokens are left for it", i, n, len(b.Tokens)-total)
		}
		total += n
	}
	if total != len(b.Tokens) {
		return stillhouse.Invalidf("batch: the lengths add up to %d, but there are %d tokens", total, len(b.Tokens))
	}
	for i, t := range b.Tokens {
		if t < 0 || int(t) >= c.VocabSize {
			return stillhouse.Invalidf("batch: token %d at place %d is not in the vocabulary of %d", t, i, c.VocabSize)
		}
	}
	for i, l := range b.Labels {
		if l != Ignored && (l < 0 || int(l) >= c.VocabSize) {
			return stillhouse.Invalidf("batch: label %d at place %d is neither Ignored nor in the vocabulary of %d", l, i, c.VocabSize)
		}
	}
	s.tokens, s.lengths = b.Tokens, b.Lengths
	s.positions, s.targets, s.labels, s.owners = s.positions[:0], s.targets[:0], s.labels[:0], s.owners[:0]
	s.byRow = make([]Stats, len(b.Lengths))
	start := 0
	for row, n := range b.Lengths {
		for p := range n {
			s.positions = append(s.positions, int32(p))
			// The first token of a row is predicted by nothing.
			if t := start + p; p > 0 && b.Labels != nil && b.Labels[t] != Ignored {
				s.targets = append(s.targets, int32(t-1))
				s.labels = append(s.labels, b.Labels[t])
				s.owners = append(s.owners, int32(row))
				s.byRow[row].Labels++
			}
		}
		start += n
	}
	s.stats = Stats{Labels: len(s.labels)}
	return nil
}

// shared is what all layers of a graph use: the present micro-batch, the rotary table and working memory.
type shared struct {
	step
	config Config
	dft    bool // see Graph.UseDFT
	// overwritten are the parameters, by place, whose gradient the first product of a micro-batch may overwrite: none of
	// it is left as it was, and nothing is added to it before.
	overwritten map[int]bool
	capacity    int     // tokens of the largest micro-batch
	memory      *memory // of the buffers that ops keep
	heads       kernel.Heads
	rotation    kernel.Rotation
	scratch     kernel.AttentionScratch
	adapters    adapterScratch
}
