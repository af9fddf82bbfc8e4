package student

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"stillhouse/internal/kernel"
)

// linearOp multiplies by one or more weights whose results lie side by side, with biases where the checkpoint has them,
// and adds the residual stream where there is one:
// (x [tokens, in], W [out, in]..., b [out]..., residual [tokens, Σout]?) → [tokens, Σout].
type linearOp struct {
	activation
	*shared
	weights  []*weight
	biases   []*weight // none, or over as many columns as weights
	of       *stream   // the state that is added, or nil
	in, wide int
}

func (g *builder) linear(x *gorgonia.Node, of *stream, weights, biases []*weight) *gorgonia.Node {
	if parts := g.adapted(weights); parts != nil {
		return g.adaptedLinear(x, of, weights, biases, parts)
	}
	o := &linearOp{shared: g.shared, weights: weights, biases: biases, of: of, in: weights[0].columns}
	nodes := gorgonia.Nodes{x}
	for _, w := range weights {
		o.wide += w.rows
		nodes = append(nodes, w.node)
	}
	for _, b := range biases {
		nodes = append(nodes, b.node)
	}
	if of != nil {
		nodes = append(nodes, of.node)
	}
	o.activation = newActivation(g.name("linear"), len(nodes), g.capacity, o.wide)
	return g.apply(o, nodes...)
}

func (o *linearOp) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, y, rows := floats(in[0]), floats(o.out), o.rows()
	var beta float32
	if o.of != nil {
		beta = 1
		copy(y[:rows*o.wide], floats(in[len(in)-1]))
	}
	at := 0
	for _, w := range o.weights {
		kernel.Gemm(false, true, rows, w.rows, o.in, 1, x, o.in, w.data, o.in, beta, y[at:], o.wide)
		at += w.rows
	}
	at = 0
	for _, b := range o.biases {
		kernel.AddRows(y[at:], b.data, rows, o.wide)
		at += b.rows
	}
	return o.out, nil
}

// DiffWRT leaves out the residual: see stream.
func (o *linearOp) DiffWRT(n int) []bool {
	out := o.activation.DiffWRT(n)
	out[n-1] = out[n-1] && o.of == nil
	return out
}

func (o *linearOp) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	// The weights first: x is read for the last time here, its gradient may then take its memory.
	out := make(gorgonia.Nodes, 1, len(in))
	x := in[0]
	if o.weights[0].grad != nil {
		var err error
		if x, err = inBackward(x, grad); err != nil {
			return nil, err
		}
	}
	at := 0
	for i, w := range o.weights {
		if w.grad == nil {
			out = append(out, nil)
			at += w.rows
			continue
		}
		o.overwrite(w)
		dw, err := gorgonia.ApplyOp(&linearWeightGradient{w.gradient(fmt.Sprint(o.name, ".", i), 2), o, w, at}, grad, x)
		if err != nil {
			return nil, err
		}
		out = append(out, dw)
		at += w.rows
	}
	at = 0
	for i, b := range o.biases {
		if b.grad == nil {
			out = append(out, nil)
			at += b.rows
			continue
		}
		db, err := gorgonia.ApplyOp(&linearBiasGradient{b.gradient(fmt.Sprint(o.name, ".", i), 1), o, b, at}, grad)
		if err != nil {
			return nil, err
		}
		out = append(out, db)
		at += b.rows
	}
	if o.trained[0] {
		nodes := append(gorgonia.Nodes{grad}, in[1:1+len(o.weights)]...)
		dx, err := gorgonia.ApplyOp(&linearInputGradient{newActivation(o.name+".dx", len(nodes), o.capacity, o.in), o}, nodes...)
		if err != nil {
			return nil, err
		}
		out[0] = dx
	}
	return o.of.pass(out, grad), nil
}

// linearInputGradient is (dy [tokens, Σout], W...) → dx [tokens, in].
type linearInputGradient struct {
	activation
	of *linearOp
}

func (o *linearInputGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	f, dy, at := o.of, floats(in[0]), 0
	for i, w := range f.weights {
		kernel.Gemm(false, false, f.rows(), f.in, w.rows, 1, dy[at:], f.wide, w.data, f.in, float32(min(i, 1)), floats(o.out), f.in)
		at += w.rows
	}
	return o.out, nil
}

// linearWeightGradient is (dy [tokens, Σout], x [tokens, in]) → [out, in], added to the weight's gradient.
type linearWeightGradient struct {
	fused
	of *linearOp
	w  *weight
	at int // first column of dy
}

func (o *linearWeightGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	f := o.of
	kernel.Gemm(true, false, o.w.rows, f.in, f.rows(), 1, floats(in[0])[o.at:], f.wide, floats(in[1]), f.in, f.beta(), o.w.grad, f.in)
	return o.out, nil
}

// linearBiasGradient is (dy [tokens, Σout]) → [out], added to the bias's gradient.
type linearBiasGradient struct {
	fused
	of   *linearOp
	bias *weight
	at   int
}

func (o *linearBiasGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	kernel.SumRows(floats(in[0])[o.at:], o.bias.grad, o.of.rows(), o.of.wide)
	return o.out, nil
}
