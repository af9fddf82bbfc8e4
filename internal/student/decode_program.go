package student

import (
	"fmt"

	"stillhouse/internal/kernel"
)

// operations lays out the weights and writes the model's forward pass as operations on them: up to the last norm, and the
// head's product.
func (d *decoder) operations(m *Model, t kernel.WeightType) (body []kernel.Op, last kernel.Op) {
	c, eps := d.config, float32(d.config.RMSNormEps)
	params := make(map[string][]float32, len(m.Params))
	for _, p := range m.Params {
		params[p.Name] = p.Data
	}
	pack := func(k int, names ...string) *kernel.Packed {
		matrices := make([][]float32, len(names))
		for i, n := range names {
			matrices[i] = params[n+".weight"]
		}
		return d.slab.Pack(t, k, matrices...)
	}
	vector := func(names ...string) kernel.Vector { // none unless the model has them
		parts := make([][]float32, len(names))
		for i, n := range names {
			parts[i] = params[n]
		}
		return d.slab.Vector(parts...)
	}
	// A product with Q8_0 takes rows that were rounded by the operation before it.
	round := func(w *kernel.Packed) bool { return w.Type() == kernel.Q8_0 }

	embed := pack(c.HiddenSize, "model.embed_tokens")
	head := embed
	d.embed = embed
	ops := []kernel.Op{{Kind: kernel.OpEmbed, Matrix: embed, Out: kernel.BufferX}}
	for l := range c.NumHiddenLayers {
		layer := fmt.Sprintf("model.layers.%d.", l)
		a, f := layer+"self_attn.", layer+"mlp."
		qkv := pack(c.HiddenSize, a+"q_proj", a+"k_proj", a+"v_proj")
		o := pack(c.NumAttentionHeads*c.HeadDim, a+"o_proj")
		gateUp := pack(c.HiddenSize, f+"gate_proj", f+"up_proj")
		down := pack(c.IntermediateSize, f+"down_proj")
		ops = append(ops,
			kernel.Op{Kind: kernel.OpNorm, In: kernel.BufferX, Out: kernel.BufferNormed, A: vector(layer + "input_layernorm.weight"), Eps: eps, Round: round(qkv)},
			kernel.Op{Kind: kernel.OpProduct, In: kernel.BufferNormed, Out: kernel.BufferQKV, Matrix: qkv, A: vector(a+"q_proj.bias", a+"k_proj.bias", a+"v_proj.bias")},
			kernel.Op{Kind: kernel.OpRope, In: kernel.BufferQKV, Layer: l, A: vector(a + "q_norm.weight"), B: vector(a + "k_norm.weight"), Eps: eps},
			kernel.Op{Kind: kernel.OpAttend, In: kernel.BufferQKV, Out: kernel.BufferAttended, Layer: l})
		if round(o) {
			ops = append(ops, kernel.Op{Kind: kernel.OpRound, In: kernel.BufferAttended})
		}
		ops = append(ops,
			kernel.Op{Kind: kernel.OpProduct, In: kernel.BufferAttended, Out: kernel.BufferX, Matrix: o, A: vector(a + "o_proj.bias"), Add: true},
			kernel.Op{Kind: kernel.OpNorm, In: kernel.BufferX, Out: kernel.BufferNormed, A: vector(layer + "post_attention_layernorm.weight"), Eps: eps, Round: round(gateUp)},
			kernel.Op{Kind: kernel.OpProduct, In: kernel.BufferNormed, Out: kernel.BufferGates, Matrix: gateUp, A: vector(f+"gate_proj.bias", f+"up_proj.bias")},
			kernel.Op{Kind: kernel.OpGate, In: kernel.BufferGates, Out: kernel.BufferActive, Round: round(down)},
			kernel.Op{Kind: kernel.OpProduct, In: kernel.BufferActive, Out: kernel.BufferX, Matrix: down, A: vector(f + "down_proj.bias"), Add: true})
	}
	if !c.TieWordEmbeddings {
		head = pack(c.HiddenSize, "lm_head")
	}
	ops = append(ops, kernel.Op{Kind: kernel.OpNorm, In: kernel.BufferX, Out: kernel.BufferNormed, A: vector("model.norm.weight"), Eps: eps, Wanted: true, Round: round(head)})
	return ops, kernel.Op{Kind: kernel.OpProduct, In: kernel.BufferNormed, Out: kernel.BufferLogits, Matrix: head, Wanted: true}
}
