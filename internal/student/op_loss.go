package student

import (
	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"stillhouse/internal/kernel"
)

// tileFloats bounds the logits that are in memory at once: 128 MiB.
const tileFloats = 1 << 25

// lossOp is the head and the summed cross-entropy of the labels: (hidden [tokens, H], head [V, H]) → a number, nats.
// Only the hidden states at which a label is predicted are multiplied, a tile of them at a time. The gradients are made
// in the same pass, since the logits of a tile are gone afterwards: the backward ops hand them on.
type lossOp struct {
	fused
	*shared
	head        *weight
	tile        int
	logits      []float32 // [tile, V]
	hidden      []float32 // [tile, H]: the states at the labels
	dhidden     []float32 // [tile, H]
	dx          []float32 // [tokens, H]
	predictions kernel.Predictions
	value       *gorgonia.F64
}

func (g *builder) loss(hidden *gorgonia.Node, head *weight) *gorgonia.Node {
	v, h := g.config.VocabSize, g.config.HiddenSize
	tile := max(1, min(g.capacity, max(16, tileFloats/v)))
	return g.apply(&lossOp{
		fused: fused{name: g.name("loss"), inputs: 2, shape: tensor.ScalarShape()}, shared: g.shared, head: head, tile: tile,
		logits: g.memory.floats(tile * v), hidden: g.memory.floats(tile * h), dhidden: g.memory.floats(tile * h), dx: g.memory.floats(g.capacity * h),
		predictions: kernel.Predictions{Loss: make([]float64, tile), Entropy: make([]float64, tile), Correct: make([]int32, tile)},
		value:       gorgonia.NewF64(0),
	}, hidden, head.node)
}

// Type gives a number in fp64, so that the sum over many labels keeps its digits.
func (o *lossOp) Type() hm.Type { return signature(2, tensor.Float64) }

func (o *lossOp) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, v, h := floats(in[0]), o.config.VocabSize, o.config.HiddenSize
	if o.gradients {
		clear(o.dx[:o.rows()*h])
	}
	beta := o.beta()
	// Tiles of one size: a last one of a few labels would read the whole head for little.
	tiles := (len(o.labels) + o.tile - 1) / o.tile
	for i := range tiles {
		from, to := len(o.labels)*i/tiles, len(o.labels)*(i+1)/tiles
		targets, labels, n := o.targets[from:to], o.labels[from:to], to-from
		kernel.Embed(x, targets, o.hidden, h)
		kernel.Gemm(false, true, n, v, h, 1, o.hidden, h, o.head.data, h, 0, o.logits, v)
		kernel.CrossEntropy(o.logits, labels, v, kernel.CrossEntropyOptions{Scale: o.scale, Gradient: o.gradients, DFT: o.dft}, o.predictions)
		for i := range n {
			found := Stats{Loss: o.predictions.Loss[i], Entropy: o.predictions.Entropy[i], Correct: int(o.predictions.Correct[i])}
			o.stats.Add(found)
			o.byRow[o.owners[from+i]].Add(found)
		}
		if !o.gradients {
			continue
		}
		kernel.Gemm(false, false, n, h, v, 1, o.logits, v, o.head.data, h, 0, o.dhidden, h)
		if o.head.grad != nil {
			kernel.Gemm(true, false, v, h, n, 1, o.logits, v, o.hidden, h, beta, o.head.grad, h)
		}
		beta = 1
		for i, t := range targets {
			copy(o.dx[int(t)*h:(int(t)+1)*h], o.dhidden[i*h:(i+1)*h])
		}
	}
	*o.value = gorgonia.F64(o.stats.Loss)
	return o.value, nil
}

func (o *lossOp) SymDiff(_ gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	dx := fused{name: o.name + ".dx", inputs: 2, shape: tensor.Shape{o.capacity, o.config.HiddenSize}}
	dx.out = dense(o.dx, dx.shape...)
	x, err := gorgonia.ApplyOp(&handedOn{dx}, out, grad)
	if err != nil || o.head.grad == nil {
		return gorgonia.Nodes{x, nil}, err
	}
	o.overwrite(o.head)
	w, err := gorgonia.ApplyOp(&handedOn{o.head.gradient(o.name, 2)}, out, grad)
	return gorgonia.Nodes{x, w}, err
}

// handedOn is a gradient that another op has made already.
type handedOn struct{ fused }

func (o *handedOn) Do(...gorgonia.Value) (gorgonia.Value, error) { return o.out, nil }
