package student

import (
	"fmt"
	"syscall"
	"unsafe"

	"gorgonia.org/gorgonia"

	"stillhouse"
	"stillhouse/internal/kernel"
)

// A Footprint is the memory that training a model takes, in bytes.
type Footprint struct {
	Parameters  int64
	Gradients   int64
	Optimiser   int64 // AdamW's two means of what is trained
	Activations int64 // with all working memory of the largest micro-batch
}

// Sum is all of it.
func (f Footprint) Sum() int64 { return f.Parameters + f.Gradients + f.Optimiser + f.Activations }

// Measure is the memory that training m takes with micro-batches of at most tokens tokens, whose rows are at most longest
// tokens long. The graph is built as for a training, on addresses without memory behind them; so the parameters of m
// need no data.
func Measure(m *Model, tokens, longest int) (f Footprint, err error) {
	if tokens < 1 {
		return f, stillhouse.Invalidf("graph: %d tokens a micro-batch: at least 1 is needed", tokens)
	}
	paper := &memory{paper: true}
	defer paper.close()
	without := *m
	without.Params = make([]*Param, len(m.Params))
	for i, data := range paper.slab(m.Params) {
		p := *m.Params[i]
		p.Data = data
		without.Params[i] = &p
		f.Parameters += 4 * int64(len(data))
	}
	if a := m.Adapter; a != nil {
		for _, p := range a.Params {
			f.Parameters += 4 * int64(p.Size())
		}
	}
	g := &Graph{model: &without}
	g.grads = paper.slab(g.Trainable())
	for _, d := range g.grads {
		f.Gradients += 4 * int64(len(d))
	}
	f.Optimiser = 2 * f.Gradients
	before := paper.taken
	b, _, err := g.build(tokens, paper)
	if err != nil {
		return f, fmt.Errorf("measuring the training graph: %w", err)
	}
	if paper.err != nil {
		return f, fmt.Errorf("measuring the training graph: %w", paper.err)
	}
	f.Activations = paper.taken - before + kernel.AttentionScratchBytes(b.heads, longest, tokens) + adapterScratchBytes(b.graph, tokens)
	return f, nil
}

// memory is where a graph's buffers come from.
type memory struct {
	taken int64 // bytes
	paper bool  // addresses only: touching them ends the process
	maps  [][]byte
	err   error
}

// floats is a buffer of n zeros.
func (m *memory) floats(n int) []float32 {
	m.taken += 4 * int64(n)
	if !m.paper || n == 0 {
		return kernel.Floats(n)
	}
	b, err := syscall.Mmap(-1, 0, 4*n, syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		m.err = fmt.Errorf("reserving addresses for %d MiB: %w", n>>18, err)
		return make([]float32, n)
	}
	m.maps = append(m.maps, b)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

func (m *memory) close() {
	for _, b := range m.maps {
		if err := syscall.Munmap(b); err != nil && m.err == nil {
			m.err = err
		}
	}
	m.maps = nil
}

// slab takes one buffer for each parameter, end to end: parameters that are multiplied by the same input lie side by side
// in it and are multiplied as one.
func (m *memory) slab(params []*Param) [][]float32 {
	total := 0
	for _, p := range params {
		total += p.Size()
	}
	all := m.floats(total)
	out := make([][]float32, len(params))
	for i, p := range params {
		n := p.Size()
		out[i], all = all[:n], all[n:]
	}
	return out
}

// slab is [memory.slab] in memory of its own.
func slab(params []*Param) [][]float32 { return new(memory).slab(params) }

// allocate gives parameters their data, all zeros.
func allocate(params []*Param) {
	for i, data := range slab(params) {
		params[i].Data = data
	}
}

// adapterScratchBytes is the size that the scratch of the adapted ops of a graph grows to.
func adapterScratchBytes(graph *gorgonia.ExprGraph, tokens int) int64 {
	var h, x, u, du int // columns
	for _, n := range graph.AllNodes() {
		o, ok := n.Op().(*adaptedOp)
		if !ok {
			continue
		}
		h = max(h, o.rank)
		if o.dropout > 0 {
			x = max(x, 2*o.in)
		}
		if o.dora && o.dropout == 0 {
			u = max(u, o.wide)
		}
		for _, p := range o.parts {
			if o.dora {
				u, du = max(u, p.out), max(du, p.out)
			}
		}
	}
	return 4 * int64(tokens) * int64(h+x+u+du)
}
