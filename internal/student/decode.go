package student

import (
	"fmt"
	"math"
	"slices"

	"stillhouse/internal/kernel"
)

// A decoder computes logits over a cache of keys and values. It holds a copy of the weights, laid out for products.
// The logits of a token depend on the weights and the tokens before it alone: neither on what else is in the step nor
// on how a prompt is cut into steps. It is not safe for concurrent use.
type decoder struct {
	config Config
	shape  kernel.CacheShape
	embed  *kernel.Packed // [vocabulary, hidden]
	head   *kernel.Packed // the embedding where they are tied
	norm   []float32
	layers []decoderLayer

	frequencies    []float32 // [head_dim/2]
	cosines, sines []float32 // [positions so far, head_dim/2]

	x, normed, qkv, attended, gates, active, logits []float32 // [rows, …] of one step
}

type decoderLayer struct {
	attentionNorm, mlpNorm []float32
	qkv, o, gateUp, down   *kernel.Packed
	familyWeights
}

func newDecoder(m *Model) *decoder {
	c := m.Config
	params := make(map[string][]float32, len(m.Params))
	for _, p := range m.Params {
		params[p.Name] = p.Data
	}
	at := func(format string, args ...any) []float32 { return params[fmt.Sprintf(format, args...)+".weight"] }
	d := &decoder{
		config: c,
		shape:  kernel.CacheShape{Layers: c.NumHiddenLayers, Heads: c.NumAttentionHeads, KVHeads: c.NumKeyValueHeads, HeadDim: c.HeadDim},
		embed:  kernel.Pack(c.HiddenSize, at("model.embed_tokens")),
		norm:   slices.Clone(at("model.norm")),

		frequencies: c.Frequencies(),
	}
	d.head = d.embed
	if !c.TieWordEmbeddings {
		d.head = kernel.Pack(c.HiddenSize, at("lm_head"))
	}
	for l := range c.NumHiddenLayers {
		in := func(name string) []float32 { return at("model.layers.%d.%s", l, name) }
		d.layers = append(d.layers, decoderLayer{
			attentionNorm: slices.Clone(in("input_layernorm")),
			mlpNorm:       slices.Clone(in("post_attention_layernorm")),
			qkv:           kernel.Pack(c.HiddenSize, in("self_attn.q_proj"), in("self_attn.k_proj"), in("self_attn.v_proj")),
			o:             kernel.Pack(c.NumAttentionHeads*c.HeadDim, in("self_attn.o_proj")),
			gateUp:        kernel.Pack(c.HiddenSize, in("mlp.gate_proj"), in("mlp.up_proj")),
			down:          kernel.Pack(c.IntermediateSize, in("mlp.down_proj")),
			familyWeights: newFamilyWeights(func(name string) []float32 { return params[fmt.Sprintf("model.layers.%d.%s", l, name)] }),
		})
	}
	return d
}

// rotations makes the tables of the rotary embedding reach at least n positions. As in transformers, angles are rounded
// to fp32.
func (d *decoder) rotations(n int) {
	for p := len(d.cosines) / len(d.frequencies); p < n; p++ {
		for _, frequency := range d.frequencies {
			angle := float64(float32(p) * frequency)
			d.cosines = append(d.cosines, float32(math.Cos(angle)))
			d.sines = append(d.sines, float32(math.Sin(angle)))
		}
	}
}

// forward runs one step: rows.Position[i] of its sequence is tokens[i]. It stores the rows' keys and values and returns
// the logits [len(wanted), vocabulary] of the rows that are wanted, which stay valid until the next call.
func (d *decoder) forward(tokens []int32, rows kernel.CacheRows, wanted []int) ([]float32, error) {
	c, n := d.config, len(tokens)
	h, q := c.HiddenSize, c.NumAttentionHeads*c.HeadDim
	if n == 0 {
		return nil, nil
	}
	d.rotations(int(slices.Max(rows.Position)) + 1)
	fit(&d.x, n*h)
	fit(&d.normed, n*h)
	fit(&d.qkv, n*(q+2*c.NumKeyValueHeads*c.HeadDim))
	fit(&d.attended, n*q)
	fit(&d.gates, n*2*c.IntermediateSize)
	fit(&d.active, n*c.IntermediateSize)
	fit(&d.logits, len(wanted)*c.VocabSize)
	eps := float32(c.RMSNormEps)

	for i, t := range tokens {
		d.embed.Row(int(t), d.x[i*h:(i+1)*h])
	}
	for l, w := range d.layers {
		kernel.DecodeNorm(d.x, n, w.attentionNorm, eps, d.normed)
		w.qkv.Mul(d.normed, n, d.qkv, false)
		addBias(d.qkv, w.qkvBias, n)
		w.normHeads(c, d.qkv, n)
		kernel.DecodeRope(rows, l, d.qkv, d.cosines, d.sines)
		if err := kernel.DecodeAttention(rows, l, d.qkv, d.attended); err != nil {
			return nil, err
		}
		w.o.Mul(d.attended, n, d.x, true)
		addBias(d.x, w.oBias, n)
		kernel.DecodeNorm(d.x, n, w.mlpNorm, eps, d.normed)
		w.gateUp.Mul(d.normed, n, d.gates, false)
		addBias(d.gates, w.gateUpBias, n)
		kernel.DecodeSwiGLU(d.gates, n, c.IntermediateSize, d.active)
		w.down.Mul(d.active, n, d.x, true)
		addBias(d.x, w.downBias, n)
	}
	for to, from := range wanted { // in rising order, so none is overwritten before it is moved
		copy(d.x[to*h:(to+1)*h], d.x[from*h:(from+1)*h])
	}
	kernel.DecodeNorm(d.x, len(wanted), d.norm, eps, d.normed)
	d.head.Mul(d.normed, len(wanted), d.logits, false)
	return d.logits, nil
}

// fit makes a buffer n long. Its contents are lost.
func fit(buffer *[]float32, n int) {
	if cap(*buffer) < n {
		*buffer = make([]float32, n)
	}
	*buffer = (*buffer)[:n]
}
