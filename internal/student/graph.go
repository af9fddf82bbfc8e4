package student

import (
	"errors"
	"fmt"
	"runtime"

	"gorgonia.org/gorgonia"

	"stillhouse"
	"stillhouse/internal/kernel"
)

// A Graph trains a model: gorgonia has built and differentiated it once, for micro-batches of any shape up to a number of
// tokens, and runs it. A Graph is for one goroutine.
type Graph struct {
	model *Model
	*shared
	grads       [][]float32
	head        *lossOp
	train, eval gorgonia.VM
}

// NewGraph builds the training graph of m for micro-batches of at most tokens tokens. Parameters are used in place: an
// optimiser updates Trainable()[i].Data, whose memory must stay the same while the graph is in use. Its own memory is that
// of the gradients, about the size of what is trained, and of the activations, which grows with tokens. Where the model
// has an adapter, only that is trained: no gradient of the model's own parameters is computed, and the backward pass ends
// at the first adapter.
func NewGraph(m *Model, tokens int) (*Graph, error) {
	if tokens < 1 {
		return nil, stillhouse.Invalidf("graph: %d tokens a micro-batch: at least 1 is needed", tokens)
	}
	g := &Graph{model: m}
	g.grads = slab(g.Trainable())
	b, loss, err := g.build(tokens, new(memory))
	if err != nil {
		return nil, fmt.Errorf("building the training graph: %w", err)
	}
	g.shared, g.head = b.shared, loss.Op().(*lossOp)
	forward, places, err := gorgonia.CompileFunction(b.graph, b.leaves, gorgonia.Nodes{loss})
	if err != nil {
		return nil, fmt.Errorf("compiling the forward graph: %w", err)
	}
	g.train = gorgonia.NewTapeMachine(b.graph)
	g.eval = gorgonia.NewTapeMachine(b.graph, gorgonia.WithPrecompiled(forward, places))
	return g, nil
}

// build makes the graph and its gradients. gorgonia tells nodes apart by a hash of 32 bits: should two be the same, it is
// built again with other names.
func (g *Graph) build(tokens int, from *memory) (*builder, *gorgonia.Node, error) {
	begun := *from
	for salt := 0; ; salt++ {
		from.taken = begun.taken
		b := newBuilder(g.model, tokens, g.grads, salt, from)
		states := b.states()
		if b.err != nil {
			return nil, nil, b.err
		}
		loss := b.loss(states[len(states)-1], b.headWeight())
		if b.err != nil {
			return nil, nil, b.err
		}
		if _, err := gorgonia.Grad(loss, b.trainedLeaves()...); err != nil {
			return nil, nil, err
		}
		if b.collision() {
			continue
		}
		err := plan(b.graph, nil, from)
		return b, loss, err
	}
}

// Accumulate runs forward and backward over one micro-batch and adds scale × dΣCE/dθ to the gradients, where ΣCE is the
// summed cross-entropy of the batch's labels. A batch without labels adds nothing. A batch that does not fit the model or
// the graph is an invalid error and leaves the gradients as they were.
func (g *Graph) Accumulate(b Batch, scale float64) (Stats, error) {
	return g.run(g.train, b, true, scale)
}

// AccumulateRows is Accumulate with the sums of each row: for micro-batches that are computed together and logged apart.
func (g *Graph) AccumulateRows(b Batch, scale float64) ([]Stats, error) {
	if _, err := g.Accumulate(b, scale); err != nil {
		return nil, err
	}
	return g.byRow, nil
}

// UseDFT makes the loss, of Accumulate and Evaluate alike, that of dynamic fine-tuning: each label's cross-entropy is
// multiplied by the label's probability, which counts as a constant (Wu et al., 2025, arXiv 2508.05629; TRL's
// loss_type "dft").
func (g *Graph) UseDFT(on bool) { g.dft = on }

// Evaluate runs forward only.
func (g *Graph) Evaluate(b Batch) (Stats, error) {
	return g.run(g.eval, b, false, 0)
}

// EvaluateRows is Evaluate with the sums of each row.
func (g *Graph) EvaluateRows(b Batch) ([]Stats, error) {
	if _, err := g.Evaluate(b); err != nil {
		return nil, err
	}
	return g.byRow, nil
}

func (g *Graph) run(vm gorgonia.VM, b Batch, gradients bool, scale float64) (Stats, error) {
	if vm == nil {
		return Stats{}, errors.New("graph: used after Close")
	}
	g.gradients, g.scale = gradients, float32(scale)
	if err := g.read(b, g.config, g.capacity); err != nil {
		return Stats{}, err
	}
	if len(g.labels) == 0 {
		return g.stats, nil
	}
	vm.Reset()
	if err := vm.RunAll(); err != nil {
		return Stats{}, fmt.Errorf("running the graph: %w", err)
	}
	if gradients {
		g.fresh = false
	}
	return g.stats, nil
}

// Trainable are the parameters that the graph has gradients of, which an optimiser may change: the adapter's where the
// model has one, else all of the model's.
func (g *Graph) Trainable() []*Param {
	if a := g.model.Adapter; a != nil {
		return a.Params
	}
	return g.model.Params
}

// Seed sets the seed of the dropout of the micro-batches that follow: the same seed and batch give the same gradients.
func (g *Graph) Seed(seed uint64) { g.seed = seed }

// Gradients are the gradients of [Graph.Trainable], by place in it, the same buffers all along. That of a tied embedding
// holds both parts.
func (g *Graph) Gradients() [][]float32 {
	if g.fresh {
		g.fresh = false
		g.clear(false) // no micro-batch has overwritten them
	}
	return g.grads
}

// ZeroGradients sets the gradients to zero. Those that products overwrite in the next micro-batch are left as they are,
// which spares a pass over memory.
func (g *Graph) ZeroGradients() {
	g.fresh = true
	g.clear(true)
}

// clear sets gradients to zero: those that are only added to, or those that products overwrite.
func (g *Graph) clear(added bool) {
	for i, d := range g.grads {
		if g.overwritten[i] != added {
			kernel.Parallel(len(d), 1<<17, func(from, to int) { clear(d[from:to]) })
		}
	}
}

// Close frees the graph's memory: the next collection takes it. The finalizers that gorgonia's machines have, which do
// nothing without CUDA, would keep it until the one after that.
func (g *Graph) Close() error {
	if g.train == nil {
		return nil
	}
	runtime.SetFinalizer(g.train, nil)
	runtime.SetFinalizer(g.eval, nil)
	err := g.train.Close()
	if e := g.eval.Close(); err == nil {
		err = e
	}
	*g = Graph{}
	return err
}
