package student

import (
	"slices"

	"stillhouse/internal/kernel"
)

// familyWeights are the vectors that only some architectures have; one that a layer does not have is nil.
type familyWeights struct {
	qkvBias, oBias, gateUpBias, downBias []float32
	qNorm, kNorm                         []float32 // [head_dim]
}

// newFamilyWeights takes copies of a layer's vectors; in gives a parameter of the layer by its name, nil where it is not.
func newFamilyWeights(in func(name string) []float32) familyWeights {
	return familyWeights{
		qkvBias:    slices.Concat(in("self_attn.q_proj.bias"), in("self_attn.k_proj.bias"), in("self_attn.v_proj.bias")),
		oBias:      slices.Clone(in("self_attn.o_proj.bias")),
		gateUpBias: slices.Concat(in("mlp.gate_proj.bias"), in("mlp.up_proj.bias")),
		downBias:   slices.Clone(in("mlp.down_proj.bias")),
		qNorm:      slices.Clone(in("self_attn.q_norm.weight")),
		kNorm:      slices.Clone(in("self_attn.k_norm.weight")),
	}
}

// addBias adds a bias, unless there is none, to rows of its length.
func addBias(y, bias []float32, rows int) {
	if len(bias) > 0 {
		kernel.AddRows(y, bias, rows, len(bias))
	}
}

// normHeads norms the queries and the keys of each row of qkv head by head, in place, where the architecture does.
func (w familyWeights) normHeads(c Config, qkv []float32, rows int) {
	if len(w.qNorm) == 0 {
		return
	}
	q, kv := c.NumAttentionHeads*c.HeadDim, c.NumKeyValueHeads*c.HeadDim
	for t := range rows {
		row := qkv[t*(q+2*kv) : (t+1)*(q+2*kv)]
		kernel.DecodeNorm(row[:q], c.NumAttentionHeads, w.qNorm, float32(c.RMSNormEps), row[:q])
		kernel.DecodeNorm(row[q:q+kv], c.NumKeyValueHeads, w.kNorm, float32(c.RMSNormEps), row[q:q+kv])
	}
}
