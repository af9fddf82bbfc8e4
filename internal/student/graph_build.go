package student

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"stillhouse"
	"stillhouse/internal/kernel"
)

// A weight is a leaf of the graph: one parameter, or several that lie end to end in memory and are multiplied as one.
type weight struct {
	node          *gorgonia.Node
	name          string
	rows, columns int // a vector has rows only
	data          []float32
	grad          []float32 // nil in a graph without gradients
	places        []int     // of the parameters in the model
}

func (w *weight) shape() tensor.Shape {
	if w.columns == 0 {
		return tensor.Shape{w.rows}
	}
	return tensor.Shape{w.rows, w.columns}
}

// gradient begins an op that adds to the weight's gradient, which is its output.
func (w *weight) gradient(of string, inputs int) fused {
	return fused{name: of + ".d " + w.name, inputs: inputs, shape: w.shape(), out: dense(w.grad, w.shape()...)}
}

// embedding is the name of the table of tokens.
const embedding = "model.embed_tokens.weight"

// A builder makes the graph of a model. After an error its methods return nil and do nothing; err says what it was.
type builder struct {
	*shared
	model   *Model
	params  []*Param    // the model's and its adapter's
	grads   [][]float32 // by place in params, nil for what is not trained
	graph   *gorgonia.ExprGraph
	places  map[string]int
	leaves  gorgonia.Nodes
	trained map[*gorgonia.Node]bool // nodes that a trained parameter lies behind
	salt    int
	ops     int
	parts   int // adapted projections so far
	err     error
}

// newBuilder begins a graph; grads are the gradients of the trainable parameters, nil for a graph without.
func newBuilder(m *Model, tokens int, grads [][]float32, salt int, from *memory) *builder {
	c := m.Config
	b := &builder{
		shared: &shared{config: c, memory: from, capacity: tokens, overwritten: map[int]bool{}, heads: kernel.Heads{Query: c.NumAttentionHeads, KeyValue: c.NumKeyValueHeads, Dim: c.HeadDim}},
		model:  m, params: m.Params, grads: grads, graph: gorgonia.NewGraph(), places: map[string]int{}, trained: map[*gorgonia.Node]bool{}, salt: salt,
	}
	if a := m.Adapter; a != nil {
		b.params = slices.Concat(m.Params, a.Params)
		if grads != nil {
			b.grads = append(make([][]float32, len(m.Params)), grads...)
		}
	}
	b.rotation = kernel.NewRotation(tokens, c.Frequencies())
	for i, p := range b.params {
		b.places[p.Name] = i
	}
	return b
}

// name makes the name of the next op.
func (g *builder) name(kind string) string {
	g.ops++
	return fmt.Sprintf("%s %d.%d", kind, g.ops, g.salt)
}

func (g *builder) apply(op gorgonia.Op, in ...*gorgonia.Node) *gorgonia.Node {
	if g.err != nil {
		return nil
	}
	behind := make([]bool, len(in))
	for i, n := range in {
		behind[i] = g.trained[n]
	}
	if o, ok := op.(interface{ trainedInputs([]bool) }); ok {
		o.trainedInputs(behind)
	}
	var n *gorgonia.Node
	n, g.err = gorgonia.ApplyOp(op, in...)
	g.trained[n] = slices.Contains(behind, true)
	return n
}

// each is the answer of a SymDiff with one input.
func each(n *gorgonia.Node, err error) (gorgonia.Nodes, error) { return gorgonia.Nodes{n}, err }

// optional makes the leaves of parameters that only some families have, none when the first is not there.
func (g *builder) optional(names ...string) []*weight {
	if _, ok := g.places[names[0]]; !ok {
		return nil
	}
	return g.weights(names...)
}

// weights makes the leaves of parameters that are multiplied by the same input, one leaf where they lie end to end.
func (g *builder) weights(names ...string) []*weight {
	var out []*weight
	last := -1
	for _, name := range names {
		place, ok := g.places[name]
		if !ok {
			g.err = stillhouse.Invalidf("model: parameter %s is missing: is the model complete?", name)
			return []*weight{{}}
		}
		p := g.params[place]
		w := &weight{name: name, rows: p.Shape[0], data: p.Data, places: []int{place}}
		if len(p.Shape) > 1 {
			w.columns = p.Shape[1]
		}
		if len(p.Data) != w.shape().TotalSize() {
			g.err = stillhouse.Invalidf("model: parameter %s has %d values, not those of its shape %v", name, len(p.Data), p.Shape)
			return []*weight{{}}
		}
		if g.grads != nil {
			w.grad = g.grads[place]
		}
		if n := len(out); n > 0 && place == last+1 && out[n-1].columns == w.columns && follows(out[n-1].data, w.data) && follows(out[n-1].grad, w.grad) {
			out[n-1].extend(w)
		} else {
			out = append(out, w)
		}
		last = place
	}
	for _, w := range out {
		w.node = gorgonia.NewTensor(g.graph, tensor.Float32, len(w.shape()), gorgonia.WithShape(w.shape()...),
			gorgonia.WithName(fmt.Sprintf("%s.%d", w.name, len(g.leaves))), gorgonia.WithValue(dense(w.data, w.shape()...)))
		g.leaves = append(g.leaves, w.node)
		g.trained[w.node] = w.grad != nil
	}
	return out
}

// follows says whether b begins in memory where a ends, so that a may be extended over it.
func follows(a, b []float32) bool {
	return cap(a)-len(a) >= len(b) && len(b) > 0 && &a[:len(a)+1][len(a)] == &b[0] || a == nil && b == nil
}

func (w *weight) extend(by *weight) {
	w.name += "+" + by.name
	w.rows += by.rows
	w.places = append(w.places, by.places...)
	w.data = w.data[:len(w.data)+len(by.data)]
	if w.grad != nil {
		w.grad = w.grad[:len(w.grad)+len(by.grad)]
	}
}

// overwrite notes that the first product of a micro-batch overwrites the weight's gradient.
func (s *shared) overwrite(w *weight) {
	for _, p := range w.places {
		s.overwritten[p] = true
	}
}

func (g *builder) weight(name string) *weight { return g.weights(name)[0] }

// states builds the graph up to the last norm and returns the states after the embedding, after each layer but the last,
// and after the last norm.
func (g *builder) states() []*gorgonia.Node {
	x := &stream{node: g.embed(g.weight(embedding))}
	var out []*gorgonia.Node
	for l := range g.config.NumHiddenLayers {
		out = append(out, x.node)
		x = g.layer(x, fmt.Sprintf("model.layers.%d.", l))
		if g.err != nil {
			return nil
		}
	}
	return append(out, g.norm(x, g.weight("model.norm.weight")))
}

func (g *builder) layer(x *stream, name string) *stream {
	normed := g.norm(x, g.weight(name+"input_layernorm.weight"))
	a := name + "self_attn."
	qkv := g.linear(normed, nil, g.weights(a+"q_proj.weight", a+"k_proj.weight", a+"v_proj.weight"),
		g.optional(a+"q_proj.bias", a+"k_proj.bias", a+"v_proj.bias")) // Qwen2
	if q := g.optional(a + "q_norm.weight"); q != nil { // Qwen3
		qkv = g.headNorm(qkv, q[0], g.weight(a+"k_norm.weight"))
	}
	mixed := g.attention(g.rope(qkv))
	x = &stream{node: g.linear(mixed, x, g.weights(a+"o_proj.weight"), g.optional(a+"o_proj.bias"))}

	normed = g.norm(x, g.weight(name+"post_attention_layernorm.weight"))
	gated := g.swiglu(g.linear(normed, nil, g.weights(name+"mlp.gate_proj.weight", name+"mlp.up_proj.weight"),
		g.optional(name+"mlp.gate_proj.bias", name+"mlp.up_proj.bias")))
	return &stream{node: g.linear(gated, x, g.weights(name+"mlp.down_proj.weight"), g.optional(name+"mlp.down_proj.bias"))}
}

// headWeight is the output head: the embedding again where it is tied, as a leaf of its own over the same memory, so that
// the two gradients meet in one buffer and are never added as matrices.
func (g *builder) headWeight() *weight {
	if g.config.TieWordEmbeddings {
		return g.weight(embedding)
	}
	return g.weight("lm_head.weight")
}

// collision says whether two nodes have one hash: gorgonia's compiler takes such nodes for one and the same.
func (g *builder) collision() bool {
	seen := map[uint32]bool{}
	for _, n := range g.graph.AllNodes() {
		if seen[n.Hashcode()] {
			return true
		}
		seen[n.Hashcode()] = true
	}
	return false
}

// trainedLeaves are the leaves whose gradients are wanted.
func (g *builder) trainedLeaves() (out gorgonia.Nodes) {
	for _, n := range g.leaves {
		if g.trained[n] {
			out = append(out, n)
		}
	}
	return out
}
