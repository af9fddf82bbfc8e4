package student

import (
	"gorgonia.org/gorgonia"
)

// plan gives every activation its memory: in the order in which gorgonia will run the nodes, an output takes the memory
// of an input that dies there, where its op allows, or a free buffer of its size, or a new one. Nodes in keep are never
// overwritten.
func plan(graph *gorgonia.ExprGraph, keep gorgonia.Nodes, from *memory) error {
	order, err := gorgonia.Sort(graph) // as its compiler does: roots first
	if err != nil {
		return err
	}
	type buffer struct {
		memory []float32
		last   int // place in the order of its last reader
	}
	at := make(map[int64]*buffer, len(order))
	last := make(map[int64]int, len(order))
	for i := range order {
		last[order[i].ID()] = max(last[order[i].ID()], len(order)-1-i)
		for _, child := range children(graph, order[i]) {
			last[child.ID()] = max(last[child.ID()], len(order)-1-i)
		}
	}
	for _, n := range keep {
		last[n.ID()] = len(order)
	}
	free := map[int][][]float32{}
	for i := range order {
		n := order[len(order)-1-i]
		if op, ok := n.Op().(planned); ok {
			var b *buffer
			if t := op.takesOver(); t >= 0 {
				if from := at[children(graph, n)[t].ID()]; from != nil && from.last == i && len(from.memory) == op.size() {
					b = from
				}
			}
			if b == nil {
				b = &buffer{}
				if f := free[op.size()]; len(f) > 0 {
					b.memory, free[op.size()] = f[len(f)-1], f[:len(f)-1]
				} else {
					b.memory = from.floats(op.size())
				}
			}
			b.last = last[n.ID()]
			at[n.ID()] = b
			op.place(b.memory)
		}
		released := map[*buffer]bool{}
		for _, child := range append(children(graph, n), n) {
			if c := at[child.ID()]; c != nil && c.last <= i && !released[c] {
				released[c] = true
				free[len(c.memory)] = append(free[len(c.memory)], c.memory)
			}
		}
	}
	return nil
}

func children(graph *gorgonia.ExprGraph, n *gorgonia.Node) gorgonia.Nodes {
	var out gorgonia.Nodes
	for it := graph.From(n.ID()); it.Next(); {
		out = append(out, it.Node().(*gorgonia.Node))
	}
	return out
}
