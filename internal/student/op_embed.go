package student

import (
	"gorgonia.org/gorgonia"

	"stillhouse/internal/kernel"
)

// embedOp looks the tokens up: (table [V, H]) → [tokens, H].
type embedOp struct {
	activation
	*shared
	table *weight
}

func (g *builder) embed(table *weight) *gorgonia.Node {
	return g.apply(&embedOp{newActivation(g.name("embed"), 1, g.capacity, table.columns), g.shared, table}, table.node)
}

func (o *embedOp) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	kernel.Embed(floats(in[0]), o.tokens, floats(o.out), o.table.columns)
	return o.out, nil
}

func (o *embedOp) DiffWRT(n int) []bool { return all(n) }

func (o *embedOp) SymDiff(_ gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return each(gorgonia.ApplyOp(&embedGradient{o.table.gradient(o.name, 1), o}, grad))
}

// embedGradient adds the rows of the gradient to those of the table's: ([tokens, H]) → [V, H].
type embedGradient struct {
	fused
	of *embedOp
}

func (o *embedGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	kernel.EmbedGradient(floats(in[0]), o.of.tokens, o.of.table.grad, o.of.table.columns)
	return o.out, nil
}
