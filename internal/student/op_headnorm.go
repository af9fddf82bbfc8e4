package student

import (
	"gorgonia.org/gorgonia"

	"stillhouse/internal/kernel"
)

// headNormOp is the RMSNorm of each query's and each key's head that Qwen3 has before RoPE:
// (qkv [tokens, Q+2·KV heads × dim], query weight [dim], key weight [dim]) → the same shape, values as they were.
type headNormOp struct {
	activation
	*shared
	query, key *weight
	rstd       []float32 // [Q+KV heads, tokens]
}

func (g *builder) headNorm(qkv *gorgonia.Node, query, key *weight) *gorgonia.Node {
	h := g.heads
	o := &headNormOp{newActivation(g.name("headnorm"), 3, g.capacity, h.Width()), g.shared, query, key, g.memory.floats((h.Query + h.KeyValue) * g.capacity)}
	return g.apply(o, qkv, query.node, key.node)
}

// parts calls do for the queries and for the keys with their weight, number of heads, first column and first rstd.
func (o *headNormOp) parts(do func(w *weight, heads, column int, rstd []float32)) {
	h := o.heads
	do(o.query, h.Query, 0, o.rstd)
	do(o.key, h.KeyValue, h.Query*h.Dim, o.rstd[h.Query*o.step.rows():])
}

// values copies the columns of the values, which are not normed.
func (o *headNormOp) values(to, from []float32) {
	width, first := o.heads.Width(), (o.heads.Query+o.heads.KeyValue)*o.heads.Dim
	for t := range o.step.rows() {
		copy(to[t*width+first:(t+1)*width], from[t*width+first:(t+1)*width])
	}
}

func (o *headNormOp) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, y := floats(in[0]), floats(o.out)
	o.parts(func(w *weight, heads, column int, rstd []float32) {
		kernel.HeadNorm(x[column:], w.data, float32(o.config.RMSNormEps), y[column:], rstd, o.step.rows(), heads, o.heads.Width())
	})
	o.values(y, x)
	return o.out, nil
}

func (o *headNormOp) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := gorgonia.ApplyOp(&headNormGradient{newActivation(o.name+".dx", 2, o.capacity, o.heads.Width()), o}, in[0], grad)
	if err != nil {
		return nil, err
	}
	// The weights' gradients are made with dx; these nodes hand them on.
	if o.query.grad == nil {
		return gorgonia.Nodes{dx, nil, nil}, nil
	}
	dq, err := gorgonia.ApplyOp(&handedOn{o.query.gradient(o.name, 1)}, dx)
	if err != nil {
		return nil, err
	}
	dk, err := gorgonia.ApplyOp(&handedOn{o.key.gradient(o.name, 1)}, dx)
	return gorgonia.Nodes{dx, dq, dk}, err
}

// headNormGradient is (qkv, dy) → dx; it adds to the gradients of the two weights.
type headNormGradient struct {
	activation
	of *headNormOp
}

func (o *headNormGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, dy, dx, f := floats(in[0]), floats(in[1]), floats(o.out), o.of
	f.parts(func(w *weight, heads, column int, rstd []float32) {
		kernel.HeadNormGradient(x[column:], w.data, rstd, dy[column:], dx[column:], w.grad, f.step.rows(), heads, f.heads.Width())
	})
	f.values(dx, dy)
	return o.out, nil
}
