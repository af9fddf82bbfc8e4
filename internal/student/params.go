package student

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Layout is the parameters of a model of this configuration, without their data, in the order of [Model.Params].
func Layout(c Config) []*Param {
	var out []*Param
	add := func(name string, shape ...int) { out = append(out, &Param{Name: name + ".weight", Shape: shape}) }
	bias := func(has bool, name string, n int) {
		if has {
			out = append(out, &Param{Name: name + ".bias", Shape: []int{n}})
		}
	}
	h, ff := c.HiddenSize, c.IntermediateSize
	q, kv := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	add("model.embed_tokens", c.VocabSize, h)
	for l := range c.NumHiddenLayers {
		layer := fmt.Sprintf("model.layers.%d.", l)
		add(layer+"input_layernorm", h)
		add(layer+"self_attn.q_proj", q, h)
		add(layer+"self_attn.k_proj", kv, h)
		add(layer+"self_attn.v_proj", kv, h)
		bias(c.QKVBias(), layer+"self_attn.q_proj", q)
		bias(c.QKVBias(), layer+"self_attn.k_proj", kv)
		bias(c.QKVBias(), layer+"self_attn.v_proj", kv)
		if c.QKNorm() {
			add(layer+"self_attn.q_norm", c.HeadDim)
			add(layer+"self_attn.k_norm", c.HeadDim)
		}
		add(layer+"self_attn.o_proj", h, q)
		bias(c.OutputBias(), layer+"self_attn.o_proj", h)
		add(layer+"post_attention_layernorm", h)
		add(layer+"mlp.gate_proj", ff, h)
		add(layer+"mlp.up_proj", ff, h)
		bias(c.GateBias(), layer+"mlp.gate_proj", ff)
		bias(c.GateBias(), layer+"mlp.up_proj", ff)
		add(layer+"mlp.down_proj", h, ff)
		bias(c.GateBias(), layer+"mlp.down_proj", h)
	}
	add("model.norm", h)
	if !c.TieWordEmbeddings {
		add("lm_head", c.VocabSize, h)
	}
	return out
}

// Size is the number of elements of the parameter.
func (p *Param) Size() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// New makes a model with random weights, as transformers initialises one: every matrix is N(0, std) (initializer_range,
// 0.02 for most), every norm 1, every bias 0. The weights depend on the configuration, the seed and std alone.
func New(c Config, seed uint64, std float64) *Model {
	m := &Model{Config: c, Params: Layout(c)}
	allocate(m.Params)
	for i, p := range m.Params {
		if strings.HasSuffix(p.Name, ".bias") {
			continue
		}
		if strings.HasSuffix(p.Name, "norm.weight") {
			for j := range p.Data {
				p.Data[j] = 1
			}
			continue
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		for j := range p.Data {
			p.Data[j] = float32(rng.NormFloat64() * std)
		}
	}
	return m
}
