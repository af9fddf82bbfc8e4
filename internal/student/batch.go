package student

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"stillhouse"
	"stillhouse/internal/kernel"
)

// A job is a request on its way: its prompt is read once, then its samples are begun as places become free.
type job struct {
	Request
	prompt sequence  // the part of the prompt that is read
	logits []float32 // after the whole prompt
	begun  int       // samples
	live   int       // samples that are being decoded

	abandoned atomic.Bool   // nobody waits for it any more
	over      []atomic.Bool // by sample: its caller wants no more of it

	mu     sync.Mutex
	events []event
	spare  []event // memory for them
	err    error
	news   chan struct{} // events or err have something new
}

func newJob(r Request) *job {
	return &job{Request: r, news: make(chan struct{}, 1), over: make([]atomic.Bool, r.N)}
}

// An event is a token of a sample, or -1 for its stop token; ends says that it is the last.
type event struct {
	sample  int
	token   int32
	ends    bool
	logprob float64
}

func (j *job) tell(e event) {
	j.mu.Lock()
	j.events = append(j.events, e)
	j.mu.Unlock()
	signal(j.news)
}

func (j *job) fail(err error) {
	j.mu.Lock()
	j.err = err
	j.mu.Unlock()
	j.abandoned.Store(true)
	signal(j.news)
}

// drain takes what is new. It stays valid until the next call.
func (j *job) drain() ([]event, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	events := j.events
	j.events, j.spare = j.spare[:0], events
	return events, j.err
}

func (j *job) read() bool { return j.prompt.length == len(j.Tokens) }

// A sample under way.
type sample struct {
	*job
	number int
	cache  sequence
	rng    *rand.Rand
	next   int32 // the token to be read next
	made   int   // tokens
}

// A batch is what is decoded together. One goroutine works on it.
type batch struct {
	decoder *decoder
	options GeneratorOptions
	pool    blockPool
	jobs    []*job // in the order in which they came
	samples []*sample
	done    []*job  // whose prompts the step reads to the end
	tokens  []int32 // of the pieces of one token
	draws   []draw  // by sample: memory to choose its token with
	next    kernel.Step
	logits  []float32          // of the step
	choose  func(from, to int) // of these samples; kept, so that a step makes no closure
}

func newBatch(d *decoder, o GeneratorOptions) *batch {
	b := &batch{decoder: d, options: o, pool: blockPool{shape: d.shape, uses: map[kernel.Block]int{}}}
	v := d.config.VocabSize
	b.choose = func(from, to int) {
		for i := from; i < to; i++ {
			b.samples[i].choose(b.logits[i*v:(i+1)*v], &b.draws[i])
		}
	}
	return b
}

func (b *batch) close() {
	b.pool.close()
	b.decoder.close()
}

// fail ends all jobs with an error.
func (b *batch) fail(err error) {
	for _, j := range b.jobs {
		j.fail(err)
	}
	b.sweep()
}

// sweep lets go of samples and jobs that nobody waits for.
func (b *batch) sweep() {
	b.samples = slices.DeleteFunc(b.samples, func(s *sample) bool {
		gone := s.abandoned.Load() || s.over[s.number].Load()
		if gone {
			b.end(s)
		}
		return gone
	})
	b.jobs = slices.DeleteFunc(b.jobs, func(j *job) bool {
		gone := j.live == 0 && (j.begun == j.N || j.abandoned.Load())
		if gone {
			b.pool.release(&j.prompt)
		}
		return gone
	})
}

func (b *batch) end(s *sample) {
	b.pool.release(&s.cache)
	s.live--
}

// step reads one more token of each sample and a part of the prompts that wait, and chooses the next tokens. It allocates
// nothing unless the batch is larger than before.
func (b *batch) step() {
	b.sweep()
	b.next.Reset()
	err := error(nil)
	for _, s := range b.samples {
		b.tokens = append(b.tokens[:0], s.next)
		if err = b.add(&s.cache, b.tokens, true); err != nil {
			break
		}
	}
	places, budget := b.options.MaxBatch-len(b.samples), b.options.Prefill
	b.done = b.done[:0]
	for _, j := range b.jobs {
		if err != nil || places <= 0 || budget == 0 {
			break
		}
		places -= j.N - j.begun
		if j.read() {
			continue
		}
		rest := j.Tokens[j.prompt.length:]
		n := min(budget, len(rest))
		budget -= n
		if err = b.add(&j.prompt, rest[:n], n == len(rest)); err == nil && n == len(rest) {
			b.done = append(b.done, j)
		}
	}
	var logits []float32
	if err == nil {
		logits, err = b.decoder.forward(&b.next)
	}
	if err != nil {
		b.fail(err)
		return
	}
	v := b.decoder.config.VocabSize
	for i, j := range b.done {
		at := (len(b.samples) + i) * v
		j.logits = slices.Clone(logits[at : at+v])
	}
	b.advance(logits)
	b.begin()
}

// add puts tokens of a sequence into the step.
func (b *batch) add(s *sequence, tokens []int32, wanted bool) error {
	if err := b.pool.extend(s, len(tokens)); err != nil {
		return err
	}
	b.next.Add(tokens, s.length, s.blocks, wanted)
	s.length += len(tokens)
	return nil
}

// advance chooses the next token of each sample by its row of logits.
func (b *batch) advance(logits []float32) {
	v := b.decoder.config.VocabSize
	for len(b.draws) < max(1, len(b.samples)) {
		b.draws = append(b.draws, draw{})
	}
	b.logits = logits
	kernel.Parallel(len(b.samples), 1+(1<<14)/v, b.choose)
	b.samples = slices.DeleteFunc(b.samples, func(s *sample) bool {
		gone := s.next < 0
		if gone {
			b.end(s)
		}
		return gone
	})
}

// begin begins samples of jobs whose prompts are read, in order, while there are places.
func (b *batch) begin() {
	for _, j := range b.jobs {
		for j.read() && !j.abandoned.Load() && j.begun < j.N && len(b.samples) < b.options.MaxBatch {
			s := &sample{job: j, number: j.begun, rng: newRNG(j.Seed, j.begun)}
			j.begun++
			if s.choose(j.logits, &b.draws[0]); s.next < 0 {
				continue
			}
			cache, err := b.pool.fork(&j.prompt)
			if err != nil {
				j.fail(err)
				break
			}
			s.cache = cache
			j.live++
			b.samples = append(b.samples, s)
		}
	}
}

// choose takes the sample's next token and tells of it; next is -1 after the last.
func (s *sample) choose(logits []float32, d *draw) {
	token := d.choose(logits, s.Temperature, s.TopP, s.rng)
	if token < 0 {
		s.next = -1
		s.fail(stillhouse.Permanentf("generate: the model's logits are not finite numbers: its weights are broken"))
		return
	}
	s.made++
	e := event{sample: s.number, token: token, ends: s.made == s.MaxTokens}
	if slices.Contains(s.Stop, token) {
		e.token, e.ends = -1, true
	} else if s.Logprobs {
		e.logprob = logProb(logits, token)
	}
	if s.next = token; e.ends {
		s.next = -1
	}
	s.tell(e)
}
