package student

import (
	"gorgonia.org/gorgonia"

	"stillhouse/internal/kernel"
)

// swigluOp is (gate and up side by side [tokens, 2F]) → silu(gate)·up [tokens, F].
type swigluOp struct {
	activation
	*shared
	of *gorgonia.Node // gate and up
}

func (g *builder) swiglu(gateUp *gorgonia.Node) *gorgonia.Node {
	return g.apply(&swigluOp{newActivation(g.name("swiglu"), 1, g.capacity, g.config.IntermediateSize), g.shared, gateUp}, gateUp)
}

func (o *swigluOp) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	kernel.SwiGLU(floats(in[0]), floats(o.out), o.step.rows(), o.config.IntermediateSize)
	return o.out, nil
}

func (o *swigluOp) again(grad *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(&swigluOp{newActivation(o.name+".again", 2, o.capacity, o.config.IntermediateSize), o.shared, o.of}, o.of, grad)
}

func (o *swigluOp) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return each(gorgonia.ApplyOp(&swigluGradient{newActivation(o.name+".dx", 2, o.capacity, 2*o.config.IntermediateSize), o}, in[0], grad))
}

// swigluGradient is (gate and up, dy [tokens, F]) → [tokens, 2F].
type swigluGradient struct {
	activation
	of *swigluOp
}

// takesOver is the memory of gate and up: each element is read before it is written.
func (o *swigluGradient) takesOver() int { return 0 }

func (o *swigluGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	kernel.SwiGLUGradient(floats(in[0]), floats(in[1]), floats(o.out), o.of.step.rows(), o.of.config.IntermediateSize)
	return o.out, nil
}
