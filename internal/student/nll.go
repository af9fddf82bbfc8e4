package student

import (
	"context"
	"iter"
	"math"
	"slices"
	"sync"

	"stillhouse"
	"stillhouse/internal/kernel"
)

// A Labelled row is a sequence of tokens of which some are scored, as in a [Batch]: Labels are as many as Tokens, each the
// token itself where it is scored, else Ignored. The first token has nothing before it and is never scored.
type Labelled struct {
	Tokens, Labels []int32
}

// An NLL is the negative log-likelihood of a row's labels, each given all tokens before it.
type NLL struct {
	Labels int
	Sum    float64 // nats
}

// Mean is the mean over the labels; not a number when there are none.
func (n NLL) Mean() float64 { return n.Sum / float64(n.Labels) }

// ScorerOptions are a scorer's limits.
type ScorerOptions struct {
	Weights Weights // "" is f32
	Tokens  int     // of rows that are computed together at most, unless one row has more; 0 is 1024
}

// EnsureDefaults fills in what is 0.
func (o *ScorerOptions) EnsureDefaults() {
	if o.Weights == "" {
		o.Weights = WeightsF32
	}
	if o.Tokens <= 0 {
		o.Tokens = 1024
	}
}

// labelTile is the number of labels whose logits are held at once.
const labelTile = 64

// A Scorer computes how likely rows are under a model, many rows at a time, end to end and without padding. Its memory is
// the weights', that of a pass's activations, the keys and values of one layer, and the logits of 64 labels: it does not
// grow with the number of rows. A row's result depends on the row and the weights alone, not on what is computed beside
// it. It may be called from several goroutines, whose passes take turns.
type Scorer struct {
	options ScorerOptions
	mu      sync.Mutex // over all below
	decoder *decoder   // up to the last norm
	head    *kernel.Program
	pool    blockPool
	step    kernel.Step
}

// NewScorer copies the model's weights, with its adapter merged where it has one: the model may change afterwards. Close
// the scorer after use.
func NewScorer(m *Model, o ScorerOptions) (*Scorer, error) {
	o.EnsureDefaults()
	if err := o.Weights.Validate(); err != nil {
		return nil, err
	}
	m, err := m.Merged()
	if err != nil {
		return nil, err
	}
	c := m.Config
	// A pass holds whole rows, so a layer's keys and values are of no more use once the next layer begins.
	d := &decoder{config: c, shape: kernel.CacheShape{Layers: 1, Heads: c.NumAttentionHeads, KVHeads: c.NumKeyValueHeads, HeadDim: c.HeadDim}, frequencies: c.Frequencies()}
	if err := d.reserve(m); err != nil {
		return nil, err
	}
	s := &Scorer{options: o, decoder: d, pool: blockPool{shape: d.shape, uses: map[kernel.Block]int{}}}
	body, product := d.operations(m, weightTypes[o.Weights])
	for i := range body {
		body[i].Layer = 0
	}
	widths := d.widths()
	widths[kernel.BufferLogits] = 0
	if d.program, err = kernel.NewProgram(d.shape, widths, body); err == nil {
		err = d.reach(1)
	}
	if err == nil {
		ops := []kernel.Op{product, {Kind: kernel.OpLoss, In: kernel.BufferLogits, Wanted: true}}
		if product.Matrix.Type() == kernel.Q8_0 {
			ops = slices.Insert(ops, 0, kernel.Op{Kind: kernel.OpRound, In: kernel.BufferNormed})
		}
		s.head, err = kernel.NewProgram(d.shape, kernel.Widths{kernel.BufferNormed: c.HiddenSize, kernel.BufferLogits: c.VocabSize}, ops)
	}
	if err == nil {
		err = s.head.SetRotation(d.cosines[:c.HeadDim/2], d.sines[:c.HeadDim/2])
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close frees the scorer's memory.
func (s *Scorer) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool.close()
	if s.head != nil {
		s.head.Close()
	}
	s.decoder.close()
}

// NLL reads rows and yields the result of each, in order, as soon as it is there; it reads no further ahead than one pass.
// A row that cannot be scored, an error of rows, or the end of ctx is yielded as an error, the last of all.
func (s *Scorer) NLL(ctx context.Context, rows iter.Seq2[Labelled, error]) iter.Seq2[NLL, error] {
	return func(yield func(NLL, error) bool) {
		var pass []Labelled
		tokens, number := 0, 0
		flush := func() bool { // says whether to go on
			results, err := s.pass(ctx, pass)
			if err != nil {
				yield(NLL{}, err)
				return false
			}
			pass, tokens = pass[:0], 0
			for _, r := range results {
				if !yield(r, nil) {
					return false
				}
			}
			return true
		}
		for r, err := range rows {
			if err == nil {
				err = s.check(number, r)
			}
			if err != nil {
				if flush() { // what came before is still told of
					yield(NLL{}, err)
				}
				return
			}
			number++
			n := needed(r)
			if len(pass) > 0 && tokens+n > s.options.Tokens && !flush() {
				return
			}
			pass, tokens = append(pass, r), tokens+n
		}
		flush()
	}
}

// needed is the number of tokens that a row's last label follows.
func needed(r Labelled) int {
	for i := len(r.Labels) - 1; i > 0; i-- {
		if r.Labels[i] != Ignored {
			return i
		}
	}
	return 0
}

func (s *Scorer) check(number int, r Labelled) error {
	c := s.decoder.config
	if len(r.Labels) != len(r.Tokens) {
		return stillhouse.Invalidf("nll: row %d has %d labels for %d tokens: there is one label, or Ignored, for each token", number, len(r.Labels), len(r.Tokens))
	}
	if n := len(r.Tokens); n > c.MaxPositionEmbeddings {
		return stillhouse.Invalidf("nll: row %d has %d tokens, the model has %d positions (max_position_embeddings): cut the row or leave it out", number, n, c.MaxPositionEmbeddings)
	}
	for i, t := range r.Tokens {
		if t < 0 || int(t) >= c.VocabSize {
			return stillhouse.Invalidf("nll: row %d: token %d is %d, the model's vocabulary has %d: is the tokenizer this model's?", number, i, t, c.VocabSize)
		}
		if l := r.Labels[i]; l != Ignored && (l < 0 || int(l) >= c.VocabSize) {
			return stillhouse.Invalidf("nll: row %d: label %d is %d, which is neither Ignored nor in the vocabulary of %d", number, i, l, c.VocabSize)
		}
	}
	return nil
}

// pass computes rows together.
func (s *Scorer) pass(ctx context.Context, rows []Labelled) ([]NLL, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := make([]NLL, len(rows))
	var labels, owners []int32
	sequences := make([]sequence, len(rows))
	defer func() {
		for i := range sequences {
			s.pool.release(&sequences[i])
		}
	}()
	s.step.Reset()
	for i, r := range rows {
		n := needed(r)
		if err := s.pool.extend(&sequences[i], n); err != nil {
			return nil, err
		}
		begin := len(s.step.Tokens)
		s.step.Add(r.Tokens[:n], 0, sequences[i].blocks, false)
		for t := 1; t <= n; t++ {
			if l := r.Labels[t]; l != Ignored {
				s.step.Wanted = append(s.step.Wanted, int32(begin+t-1))
				labels, owners = append(labels, l), append(owners, int32(i))
			}
		}
	}
	if len(labels) == 0 {
		return out, nil
	}
	if _, err := s.decoder.forward(&s.step); err != nil {
		return nil, err
	}
	h := s.decoder.config.HiddenSize
	states := s.decoder.program.Rows(kernel.BufferNormed, len(labels))
	var tile kernel.Step
	for from := 0; from < len(labels); from += labelTile {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := min(labelTile, len(labels)-from)
		losses, err := s.losses(&tile, states[from*h:(from+n)*h], labels[from:from+n])
		if err != nil {
			return nil, err
		}
		for i, loss := range losses {
			if math.IsNaN(loss) {
				return nil, stillhouse.Permanentf("nll: the model's logits are not finite numbers: its weights are broken")
			}
			o := &out[owners[from+i]]
			o.Labels++
			o.Sum += loss
		}
	}
	return out, nil
}

// losses are those of labels after states of the last norm, [labels, hidden].
func (s *Scorer) losses(tile *kernel.Step, states []float32, labels []int32) ([]float64, error) {
	tile.Reset()
	for range labels {
		tile.Add([]int32{0}, 0, []kernel.Block{0}, true) // the head looks at neither tokens nor cache
	}
	tile.Labels = append(tile.Labels, labels...)
	if err := s.head.Fill(kernel.BufferNormed, len(labels), states); err != nil {
		return nil, err
	}
	if err := s.head.Run(tile); err != nil {
		return nil, err
	}
	return s.head.Losses(), nil
}
