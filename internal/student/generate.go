package student

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"stillhouse"
)

// Request asks for N samples that go on from a prompt.
type Request struct {
	Tokens      []int32 // the prompt, at least one token
	N           int     // samples; 0 is 1
	MaxTokens   int     // tokens of each sample at most; 0 is what the model's positions leave
	Temperature float64 // 0 takes the likeliest token each time
	TopP        float64 // 0 is 1: draw from all tokens
	Seed        uint64  // of sample 0; sample i has Seed + i
	Stop        []int32 // tokens that end a sample
	Logprobs    bool
}

// Completion is one sample.
type Completion struct {
	Tokens   []int32   // without the prompt and the stop token
	Stopped  bool      // ended by a stop token; else by MaxTokens or by onToken
	Logprobs []float64 // of Tokens under the model at temperature 1, when asked for
}

// GeneratorOptions are a generator's limits.
type GeneratorOptions struct {
	MaxBatch int     // samples that are decoded together at most; 0 is 64
	Prefill  int     // tokens of prompts that are read in one step at most; 0 is 256
	Weights  Weights // "" is f32
}

// EnsureDefaults fills in what is 0.
func (o *GeneratorOptions) EnsureDefaults() {
	if o.MaxBatch <= 0 {
		o.MaxBatch = 64
	}
	if o.Prefill <= 0 {
		o.Prefill = 256
	}
	if o.Weights == "" {
		o.Weights = WeightsF32
	}
}

// ErrClosed is the error of requests to a generator that was closed.
var ErrClosed = errors.New("the generator is closed")

// A Generator decodes samples of many requests together. A sample's tokens depend on the weights, the prompt, the
// request's settings and its own seed, and on nothing else: not on what is decoded beside it. That holds for every type of
// weights.
type Generator struct {
	config  Config
	wake    chan struct{} // something is new for the loop
	closing chan struct{}
	closed  chan struct{} // the loop has ended
	bytes   int           // that a token reads of the weights
	once    sync.Once

	mu       sync.Mutex
	arrivals []*job
	ended    error // of requests, once there is no loop
}

// NewGenerator copies the model's weights, with its adapter merged where it has one: the model may change afterwards.
// Close the generator after use. When there is no memory for the copy, or the options are wrong, all requests get that
// error.
func NewGenerator(m *Model, o GeneratorOptions) *Generator {
	o.EnsureDefaults()
	g := &Generator{config: m.Config, wake: make(chan struct{}, 1), closing: make(chan struct{}), closed: make(chan struct{})}
	err := o.Weights.Validate()
	var d *decoder
	if err == nil {
		d, err = newDecoder(m, o.Weights)
	}
	if err != nil {
		g.ended = fmt.Errorf("generate: %w", err)
		close(g.closed)
		return g
	}
	g.bytes = d.slab.Used()
	if !m.Config.TieWordEmbeddings {
		g.bytes -= d.embed.Bytes()
	}
	b := newBatch(d, o)
	go func() {
		defer close(g.closed)
		defer b.close()
		g.loop(b)
	}()
	return g
}

// Close ends the generator; requests that are under way get ErrClosed.
func (g *Generator) Close() {
	g.once.Do(func() { close(g.closing) })
	<-g.closed
}

// WeightBytes is how many bytes of weights a token reads that is decoded alone.
func (g *Generator) WeightBytes() int { return g.bytes }

// Check is the error that Generate would give for a request before anything is computed.
func (g *Generator) Check(r Request) error {
	limit := g.config.MaxPositionEmbeddings
	switch {
	case len(r.Tokens) == 0:
		return stillhouse.Invalidf("generate: the prompt is empty: it needs at least one token")
	case len(r.Tokens) >= limit:
		return stillhouse.Invalidf("generate: the prompt has %d tokens, the model has %d positions (max_position_embeddings) for prompt and answer: shorten the prompt", len(r.Tokens), limit)
	case r.MaxTokens < 0 || r.MaxTokens > limit-len(r.Tokens):
		return stillhouse.Invalidf("generate: max_tokens %d after a prompt of %d tokens does not fit the model's %d positions (max_position_embeddings): at most %d are left", r.MaxTokens, len(r.Tokens), limit, limit-len(r.Tokens))
	case r.N < 0:
		return stillhouse.Invalidf("generate: n %d: it must be at least 1", r.N)
	case !(r.Temperature >= 0 && r.Temperature <= 1e6):
		return stillhouse.Invalidf("generate: temperature %v: it must be 0 or more", r.Temperature)
	case !(r.TopP >= 0 && r.TopP <= 1):
		return stillhouse.Invalidf("generate: top_p %v: it must be above 0 and at most 1", r.TopP)
	}
	for i, t := range r.Tokens {
		if t < 0 || int(t) >= g.config.VocabSize {
			return stillhouse.Invalidf("generate: token %d of the prompt is %d, the model's vocabulary has %d: is the tokenizer this model's?", i, t, g.config.VocabSize)
		}
	}
	return nil
}

// Generate makes the samples of a request. It may be called from many goroutines: their requests are decoded together.
// onToken, unless nil, is called for each token in the caller's goroutine; a sample ends after the token for which it
// returns false. No token is handed on once ctx is cancelled.
func (g *Generator) Generate(ctx context.Context, r Request, onToken func(sample int, token int32) bool) ([]Completion, error) {
	if err := g.Check(r); err != nil {
		return nil, err
	}
	r.N = max(1, r.N)
	if r.MaxTokens == 0 {
		r.MaxTokens = g.config.MaxPositionEmbeddings - len(r.Tokens)
	}
	if r.TopP == 0 {
		r.TopP = 1
	}
	j := newJob(r)
	defer j.abandoned.Store(true)
	if err := g.submit(j); err != nil {
		return nil, err
	}
	out := make([]Completion, r.N)
	done := make([]bool, r.N)
	for left := r.N; left > 0; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-j.news:
		}
		events, err := j.drain()
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			if err := ctx.Err(); err != nil { // which onToken may have brought about
				return nil, err
			}
			c := &out[e.sample]
			if done[e.sample] {
				continue // what was decoded before the loop heard that the sample is over
			}
			ends := e.ends
			if e.token >= 0 {
				c.Tokens = append(c.Tokens, e.token)
				if r.Logprobs {
					c.Logprobs = append(c.Logprobs, e.logprob)
				}
				if onToken != nil && !onToken(e.sample, e.token) {
					ends = true
					j.over[e.sample].Store(true)
				}
			}
			c.Stopped = e.token < 0
			if ends {
				done[e.sample] = true
				left--
			}
		}
	}
	return out, nil
}

func (g *Generator) submit(j *job) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended != nil {
		return g.ended
	}
	g.arrivals = append(g.arrivals, j)
	signal(g.wake)
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// loop steps the batch while there is work.
func (g *Generator) loop(b *batch) {
	for {
		g.mu.Lock()
		b.jobs = append(b.jobs, g.arrivals...)
		g.arrivals = nil
		g.mu.Unlock()
		idle := len(b.jobs) == 0
		if !idle {
			b.step()
		}
		select {
		case <-g.closing:
			g.mu.Lock()
			g.ended = ErrClosed
			b.jobs = append(b.jobs, g.arrivals...)
			g.mu.Unlock()
			b.fail(ErrClosed)
			return
		default:
		}
		if idle {
			select {
			case <-g.wake:
			case <-g.closing:
			}
		}
	}
}
