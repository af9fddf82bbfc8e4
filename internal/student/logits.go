package student

import (
	"fmt"

	"gorgonia.org/gorgonia"
)

// Logits are the logits of every token of a batch, [tokens, V]. Labels are not looked at.
func (m *Model) Logits(b Batch) ([]float32, error) {
	out, err := m.forward(b, func(g *builder, states []*gorgonia.Node) []*gorgonia.Node {
		return []*gorgonia.Node{g.linear(states[len(states)-1], nil, []*weight{g.headWeight()}, nil)}
	})
	if err != nil {
		return nil, fmt.Errorf("computing logits: %w", err)
	}
	return out[0], nil
}

// HiddenStates are the states of every token of a batch, each [tokens, H]: after the embedding, after each layer but the
// last, and after the last layer and the final norm, as transformers' output_hidden_states gives them.
func (m *Model) HiddenStates(b Batch) ([][]float32, error) {
	out, err := m.forward(b, func(_ *builder, states []*gorgonia.Node) []*gorgonia.Node { return states })
	if err != nil {
		return nil, fmt.Errorf("computing hidden states: %w", err)
	}
	return out, nil
}

// forward builds a graph without gradients that has room for b, runs it, and returns the values of the nodes that want
// chooses.
func (m *Model) forward(b Batch, want func(g *builder, states []*gorgonia.Node) []*gorgonia.Node) ([][]float32, error) {
	b.Labels = nil
	for salt := 0; ; salt++ {
		g := newBuilder(m, max(1, len(b.Tokens)), nil, salt, new(memory))
		if err := g.read(b, m.Config, len(b.Tokens)); err != nil {
			return nil, err
		}
		states := g.states()
		if g.err != nil {
			return nil, g.err
		}
		wanted := want(g, states)
		if g.err != nil {
			return nil, g.err
		}
		if g.collision() {
			continue
		}
		if err := plan(g.graph, wanted, g.memory); err != nil {
			return nil, err
		}
		vm := gorgonia.NewTapeMachine(g.graph)
		defer vm.Close()
		if len(b.Tokens) > 0 {
			if err := vm.RunAll(); err != nil {
				return nil, err
			}
		}
		out := make([][]float32, len(wanted))
		for i, n := range wanted {
			out[i] = []float32{}
			if len(b.Tokens) > 0 {
				out[i] = floats(n.Value())
			}
		}
		return out, nil
	}
}
