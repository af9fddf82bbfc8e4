package student

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/hub"
)

const architectures = "../../testdata/architectures/"

var settings = []string{"llama3-rope", "linear-rope", "llama-biases", "qwen2-untied", "qwen3-tied"}

// goldenSetting reads a model of testdata/architectures and what transformers computed with it.
func goldenSetting(t *testing.T, name string) (m *Model, ids []int32, want func(name string) []float32) {
	m, err := Load(architectures + name)
	require.NoError(t, err)
	file := filepath.Join(architectures, name, "golden.safetensors")
	return m, integers(t, file, "input_ids"), tensors(t, file)
}

// integers reads a tensor of I32.
func integers(t *testing.T, file, name string) (out []int32) {
	text := read(t, file)
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	n := int(text[0]) | int(text[1])<<8 | int(text[2])<<16
	var raw map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text[8:8+n]), &raw))
	delete(raw, "__metadata__")
	all, err := json.Marshal(raw)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(all, &header))
	data := text[8+n:][header[name].Offsets[0]:header[name].Offsets[1]]
	for ; len(data) > 0; data = data[4:] {
		out = append(out, int32(data[0])|int32(data[1])<<8|int32(data[2])<<16|int32(data[3])<<24)
	}
	require.NotEmpty(t, out)
	return out
}

// Rope scalings, biases and heads: frequencies, logits, loss, every gradient and greedy decoding are those of transformers.
func TestSettings(t *testing.T) {
	for _, name := range settings {
		t.Run(name, func(t *testing.T) {
			m, ids, want := goldenSetting(t, name)
			for i, f := range want("inv_freq") {
				require.InEpsilon(t, f, m.Config.Frequencies()[i], 3e-7, "frequency %d", i)
			}
			got, err := m.Logits(Batch{Tokens: ids, Lengths: []int{len(ids)}})
			require.NoError(t, err)
			d := maxDifference(t, got, want("logits"))
			require.LessOrEqual(t, d, 1e-4)
			require.LessOrEqual(t, maxDifference(t, logitsOf(t, m, WeightsF32, ids, 7), want("logits")), 1e-4)

			g := graph(t, m, len(ids))
			n := float64(len(ids) - 1)
			stats := accumulate(t, g, full(ids), 1/n)
			require.InDelta(t, want("mean_ce")[0], stats.Loss/n, 2e-5)
			worst := 0.0
			for i, p := range m.Params {
				e := relative(t, g.Gradients()[i], want("grad."+p.Name))
				worst = max(worst, e)
				require.LessOrEqual(t, e, 1e-4, p.Name)
			}
			t.Logf("logits max |Δ| %.2g, gradients worst ‖Δ‖/‖g‖ %.2g", d, worst)

			generator := NewGenerator(m, GeneratorOptions{})
			defer generator.Close()
			greedy := integers(t, filepath.Join(architectures, name, "golden.safetensors"), "greedy_new_ids")
			out, err := generator.Generate(context.Background(), Request{Tokens: ids[:20], MaxTokens: len(greedy)}, nil)
			require.NoError(t, err)
			require.Equal(t, greedy, out[0].Tokens)
		})
	}
}

// Both spellings of config.json are one configuration, and what is saved is read back as it was, in either spelling.
func TestSpellings(t *testing.T) {
	dirs := []string{models + "tiny-qwen2", models + "tiny-qwen3"}
	for _, name := range settings {
		dirs = append(dirs, architectures+name)
	}
	for _, dir := range dirs {
		m, err := Load(dir)
		require.NoError(t, err)
		hubStyle := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(hubStyle, "config.json"), []byte(read(t, dir+"/config.hub-style.json")), 0o644))
		c, err := ReadConfig(hubStyle)
		require.NoError(t, err)
		require.Equal(t, m.Config, c, dir)
		for _, from := range []string{dir, hubStyle, ""} {
			to := filepath.Join(t.TempDir(), "saved")
			require.NoError(t, Save(m, to, SaveOptions{From: from}))
			back, err := Load(to)
			require.NoError(t, err)
			require.True(t, reflect.DeepEqual(m, back), "%s saved from %q: %+v", dir, from, back.Config)
			text := read(t, filepath.Join(to, "config.json"))
			require.Equal(t, from == dir, strings.Contains(text, "rope_parameters"), text)
		}
	}
}

// What config.json leaves out is what transformers 5.23 puts there.
func TestFamilyDefaults(t *testing.T) {
	const sizes = `"vocab_size": 100, "hidden_size": 1024, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 64`
	for text, want := range map[string]Config{
		`"model_type": "llama"`: {Architecture: "LlamaForCausalLM", NumKeyValueHeads: 64, HeadDim: 16, MaxPositionEmbeddings: 2048, BOSTokenID: 1, EOSTokenIDs: []int{2}},
		`"model_type": "qwen2"`: {Architecture: "Qwen2ForCausalLM", NumKeyValueHeads: 32, HeadDim: 16, MaxPositionEmbeddings: 32768, BOSTokenID: -1},
		`"model_type": "qwen3"`: {Architecture: "Qwen3ForCausalLM", NumKeyValueHeads: 32, HeadDim: 128, MaxPositionEmbeddings: 32768, BOSTokenID: -1},
		`"model_type": "qwen3", "num_key_value_heads": null, "sliding_window": 4096, "use_sliding_window": false, "max_window_layers": 28`: {
			Architecture: "Qwen3ForCausalLM", NumKeyValueHeads: 64, HeadDim: 128, MaxPositionEmbeddings: 32768, BOSTokenID: -1},
		`"model_type": "llama", "bos_token_id": null, "eos_token_id": null`: {Architecture: "LlamaForCausalLM", NumKeyValueHeads: 64, HeadDim: 16, MaxPositionEmbeddings: 2048, BOSTokenID: -1},
	} {
		want.VocabSize, want.HiddenSize, want.IntermediateSize, want.NumHiddenLayers, want.NumAttentionHeads = 100, 1024, 64, 2, 64
		want.RMSNormEps, want.RopeTheta, want.PadTokenID, want.Dtype = 1e-6, 1e4, -1, "float32"
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"+sizes+", "+text+"}"), 0o644))
		got, err := ReadConfig(dir)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
	}
}

// Weights drawn from nothing: biases are 0, norms 1.
func TestNewOfFamilies(t *testing.T) {
	for _, name := range []string{"tiny-qwen2", "tiny-qwen3"} {
		m := New(load(t, name).Config, 1, 0.02)
		biases, norms := 0, 0
		for _, p := range m.Params {
			switch {
			case strings.HasSuffix(p.Name, ".bias"):
				biases++
				require.Equal(t, make([]float32, p.Size()), p.Data, p.Name)
			case strings.Contains(p.Name, "norm"):
				norms++
				require.False(t, slices.ContainsFunc(p.Data, func(x float32) bool { return x != 1 }), p.Name)
			}
		}
		if name == "tiny-qwen2" {
			require.Equal(t, []int{6, 5}, []int{biases, norms})
		} else {
			require.Equal(t, []int{0, 9}, []int{biases, norms})
		}
	}
}

// A tensor of another family's is named as missing or surplus, never left out silently.
func TestFamilyTensors(t *testing.T) {
	for _, tc := range []struct{ model, drop, want string }{
		{"tiny-qwen2", "model.layers.1.self_attn.k_proj.bias", "tensor model.layers.1.self_attn.k_proj.bias is missing"},
		{"tiny-qwen3", "model.layers.0.self_attn.q_norm.weight", "tensor model.layers.0.self_attn.q_norm.weight is missing"},
		{"tiny-qwen3", "lm_head.weight", "tensor lm_head.weight is missing"},
	} {
		m := load(t, tc.model)
		var kept []hub.FloatTensor
		for _, p := range m.Params {
			if p.Name != tc.drop {
				kept = append(kept, hub.FloatTensor{Name: p.Name, Shape: p.Shape, Data: p.Data})
			}
		}
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(read(t, models+tc.model+"/config.json")), 0o644))
		var out strings.Builder
		require.NoError(t, hub.WriteSafetensors(&out, "F32", kept))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "model.safetensors"), []byte(out.String()), 0o644))
		_, err := Load(dir)
		require.ErrorContains(t, err, tc.want)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
	// The weights of a Qwen3 under the configuration of a Llama of the same sizes.
	text := strings.NewReplacer("Qwen3ForCausalLM", "LlamaForCausalLM", `"qwen3"`, `"llama"`).Replace(read(t, models+"tiny-qwen3/config.json"))
	_, err := Load(modelDir(t, "tiny-qwen3", "config.json", text))
	require.ErrorContains(t, err, "self_attn.k_norm.weight of shape [32] is not part of a LlamaForCausalLM")
}

func ExampleArchitectures() {
	fmt.Println(Architectures())
	// Output: [LlamaForCausalLM Qwen2ForCausalLM Qwen3ForCausalLM]
}
