package student

import (
	"slices"
	"strconv"
	"strings"

	"stillhouse"
	"stillhouse/internal/gguf"
)

// ggufNames are the names of a layer's parameters in GGUF, by those in a checkpoint.
var ggufNames = map[string]string{
	"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
	"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}

// ggufName is the name of a parameter in GGUF.
func ggufName(name string) string {
	switch name {
	case "model.embed_tokens.weight":
		return "token_embd.weight"
	case "model.norm.weight":
		return "output_norm.weight"
	case "lm_head.weight":
		return "output.weight"
	}
	layer, rest, _ := strings.Cut(strings.TrimPrefix(name, "model.layers."), ".")
	at := strings.LastIndexByte(rest, '.')
	return "blk." + layer + "." + ggufNames[rest[:at]] + rest[at:]
}

// interleaved is the number of heads whose rows llama.cpp interleaves in a parameter, 0 where it does not: in the llama
// architecture, the two numbers that the rotary embedding turns together lie side by side, in a checkpoint half a head
// apart.
func (c Config) interleaved(name string) int {
	switch {
	case c.Architecture != "LlamaForCausalLM":
		return 0
	case strings.Contains(name, ".q_proj."):
		return c.NumAttentionHeads
	case strings.Contains(name, ".k_proj."):
		return c.NumKeyValueHeads
	}
	return 0
}

// interleave puts the rows of each head in llama.cpp's order; separate undoes it. Both return another slice.
func interleave(data []float32, heads, rows int) []float32 {
	return permuteRows(data, heads, rows, func(half, i, j int) (to, from int) { return 2*j + i, i*half + j })
}

func separate(data []float32, heads, rows int) []float32 {
	return permuteRows(data, heads, rows, func(half, i, j int) (to, from int) { return i*half + j, 2*j + i })
}

func permuteRows(data []float32, heads, rows int, places func(half, i, j int) (to, from int)) []float32 {
	out := make([]float32, len(data))
	width, head := len(data)/rows, rows/heads
	for h := range heads {
		for i := range 2 {
			for j := range head / 2 {
				to, from := places(head/2, i, j)
				to, from = h*head+to, h*head+from
				copy(out[to*width:(to+1)*width], data[from*width:(from+1)*width])
			}
		}
	}
	return out
}

// loadGGUF reads a model from a GGUF file; quantised weights are widened to fp32.
func loadGGUF(path string) (*Model, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := ggufConfig(f)
	if err != nil {
		return nil, err
	}
	m := &Model{Config: c, Params: Layout(c)}
	if err := checkGGUFLayout(f, m.Params, c); err != nil {
		return nil, err
	}
	allocate(m.Params)
	for _, p := range m.Params {
		t := f.Tensor(ggufName(p.Name))
		if err := t.Floats(p.Data); err != nil {
			return nil, err
		}
		if i := notFinite(p.Data); i >= 0 {
			return nil, stillhouse.Invalidf("%s: tensor %s: element %d is %v: the model that was saved had diverged", path, t.Name, i, p.Data[i])
		}
		if heads := c.interleaved(p.Name); heads > 0 {
			copy(p.Data, separate(p.Data, heads, p.Shape[0]))
		}
	}
	return m, nil
}

// checkGGUFLayout compares what the file holds with what its metadata asks for, before anything is allocated.
func checkGGUFLayout(f *gguf.File, params []*Param, c Config) error {
	wanted := map[string]bool{"rope_freqs.weight": true}
	for _, p := range params {
		name := ggufName(p.Name)
		wanted[name] = true
		t := f.Tensor(name)
		if t == nil {
			return stillhouse.Invalidf("%s: tensor %s is missing: the metadata asks for one of shape %v", f.Path, name, p.Shape)
		}
		if !slices.Equal(t.Shape, p.Shape) {
			return stillhouse.Invalidf("%s: tensor %s has shape %v, the metadata asks for %v", f.Path, name, t.Shape, p.Shape)
		}
	}
	for _, t := range f.Tensors() {
		if !wanted[t.Name] {
			return stillhouse.Invalidf("%s: tensor %s of shape %v is not part of a %s with %s layers", f.Path, t.Name, t.Shape, c.Architecture, strconv.Itoa(c.NumHiddenLayers))
		}
	}
	return nil
}
