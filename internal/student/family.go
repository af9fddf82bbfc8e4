package student

import (
	"fmt"
	"slices"
	"strings"
)

// A family is what is particular to one architecture: the parts of a layer, and what transformers 5.23 takes where
// config.json is silent.
type family struct {
	modelType string   // config.json's model_type
	eps       float64  // rms_norm_eps
	positions int      // max_position_embeddings
	keyValue  int      // num_key_value_heads, 0 for num_attention_heads
	headDim   int      // head_dim, 0 for hidden_size / num_attention_heads
	bos, eos  tokenIDs // bos_token_id, eos_token_id

	qkvBias       bool // q_proj, k_proj and v_proj have biases
	qkNorm        bool // queries and keys are normed, head by head, before RoPE
	attentionBias bool // config.json's attention_bias counts: biases of q_proj, k_proj, v_proj and o_proj
	mlpBias       bool // config.json's mlp_bias counts: biases of gate_proj, up_proj and down_proj
	sliding       bool // sliding_window counts only with use_sliding_window
}

// families are the architectures that are supported, by the name in config.json.
var families = map[string]family{
	"LlamaForCausalLM": {modelType: "llama", eps: 1e-6, positions: 2048, bos: tokenIDs{1}, eos: tokenIDs{2}, attentionBias: true, mlpBias: true},
	"Qwen2ForCausalLM": {modelType: "qwen2", eps: 1e-6, positions: 32768, keyValue: 32, qkvBias: true, sliding: true},
	"Qwen3ForCausalLM": {modelType: "qwen3", eps: 1e-6, positions: 32768, keyValue: 32, headDim: 128, qkNorm: true, attentionBias: true, sliding: true},
}

// Architectures are the names of the architectures that are supported, sorted.
func Architectures() []string {
	var names []string
	for name := range families {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// QKVBias says whether q_proj, k_proj and v_proj have biases.
func (c Config) QKVBias() bool {
	f := families[c.Architecture]
	return f.qkvBias || f.attentionBias && c.AttentionBias
}

// OutputBias says whether o_proj has a bias.
func (c Config) OutputBias() bool { return families[c.Architecture].attentionBias && c.AttentionBias }

// GateBias says whether gate_proj, up_proj and down_proj have biases.
func (c Config) GateBias() bool { return families[c.Architecture].mlpBias && c.MLPBias }

// QKNorm says whether queries and keys are normed, head by head, before RoPE.
func (c Config) QKNorm() bool { return families[c.Architecture].qkNorm }

// family finds the architecture, by architectures or, in configs without it, by model_type.
func (r *rawConfig) family() (string, family, error) {
	var types []string
	for _, name := range Architectures() {
		f := families[name]
		if slices.Equal(r.Architectures, []string{name}) && (r.ModelType == f.modelType || r.ModelType == "") ||
			len(r.Architectures) == 0 && r.ModelType == f.modelType {
			return name, f, nil
		}
		types = append(types, f.modelType)
	}
	return "", family{}, fmt.Errorf("architectures %q with model_type %q is not supported: %s (model_type %s) are",
		r.Architectures, r.ModelType, strings.Join(Architectures(), ", "), strings.Join(types, ", "))
}
