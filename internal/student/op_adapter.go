package student

import (
	"strings"

	"gorgonia.org/gorgonia"

	"stillhouse/internal/kernel"
)

// An adaptedPart is the adapter of one of the projections that a linear op multiplies by.
type adaptedPart struct {
	at, out   int // its columns in the op's output
	first, r  int // its columns in h
	scale     float32
	a, b      *Param
	da, db    []float32
	base      []float32 // W [out, in]
	salt      uint64    // of its dropout
	magnitude *Param    // of DoRA, else nil
	dm        []float32
	squares   []float64 // of the rows of W
	norms     []float32 // of the rows of W + scale·B·A, as of the last forward pass
	gain      []float32 // magnitude / norms
}

// adaptedOp is linearOp with low-rank adapters: to the columns of a projection it adds scale·B·A·drop(x), and with DoRA it
// multiplies them by magnitude / ‖W + scale·B·A‖, row by row of W, before the bias:
// (x [tokens, in], W..., b..., A..., B..., magnitude..., residual?) → [tokens, Σout]. W and b are frozen.
type adaptedOp struct {
	activation
	*shared
	weights, biases []*weight
	adapters        []*weight // A, B and magnitudes
	parts           []*adaptedPart
	of              *stream
	in, wide, rank  int
	dora            bool
	dropout         float64
	h               []float32 // [tokens, rank]: A·drop(x) of all parts side by side
	together        []float32 // A of all parts [rank, in] where they lie end to end, else nil
	dtogether       []float32
}

// adapterScratch is memory that the adapted ops of a graph use one after the other.
type adapterScratch struct{ dh, x, e, u, du []float32 }

// resize makes a buffer n long. Its contents are lost.
func resize(buffer *[]float32, n int) {
	if cap(*buffer) < n {
		*buffer = make([]float32, n)
	}
	*buffer = (*buffer)[:n]
}

// adapted finds the adapters of weights; nil when none has one.
func (g *builder) adapted(weights []*weight) (parts []*adaptedPart) {
	a := g.model.Adapter
	if a == nil || g.err != nil {
		return nil
	}
	at, first := 0, 0
	for _, w := range weights {
		row := 0
		for _, name := range strings.Split(w.name, "+") {
			rows := g.params[g.places[name]].Shape[0]
			module := strings.TrimSuffix(name, ".weight")
			if place, ok := g.places[adapterPrefix+module+suffixA]; ok {
				p := &adaptedPart{at: at, out: rows, first: first, base: w.data[row*w.columns : (row+rows)*w.columns], salt: uint64(g.parts)}
				p.a, p.b = g.params[place], g.params[g.places[adapterPrefix+module+suffixB]]
				p.r = p.a.Shape[0]
				p.scale = float32(a.Config.scaleOf(module))
				if place, ok := g.places[adapterPrefix+module+suffixMagnitude]; ok {
					p.magnitude = g.params[place]
					p.norms, p.gain = make([]float32, rows), make([]float32, rows)
					if !g.memory.paper {
						p.squares = squares(p.base, w.columns)
					}
				}
				g.parts++
				first += p.r
				parts = append(parts, p)
			}
			at += rows
			row += rows
		}
	}
	return parts
}

func (g *builder) adaptedLinear(x *gorgonia.Node, of *stream, weights, biases []*weight, parts []*adaptedPart) *gorgonia.Node {
	c := g.model.Adapter.Config
	o := &adaptedOp{shared: g.shared, weights: weights, biases: biases, parts: parts, of: of, in: weights[0].columns, dora: c.DoRA, dropout: c.Dropout}
	for _, w := range weights {
		o.wide += w.rows
	}
	var as []string
	for _, p := range parts {
		as = append(as, p.a.Name)
		o.rank += p.r
	}
	o.adapters = g.weights(as...)
	if len(o.adapters) == 1 {
		o.together, o.dtogether = o.adapters[0].data, o.adapters[0].grad
	}
	for _, p := range parts {
		o.adapters = append(o.adapters, g.weight(p.b.Name))
		if p.magnitude != nil {
			o.adapters = append(o.adapters, g.weight(p.magnitude.Name))
		}
		if g.grads != nil && g.err == nil {
			p.da, p.db = g.grads[g.places[p.a.Name]], g.grads[g.places[p.b.Name]]
			if p.magnitude != nil {
				p.dm = g.grads[g.places[p.magnitude.Name]]
			}
		}
	}
	nodes := gorgonia.Nodes{x}
	for _, list := range [][]*weight{weights, biases, o.adapters} {
		for _, w := range list {
			nodes = append(nodes, w.node)
		}
	}
	if of != nil {
		nodes = append(nodes, of.node)
	}
	o.h = g.memory.floats(g.capacity * o.rank)
	o.activation = newActivation(g.name("adapted"), len(nodes), g.capacity, o.wide)
	return g.apply(o, nodes...)
}

// dropping says whether this pass drops elements of A's input: only when it is trained.
func (o *adaptedOp) dropping() bool { return o.dropout > 0 && o.gradients }

func (p *adaptedPart) key(seed uint64) uint64 { return mix(seed + 0x9e3779b97f4a7c15*(p.salt+1)) }

// mix is the finaliser of splitmix64 (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (o *adaptedOp) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	x, y, rows := floats(in[0]), floats(o.out), o.rows()
	var beta float32
	if o.of != nil && !o.dora {
		beta = 1
		copy(y[:rows*o.wide], floats(in[len(in)-1]))
	}
	at := 0
	for _, w := range o.weights {
		kernel.Gemm(false, true, rows, w.rows, o.in, 1, x, o.in, w.data, o.in, beta, y[at:], o.wide)
		at += w.rows
	}
	if o.together != nil && !o.dropping() {
		kernel.Gemm(false, true, rows, o.rank, o.in, 1, x, o.in, o.together, o.in, 0, o.h, o.rank)
	}
	for _, p := range o.parts {
		o.add(p, x, y[p.at:], rows)
	}
	at = 0
	for _, b := range o.biases {
		kernel.AddRows(y[at:], b.data, rows, o.wide)
		at += b.rows
	}
	if o.of != nil && o.dora {
		kernel.Add(y, floats(in[len(in)-1]), rows*o.wide)
	}
	return o.out, nil
}

// add adds a part's adapter to its columns y, which hold W·x.
func (o *adaptedOp) add(p *adaptedPart, x, y []float32, rows int) {
	dropped := o.input(p, x, rows)
	h := o.h[p.first:]
	if o.together == nil || o.dropping() {
		kernel.Gemm(false, true, rows, p.r, o.in, 1, dropped, o.in, p.a.Data, o.in, 0, h, o.rank)
	}
	if !o.dora {
		kernel.Gemm(false, true, rows, p.out, p.r, p.scale, h, o.rank, p.b.Data, p.r, 1, y, o.wide)
		return
	}
	p.measure(o.in, &o.shared.adapters.du)
	if !o.dropping() {
		kernel.Gemm(false, true, rows, p.out, p.r, p.scale, h, o.rank, p.b.Data, p.r, 1, y, o.wide)
		kernel.ScaleColumns(y, o.wide, p.gain, 0, y, o.wide, rows, p.out)
		return
	}
	// W·x + (gain − 1)·W·drop(x) + gain·scale·B·A·drop(x), where the last two hold gain times what u is.
	u := o.product(p, dropped, rows)
	kernel.Gemm(false, true, rows, p.out, o.in, -1, dropped, o.in, p.base, o.in, 1, y, o.wide)
	kernel.AddScaledColumns(y, o.wide, p.gain, u, p.out, rows, p.out)
}

// input is what A multiplies: x, or x with elements dropped.
func (o *adaptedOp) input(p *adaptedPart, x []float32, rows int) []float32 {
	if !o.dropping() {
		return x
	}
	resize(&o.shared.adapters.x, rows*o.in)
	kernel.Dropout(x, o.shared.adapters.x, rows*o.in, o.dropout, p.key(o.seed), false)
	return o.shared.adapters.x
}

// product is u = (W + scale·B·A)·x [tokens, out], before DoRA's gain; h holds A·x.
func (o *adaptedOp) product(p *adaptedPart, x []float32, rows int) []float32 {
	resize(&o.shared.adapters.u, rows*p.out)
	u := o.shared.adapters.u
	kernel.Gemm(false, true, rows, p.out, o.in, 1, x, o.in, p.base, o.in, 0, u, p.out)
	kernel.Gemm(false, true, rows, p.out, p.r, p.scale, o.h[p.first:], o.rank, p.b.Data, p.r, 1, u, p.out)
	return u
}

// measure computes the lengths of the rows of W + scale·B·A, and the gain.
func (p *adaptedPart) measure(in int, scratch *[]float32) {
	rowNormsOf(p.norms, p.squares, p.base, p.a.Data, p.b.Data, in, p.r, float64(p.scale), scratch)
	for i, n := range p.norms {
		p.gain[i] = p.magnitude.Data[i] / n
	}
}

// DiffWRT leaves out the residual: see stream.
func (o *adaptedOp) DiffWRT(n int) []bool {
	out := o.activation.DiffWRT(n)
	out[n-1] = out[n-1] && o.of == nil
	return out
}

func (o *adaptedOp) SymDiff(in gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
	out := make(gorgonia.Nodes, 1+len(o.weights)+len(o.biases), len(in))
	// All gradients are made by one op: that of x where it is wanted, else that of the first adapter. The others hand on
	// what it made.
	x, err := inBackward(in[0], grad)
	if err != nil {
		return nil, err
	}
	var made *gorgonia.Node
	if o.trained[0] {
		if made, err = gorgonia.ApplyOp(&adaptedInputGradient{newActivation(o.name+".dx", 2, o.capacity, o.in), o}, grad, x); err != nil {
			return nil, err
		}
		out[0] = made
	}
	for _, w := range o.adapters {
		var node *gorgonia.Node
		if made == nil {
			node, err = gorgonia.ApplyOp(&adaptedGradient{w.gradient(o.name, 2), o}, grad, x)
			made = node
		} else {
			node, err = gorgonia.ApplyOp(&handedOn{w.gradient(o.name, 1)}, made)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, node)
	}
	return o.of.pass(out, grad), nil
}

// adaptedInputGradient is (dy [tokens, Σout], x [tokens, in]) → dx [tokens, in]; it adds to the gradients of the adapters.
type adaptedInputGradient struct {
	activation
	of *adaptedOp
}

// takesOver is x, which is read before dx is written.
func (o *adaptedInputGradient) takesOver() int { return 1 }

func (o *adaptedInputGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	dy := floats(in[0])
	o.of.adapterGradients(dy, floats(in[1]))
	o.of.inputGradient(dy, floats(o.out))
	return o.out, nil
}

// adaptedGradient is (dy [tokens, Σout], x [tokens, in]) → the gradient of the first adapter; it adds to that and to
// those of the others.
type adaptedGradient struct {
	fused
	of *adaptedOp
}

func (o *adaptedGradient) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	o.of.adapterGradients(floats(in[0]), floats(in[1]))
	return o.out, nil
}

// adapterGradients adds to the gradients of A, B and the magnitudes, and leaves the gradient of h in the scratch.
func (o *adaptedOp) adapterGradients(dy, x []float32) {
	rows, s := o.rows(), &o.shared.adapters
	resize(&s.dh, rows*o.rank)
	for _, p := range o.parts {
		du, ld := dy[p.at:], o.wide
		dropped := o.input(p, x, rows)
		if o.dora {
			// The norms are constants, as in section 4.3 of the paper: d magnitude = Σ dy·u / norm.
			sums := make([]float64, p.out)
			kernel.ColumnDots(du, ld, o.product(p, dropped, rows), p.out, sums, rows)
			for i, sum := range sums {
				p.dm[i] += float32(sum / float64(p.norms[i]))
			}
			resize(&s.du, rows*p.out)
			kernel.ScaleColumns(s.du, p.out, p.gain, 0, du, ld, rows, p.out)
			du, ld = s.du, p.out
		}
		h, dh := o.h[p.first:], s.dh[p.first:]
		kernel.Gemm(false, false, rows, p.r, p.out, p.scale, du, ld, p.b.Data, p.r, 0, dh, o.rank)
		kernel.Gemm(true, false, p.out, p.r, rows, p.scale, du, ld, h, o.rank, 1, p.db, p.r)
		if o.together == nil || o.dropping() {
			kernel.Gemm(true, false, p.r, o.in, rows, 1, dh, o.rank, dropped, o.in, 1, p.da, o.in)
		}
	}
	if o.together != nil && !o.dropping() {
		kernel.Gemm(true, false, o.rank, o.in, rows, 1, s.dh, o.rank, x, o.in, 1, o.dtogether, o.in)
	}
}

// inputGradient computes dx; the scratch holds the gradient of h.
func (o *adaptedOp) inputGradient(dy, dx []float32) {
	rows, s, at := o.rows(), &o.shared.adapters, 0
	scaled := dy
	if o.dora && !o.dropping() { // what reaches W has gone through the gain
		resize(&s.u, rows*o.wide)
		scaled = s.u
		copy(scaled, dy[:rows*o.wide])
		for _, p := range o.parts {
			kernel.ScaleColumns(scaled[p.at:], o.wide, p.gain, 0, dy[p.at:], o.wide, rows, p.out)
		}
	}
	for i, w := range o.weights {
		kernel.Gemm(false, false, rows, o.in, w.rows, 1, scaled[at:], o.wide, w.data, o.in, float32(min(i, 1)), dx, o.in)
		at += w.rows
	}
	switch {
	case o.dropping():
		for _, p := range o.parts {
			o.droppedGradient(p, dy[p.at:], dx)
		}
	case o.together != nil:
		kernel.Gemm(false, false, rows, o.in, o.rank, 1, s.dh, o.rank, o.together, o.in, 1, dx, o.in)
	default:
		for _, p := range o.parts {
			kernel.Gemm(false, false, rows, o.in, p.r, 1, s.dh[p.first:], o.rank, p.a.Data, o.in, 1, dx, o.in)
		}
	}
}

// droppedGradient adds to dx what comes through a part's dropped input.
func (o *adaptedOp) droppedGradient(p *adaptedPart, dy, dx []float32) {
	rows, s := o.rows(), &o.shared.adapters
	resize(&s.e, rows*o.in)
	kernel.Gemm(false, false, rows, o.in, p.r, 1, s.dh[p.first:], o.rank, p.a.Data, o.in, 0, s.e, o.in)
	if o.dora {
		resize(&s.du, rows*p.out)
		kernel.ScaleColumns(s.du, p.out, p.gain, -1, dy, o.wide, rows, p.out)
		kernel.Gemm(false, false, rows, o.in, p.out, 1, s.du, p.out, p.base, o.in, 1, s.e, o.in)
	}
	kernel.Dropout(s.e, dx, rows*o.in, o.dropout, p.key(o.seed), true)
}
