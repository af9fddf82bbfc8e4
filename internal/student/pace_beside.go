package student

import (
	"context"
	"fmt"
	"time"

	"stillhouse/internal/gguf"
	"stillhouse/internal/hub"
	"stillhouse/internal/kernel"
)

// MergingBytes is the memory that [Model.Merged] takes beside the model, in bytes: copies of the weights that the adapter
// targets, and the largest sum of products. Parameters need no data.
func (a *Adapter) MergingBytes(m *Model) (int64, error) {
	targets, err := a.Config.targets(m)
	if err != nil {
		return 0, err
	}
	total, most := 0, 0
	for _, t := range targets {
		total += t.weight.Size()
		most = max(most, t.weight.Size())
	}
	return 4 * int64(total+most), nil
}

// GeneratorBytes is the memory that a generator of one sample takes beside the model, in bytes, at most: its copy of the
// weights, which may be half of it where they came as bf16, and a cache for a few hundred tokens.
func (m *Model) GeneratorBytes() int64 {
	const positions = 512
	c := m.Config
	return int64(packedBytes(m.Params)) + positions*8*int64(c.NumHiddenLayers*c.NumKeyValueHeads*c.HeadDim)
}

// packedBytes is what the weights of a model take in a decoder, whatever their type.
func packedBytes(params []*Param) (bytes int) {
	for _, p := range params {
		if bytes += kernel.VectorBytes(p.Size()); len(p.Shape) > 1 {
			bytes += kernel.PackedBytes(kernel.Float32, p.Shape[0]+kernel.BlockPositions, p.Shape[1])
		}
	}
	return bytes
}

// MeasureMerging measures how long [Model.Merged] takes, in seconds, on one of m's layers. Parameters need no data.
func MeasureMerging(m *Model) (float64, error) {
	s, err := m.slice(1, min(m.Config.VocabSize, paceSmallest))
	if err != nil {
		return 0, fmt.Errorf("measuring the pace: %w", err)
	}
	took, _, err := repeated(paceSeconds, func() error { _, err := s.Merged(); return err })
	return took * float64(m.Config.NumHiddenLayers), err
}

// An Asking is how long it takes to ask a model, in seconds.
type Asking struct {
	Ready float64 // until a generator is there
	Token float64 // of an answer, one after the other
}

// MeasureAsking measures how long it takes to ask m, on some of its layers: each token reads all weights. Parameters need
// no data.
func MeasureAsking(m *Model) (a Asking, err error) {
	s, err := m.slice(paceLayers, min(m.Config.VocabSize, paceVocabulary))
	if err != nil {
		return a, fmt.Errorf("measuring the pace: %w", err)
	}
	whole := float64(packedBytes(m.Params)) / float64(packedBytes(s.Params))
	began := time.Now()
	g := NewGenerator(s, GeneratorOptions{})
	a.Ready = whole * time.Since(began).Seconds()
	defer g.Close()
	const tokens = 16
	took, _, err := repeated(paceSeconds, func() error {
		_, err := g.Generate(context.Background(), Request{Tokens: []int32{1}, MaxTokens: tokens}, nil)
		return err
	})
	if err != nil {
		return a, fmt.Errorf("measuring the pace: %w", err)
	}
	a.Token = whole * took / tokens
	return a, nil
}

// MeasureLoading measures how long [Load] takes for a model of the directory's configuration, in seconds: a part of the
// weights is read.
func MeasureLoading(dir string, c Config) (float64, error) {
	const most = 1 << 22 // elements
	var floats func(*Param, []float32) error
	if file, err := gguf.Find(dir); err != nil {
		return 0, err
	} else if file != "" {
		f, err := gguf.Open(file)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		if err := checkGGUFLayout(f, Layout(c), c); err != nil {
			return 0, err
		}
		floats = func(p *Param, into []float32) error { return f.Tensor(ggufName(p.Name)).Floats(into) }
	} else {
		weights, err := hub.OpenSafetensors(dir)
		if err != nil {
			return 0, err
		}
		defer weights.Close()
		if err := checkLayout(dir, weights, Layout(c), c); err != nil {
			return 0, err
		}
		floats = func(p *Param, into []float32) error { return weights.Tensor(p.Name).Floats(into) }
	}
	began, read, all := time.Now(), 0, 0
	for i, p := range Layout(c) {
		all += p.Size()
		if i == 0 || read > 0 && read+p.Size() > most { // the embedding may be of another type than the layers
			continue
		}
		read += p.Size()
		into := kernel.Floats(p.Size())
		if err := floats(p, into); err != nil {
			return 0, err
		}
		notFinite(into)
	}
	return time.Since(began).Seconds() * float64(all) / float64(read), nil
}

// MeasureDrawing measures how long [New] takes for a model of a configuration, in seconds.
func MeasureDrawing(c Config) float64 {
	part := c
	part.NumHiddenLayers, part.VocabSize = 1, min(c.VocabSize, paceSmallest)
	count := func(c Config) (n int) {
		for _, p := range Layout(c) {
			n += p.Size()
		}
		return n
	}
	began := time.Now()
	New(part, 1, 0.02)
	return time.Since(began).Seconds() * float64(count(c)) / float64(count(part))
}
