package student

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"

	"stillhouse/internal/kernel"
)

// A Pace is how long this machine takes for the parts of a training, in seconds.
type Pace struct {
	Train     Cost    // forward and backward
	Evaluate  Cost    // forward alone; nothing unless it was asked for
	Parameter float64 // the norm and the optimiser, for a trained parameter and update
	Fresh     float64 // a byte of memory that is touched for the first time
	Unlike    float64 // by how much of it the time of the same passes differed, the earlier from the later
}

// A Cost is the time of passes, in seconds.
type Cost struct {
	Token float64 // of all layers
	Label float64 // of the head, for a trained token beside that
	Pass  float64 // of a pass beside its tokens
}

// Seconds is the time of so many tokens, labels and passes.
func (c Cost) Seconds(tokens, labels, passes int64) float64 {
	return float64(tokens)*c.Token + float64(labels)*c.Label + float64(passes)*c.Pass
}

// What is timed is cut to this size.
const (
	paceLayers     = 2
	paceFLOPs      = 4e10    // of a pass of one layer, unless its first row alone is more
	paceVocabulary = 1 << 15 // rows of the head, where the head is timed
	paceSmallest   = 1 << 10 // rows of the head, where layers are timed
	paceSeconds    = 0.3     // that a pass is repeated for, at least; a third of it for two tokens
)

// MeasurePace measures how fast the machine trains m, for a few seconds: passes of two of its layers, over the rows of a
// usual pass and over two tokens, and of the head. Rows have their true lengths, so attention has its part. m's
// parameters need no data.
func MeasurePace(m *Model, usual Batch, evaluates bool) (p Pace, err error) {
	t := timing{config: m.Config, layers: paceLayers, vocabulary: min(m.Config.VocabSize, paceVocabulary)}
	t.rows(usual)
	if err := t.measure(m, evaluates); err != nil {
		return p, fmt.Errorf("measuring the pace: %w", err)
	}
	p.Train, p.Unlike = t.train.cost(t), t.unlike
	if evaluates {
		p.Evaluate = t.evaluate.cost(t)
	}
	p.Parameter = timeOptimiser(m.trained())
	p.Fresh, err = timeFreshMemory()
	return p, err
}

// trained is the number of parameters that a training changes.
func (m *Model) trained() (n int) {
	params := m.Params
	if m.Adapter != nil {
		params = m.Adapter.Params
	}
	for _, p := range params {
		n += p.Size()
	}
	return n
}

// A timing is a measurement under way.
type timing struct {
	config     Config // of the whole model
	layers     int    // that are timed
	vocabulary int    // of the head that is timed

	few, body        Batch // two tokens, and rows of a usual pass; one label each
	unlabelled, head Batch // as many tokens as a tile of logits has labels, with one label and with one for each
	train, evaluate  times
	unlike           float64 // of the passes over body
}

// times are those of passes, in seconds: over few and body with some layers and hardly a head, and over few, unlabelled
// and head with one layer and a large head.
type times struct{ few, body, headFew, headUnlabelled, head float64 }

// rows makes the batches that are timed.
func (t *timing) rows(usual Batch) {
	layer := 0
	for _, q := range Layout(t.config) {
		if strings.HasPrefix(q.Name, "model.layers.0.") {
			layer += q.Size()
		}
	}
	size, labels := 0, 0
	var lengths []int
	for _, n := range usual.Lengths {
		if size > 0 && 6*float64(layer)*float64(size+n) > paceFLOPs {
			break
		}
		size += n
		lengths = append(lengths, n)
	}
	for _, l := range usual.Labels {
		if l != Ignored {
			labels++
		}
	}
	labels = max(2, min(labels, tileFloats/t.config.VocabSize, len(usual.Tokens)-1))
	ids := min(t.config.VocabSize, paceSmallest)
	t.few, t.body = fill(ids, []int{2}, 1), fill(ids, lengths, 1)
	t.unlabelled, t.head = fill(ids, []int{labels + 1}, 1), fill(ids, []int{labels + 1}, labels)
}

// fill makes a batch of so many different tokens, with labels at its end.
func fill(ids int, lengths []int, labels int) Batch {
	b := Batch{Lengths: lengths}
	n := 0
	for _, l := range lengths {
		n += l
	}
	for i := range n {
		id := int32(i % ids)
		b.Tokens = append(b.Tokens, id)
		if i < n-labels {
			id = Ignored
		}
		b.Labels = append(b.Labels, id)
	}
	return b
}

// measure times passes of two slices of a model.
func (t *timing) measure(m *Model, evaluates bool) error {
	err := t.slice(m, t.layers, min(t.vocabulary, paceSmallest), evaluates, []pacePass{
		{t.few, true, &t.train.few, &t.evaluate.few}, {t.body, true, &t.train.body, &t.evaluate.body},
	})
	if err != nil {
		return err
	}
	return t.slice(m, 1, t.vocabulary, evaluates, []pacePass{
		{t.few, true, &t.train.headFew, &t.evaluate.headFew},
		{t.unlabelled, false, &t.train.headUnlabelled, &t.evaluate.headUnlabelled}, {t.head, false, &t.train.head, &t.evaluate.head},
	})
}

// A pacePass is a pass to be timed, and where its time goes.
type pacePass struct {
	batch           Batch
	fresh           bool // the gradients are zero before, as in a window's first pass; most tiles of logits are none of that
	train, evaluate *float64
}

// slice times passes of a slice of a model.
func (t *timing) slice(m *Model, layers, vocabulary int, evaluates bool, passes []pacePass) error {
	s, err := m.slice(layers, vocabulary)
	if err != nil {
		return err
	}
	capacity := 0
	for _, p := range passes {
		capacity = max(capacity, len(p.batch.Tokens))
	}
	g, err := NewGraph(s, capacity)
	if err != nil {
		return err
	}
	defer g.Close()
	g.ZeroGradients()
	for _, p := range passes {
		seconds := paceSeconds
		if len(p.batch.Tokens) <= len(t.few.Tokens) {
			seconds /= 3
		}
		var unlike float64
		if *p.train, unlike, err = repeated(seconds, func() error {
			if p.fresh {
				g.ZeroGradients()
			}
			_, err := g.Accumulate(p.batch, 1e-6)
			return err
		}); err != nil {
			return err
		}
		if p.train == &t.train.body {
			t.unlike = unlike
		}
		if !evaluates {
			continue
		}
		if *p.evaluate, _, err = repeated(seconds, func() error { _, err := g.Evaluate(p.batch); return err }); err != nil {
			return err
		}
	}
	return nil
}

// repeated is the mean time of something that is done again and again for so many seconds, but for the first time: memory
// is touched then. unlike is by how much of it the two halves of the time differ: how much the machine's speed varies.
func repeated(seconds float64, do func() error) (mean, unlike float64, err error) {
	var all []float64
	for i, total := 0, 0.0; len(all) < 2 || total < seconds && len(all) < 50; i++ {
		began := time.Now()
		if err := do(); err != nil {
			return 0, 0, err
		}
		if i > 0 {
			all = append(all, time.Since(began).Seconds())
			total += all[len(all)-1]
		}
	}
	average := func(of []float64) (sum float64) {
		for _, t := range of {
			sum += t
		}
		return sum / float64(len(of))
	}
	mean = average(all)
	return mean, math.Abs(average(all[:len(all)/2])-average(all[len(all)/2:])) / mean, nil
}

// cost is what passes of the whole model take. Embedding, last norm and a head of few rows are little beside a layer, and
// count as a part of it. What a large head takes grows with its rows.
func (s times) cost(t timing) (c Cost) {
	layers := float64(t.config.NumHiddenLayers) / float64(t.layers)
	wider := float64(t.config.VocabSize) / float64(t.vocabulary)
	c.Token = layers * max(0, s.body-s.few) / float64(max(1, len(t.body.Tokens)-len(t.few.Tokens)))
	c.Label = wider * max(0, s.head-s.headUnlabelled) / float64(len(t.head.Tokens)-2)
	c.Pass = layers*s.few + wider*max(0, s.headFew-s.few/float64(t.layers))
	return c
}

// slice is a model of some of m's layers and of a part of its vocabulary, with drawn weights.
func (m *Model) slice(layers, vocabulary int) (*Model, error) {
	c := m.Config
	c.NumHiddenLayers, c.VocabSize, c.PadTokenID = layers, vocabulary, -1
	s := &Model{Config: c, Params: Layout(c)}
	allocate(s.Params)
	params := s.Params
	if m.Adapter != nil {
		of := m.Adapter.Config
		of.LayersToTransform, of.LayersPattern = nil, nil // those may be others
		a, err := BlankAdapter(of, s)
		if err != nil {
			return nil, err
		}
		s.Adapter, params = a, slices.Concat(params, a.Params)
	}
	for i, p := range params {
		rng := rand.NewPCG(uint64(layers), uint64(i))
		for j := range p.Data {
			p.Data[j] = (float32(rng.Uint64()>>40)/(1<<24) - 0.5) * 0.1
		}
	}
	return s, nil
}

// timeOptimiser is the time of the norm and of AdamW's update for one of n parameters, of slabs that no cache holds where
// n is large.
func timeOptimiser(n int) float64 {
	const times = 3
	n = max(1, min(n, 1<<25))
	p, g, m, v := kernel.Floats(n), kernel.Floats(n), kernel.Floats(n), kernel.Floats(n)
	o := kernel.AdamWOptions{LR: 1e-5, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, GradScale: 1}
	var began time.Time
	for i := range times + 1 {
		if i == 1 {
			began = time.Now()
		}
		o.Step++
		kernel.SquaredNorm(g)
		kernel.AdamW(p, g, m, v, o)
	}
	return time.Since(began).Seconds() / times / float64(n)
}

// timeFreshMemory is the time of touching a byte of memory for the first time, when the system has to find it.
func timeFreshMemory() (float64, error) {
	const size, page, huge = 64 << 20, 1 << 12, 14 // MADV_HUGEPAGE, as for all large buffers
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return 0, fmt.Errorf("measuring the pace: taking %d MiB: %w", size>>20, err)
	}
	defer func() { _ = syscall.Munmap(b) }()
	_ = syscall.Madvise(b, huge) // what becomes of it shows in the time
	began := time.Now()
	kernel.Parallel(size/page, 1, func(from, to int) {
		for i := from; i < to; i++ {
			b[i*page] = 1
		}
	})
	return time.Since(began).Seconds() / size, nil
}
