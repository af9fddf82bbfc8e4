package student

import (
	"slices"

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

func (o *embedOp) SymDiff(_ gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	return each(gorgonia.ApplyOp(&embedGradient{o.table.gradient(o.name, 1), o}, grad))
}

// embedGradient adds the rows of the gradient to those of the table's: ([tokens, H]) → [V, H].
//
// Where the configuration has a padding token, looking it up has no gradient: transformers makes the embedding with
// torch's padding_idx, and that counts where a turn ends with that very token too. A tied head's gradient stays.
type embedGradient struct {
	fused
	of *embedOp
}

func (o *embedGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	grad, n := o.of.table.grad, o.of.table.columns
	var padding, kept []float32
	if id := o.of.config.PadTokenID; id >= 0 && id < o.of.config.VocabSize {
		padding = grad[id*n : (id+1)*n]
		kept = slices.Clone(padding)
	}
	kernel.EmbedGradient(floats(in[0]), o.of.tokens, grad, n)
	copy(padding, kept)
	return o.out, nil
}
