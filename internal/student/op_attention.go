package student

import (
	"gorgonia.org/gorgonia"

	"stillhouse/internal/kernel"
)

// ropeOp turns queries and keys by their positions: (qkv [tokens, Q+2·KV heads × dim]) → the same, in place where it can.
type ropeOp struct {
	activation
	*shared
	back bool
}

func (g *builder) rope(qkv *gorgonia.Node) *gorgonia.Node {
	return g.apply(&ropeOp{newActivation(g.name("rope"), 1, g.capacity, g.heads.Width()), g.shared, false}, qkv)
}

func (o *ropeOp) takesOver() int { return 0 }

func (o *ropeOp) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, y, width := floats(in[0]), floats(o.out), o.heads.Width()
	if &x[0] != &y[0] {
		copy(y[:o.rows()*width], x)
	}
	kernel.RoPE(y, width, o.heads.Query+o.heads.KeyValue, o.rotation, o.positions, o.back)
	return o.out, nil
}

// SymDiff turns the gradient back: a rotation's transpose is its inverse.
func (o *ropeOp) SymDiff(_ gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return each(gorgonia.ApplyOp(&ropeOp{newActivation(o.name+".dx", 1, o.capacity, o.heads.Width()), o.shared, !o.back}, grad))
}

// attentionOp is causal attention within each row: (qkv [tokens, Q+2·KV heads × dim]) → [tokens, Q heads × dim].
type attentionOp struct {
	activation
	*shared
	lse []float32 // [Q heads, capacity], for the gradient
}

func (g *builder) attention(qkv *gorgonia.Node) *gorgonia.Node {
	h := g.heads
	return g.apply(&attentionOp{newActivation(g.name("attention"), 1, g.capacity, h.Query*h.Dim), g.shared, g.memory.floats(h.Query * g.capacity)}, qkv)
}

func (o *attentionOp) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	kernel.Attention(o.heads, o.lengths, floats(in[0]), floats(o.out), o.lse, o.capacity, &o.scratch)
	return o.out, nil
}

func (o *attentionOp) SymDiff(in gorgonia.Nodes, out, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return each(gorgonia.ApplyOp(&attentionGradient{newActivation(o.name+".dx", 3, o.capacity, o.heads.Width()), o}, in[0], out, grad))
}

// attentionGradient is (qkv, o, do) → dqkv.
type attentionGradient struct {
	activation
	of *attentionOp
}

func (o *attentionGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	f := o.of
	kernel.AttentionGradient(f.heads, f.lengths, floats(in[0]), floats(in[1]), f.lse, f.capacity, &f.scratch, floats(in[2]), floats(o.out))
	return o.out, nil
}
