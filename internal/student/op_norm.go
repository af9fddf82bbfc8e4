package student

import (
	"gorgonia.org/gorgonia"

	"stillhouse/internal/kernel"
)

// A stream is one state of the residual stream. It has two readers, a norm and the sum that makes the next state, and
// gorgonia would add their two gradients by an op of its own that allocates its result. So the sum gives no gradient to
// the state it reads; it leaves it here, and the norm's gradient, which comes later, takes it in.
type stream struct {
	node *gorgonia.Node
	skip *gorgonia.Node // the gradient that goes past the norm, nil for the last state
}

// pass leaves the gradient of the sum that adds the state here, and ends the gradients of the sum's inputs with the one
// that it does not give. A nil stream is a sum that adds no state.
func (s *stream) pass(gradients gorgonia.Nodes, grad *gorgonia.Node) gorgonia.Nodes {
	if s == nil {
		return gradients
	}
	s.skip = grad
	return append(gradients, nil)
}

// normOp is RMSNorm: (x [tokens, H], w [H]) → [tokens, H].
type normOp struct {
	activation
	*shared
	of   *stream
	w    *weight
	rstd []float32
}

func (g *builder) norm(x *stream, w *weight) *gorgonia.Node {
	n := g.config.HiddenSize
	return g.apply(&normOp{newActivation(g.name("norm"), 2, g.capacity, n), g.shared, x, w, g.memory.floats(g.capacity)}, x.node, w.node)
}

func (o *normOp) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	kernel.RMSNorm(floats(in[0]), o.w.data, float32(o.config.RMSNormEps), floats(o.out), o.rstd, o.rows(), o.config.HiddenSize)
	return o.out, nil
}

func (o *normOp) again(grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(&normOp{newActivation(o.name+".again", 3, o.capacity, o.config.HiddenSize), o.shared, o.of, o.w, o.rstd}, o.of.node, o.w.node, grad)
}

func (o *normOp) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	out := make(gorgonia.Nodes, 2)
	var err error
	if o.w.grad != nil {
		if out[1], err = gorgonia.ApplyOp(&normWeightGradient{o.w.gradient(o.name, 2), o}, in[0], grad); err != nil {
			return nil, err
		}
	}
	if o.trained[0] {
		nodes := gorgonia.Nodes{in[0], in[1], grad}
		if o.of.skip != nil {
			nodes = append(nodes, o.of.skip)
		}
		out[0], err = gorgonia.ApplyOp(&normInputGradient{newActivation(o.name+".dx", len(nodes), o.capacity, o.config.HiddenSize), o}, nodes...)
	}
	return out, err
}

// normInputGradient is (x, w, dy [tokens, H], skip [tokens, H] where there is one) → dx [tokens, H].
type normInputGradient struct {
	activation
	of *normOp
}

// takesOver is skip, which is added row by row.
func (o *normInputGradient) takesOver() int {
	if o.inputs == 4 {
		return 3
	}
	return -1
}

func (o *normInputGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	var skip []float32
	if len(in) == 4 {
		skip = floats(in[3])
	}
	f := o.of
	kernel.RMSNormInputGradient(floats(in[0]), f.w.data, f.rstd, floats(in[2]), skip, floats(o.out), f.rows(), f.config.HiddenSize)
	return o.out, nil
}

// normWeightGradient is (x, dy [tokens, H]) → [H], added to the weight's gradient.
type normWeightGradient struct {
	fused
	of *normOp
}

func (o *normWeightGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	f := o.of
	kernel.RMSNormWeightGradient(floats(in[0]), f.rstd, floats(in[1]), f.w.grad, f.rows(), f.config.HiddenSize)
	return o.out, nil
}
