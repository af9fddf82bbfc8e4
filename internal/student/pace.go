package student

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"stillhouse/internal/kernel"
)

// A Pace is how fast this machine trains a model, in seconds.
type Pace struct {
	Token     float64 // of all layers, forward and backward
	Label     float64 // of the head, for a trained token beside that
	Pass      float64 // of a pass beside its tokens
	Parameter float64 // of the optimiser and the norm, for a trained parameter and update
}

// Seconds is the time of a training of so many tokens, labels, passes and updates, with so many trained parameters.
func (p Pace) Seconds(tokens, labels, passes, updates, parameters int64) float64 {
	return float64(tokens)*p.Token + float64(labels)*p.Label + float64(passes)*p.Pass + float64(updates)*float64(parameters)*p.Parameter
}

// slice is a model of some of m's layers and of a part of its vocabulary, whose weights are all alike: products take their
// time whatever they multiply.
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
	for _, p := range params {
		for i := range p.Data {
			p.Data[i] = 0.01
		}
	}
	return s, nil
}

// MeasurePace measures for about a second how fast the machine trains m: whole passes of one of its layers and of two,
// with rows of length tokens, of which labels are trained, and the optimiser. m's parameters need no data. A pass has
// at most tokens tokens.
func MeasurePace(m *Model, tokens, length, labels int) (p Pace, err error) {
	length = max(2, min(length, tokens))
	labels = max(1, min(labels, length-1))
	// As many rows as there are in a pass, but not more than what takes a tenth of a second.
	weights := 0
	for _, q := range Layout(m.Config) {
		if strings.HasPrefix(q.Name, "model.layers.0.") {
			weights += q.Size()
		}
	}
	const budget = 2e10 // FLOPs of a pass of one layer
	rows := max(1, min(tokens/length, int(budget/(6*float64(weights)*float64(length)))))
	b := Batch{}
	vocabulary := min(m.Config.VocabSize, 4096)
	for range rows {
		b.Lengths = append(b.Lengths, length)
		for t := range length {
			id := int32(t*7919+11) % int32(vocabulary)
			b.Tokens = append(b.Tokens, id)
			if t < length-labels {
				id = Ignored
			}
			b.Labels = append(b.Labels, id)
		}
	}
	few := Batch{Tokens: b.Tokens[:2], Labels: []int32{Ignored, b.Tokens[1]}, Lengths: []int{2}}
	var took [2][2]float64 // by batch, then by layers less one
	for i, batch := range []Batch{few, b} {
		for l := range took[i] {
			if took[i][l], err = m.timePass(l+1, vocabulary, batch); err != nil {
				return p, err
			}
		}
	}
	// A pass of a layer takes so long and so much more for each token; what is left of one layer's pass is the head, which
	// grows with the vocabulary.
	layer := func(i int) float64 { return max(took[i][1]-took[i][0], took[i][1]/8) }
	head := func(i int) float64 {
		return max(0, took[i][0]-layer(i)) * float64(m.Config.VocabSize) / float64(vocabulary)
	}
	layers := float64(m.Config.NumHiddenLayers)
	p.Token = layers * max(0, layer(1)-layer(0)) / float64(len(b.Tokens)-2)
	p.Label = max(0, head(1)-head(0)) / float64(rows*labels)
	p.Pass = layers*layer(0) + head(0)
	p.Parameter = timeOptimiser()
	return p, nil
}

// timePass is the mean time of a pass over b of a slice of m.
func (m *Model) timePass(layers, vocabulary int, b Batch) (float64, error) {
	s, err := m.slice(layers, vocabulary)
	if err != nil {
		return 0, err
	}
	g, err := NewGraph(s, len(b.Tokens))
	if err != nil {
		return 0, fmt.Errorf("measuring the pace: %w", err)
	}
	defer g.Close()
	var total float64
	n := 0
	for i := 0; total < 0.15 && n < 50; i++ {
		began := time.Now()
		g.ZeroGradients()
		if _, err := g.Accumulate(b, 1); err != nil {
			return 0, fmt.Errorf("measuring the pace: %w", err)
		}
		took := time.Since(began).Seconds()
		if i == 0 {
			continue // memory is touched for the first time
		}
		total += took
		n++
	}
	return total / float64(n), nil
}

// timeOptimiser is the time of the norm and of AdamW's update for one parameter, of a slab that no cache holds.
func timeOptimiser() float64 {
	const n = 1 << 22
	p, g, m, v := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	o := kernel.AdamWOptions{LR: 1e-5, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, GradScale: 1}
	var began time.Time
	const times = 3
	for i := range times + 1 {
		if i == 1 {
			began = time.Now()
		}
		o.Step++
		kernel.SquaredNorm(g)
		kernel.AdamW(p, g, m, v, o)
	}
	return time.Since(began).Seconds() / times / n
}
