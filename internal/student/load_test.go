package student

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stillhouse"
	"stillhouse/internal/hub"
)

const models = "../../testdata/parity/train/models/"

var tinyLlama = Config{
	Architecture: "LlamaForCausalLM", VocabSize: 384, HiddenSize: 64, IntermediateSize: 160, NumHiddenLayers: 3,
	NumAttentionHeads: 4, NumKeyValueHeads: 2, HeadDim: 16, RMSNormEps: 1e-5, RopeTheta: 1e5, MaxPositionEmbeddings: 512,
	TieWordEmbeddings: true, BOSTokenID: 1, EOSTokenIDs: []int{2}, PadTokenID: 2, Dtype: "float32",
}

// modelDir is a copy of a model in which one file is another: given by its name and text, "" to leave it out.
func modelDir(t *testing.T, model, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(models+model)); err != nil {
		t.Fatal(err)
	}
	var err error
	if text == "" {
		err = os.Remove(filepath.Join(dir, name))
	} else {
		err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadConfig(t *testing.T) {
	hubStyle := read(t, models+"tiny-llama/config.hub-style.json")
	for name, dir := range map[string]string{
		"transformers 5": models + "tiny-llama",
		"hub style":      modelDir(t, "tiny-llama", "config.json", hubStyle),
		"no head_dim":    modelDir(t, "tiny-llama", "config.json", strings.Replace(hubStyle, `"head_dim": 16,`, "", 1)),
		"eos of config":  modelDir(t, "tiny-llama", "generation_config.json", ""),
	} {
		if c, err := ReadConfig(dir); err != nil || !reflect.DeepEqual(c, tinyLlama) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	c, err := ReadConfig(modelDir(t, "tiny-llama", "generation_config.json", `{"eos_token_id": [0, 2]}`))
	if err != nil || !slices.Equal(c.EOSTokenIDs, []int{0, 2}) {
		t.Errorf("eos of generation_config.json: %v, %v", c.EOSTokenIDs, err)
	}
}

func TestConfigRefused(t *testing.T) {
	for change, want := range map[string]string{
		`"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"`:                                          `GPT2LMHeadModel`,
		`"architectures": ["MistralForCausalLM"]`:                                                             `MistralForCausalLM`,
		`"model_type": "mixtral"`:                                                                             `mixtral`,
		`"hidden_act": "gelu"`:                                                                                `hidden_act "gelu"`,
		`"sliding_window": 128`:                                                                               `sliding_window`,
		`"use_sliding_window": true`:                                                                          `sliding_window`,
		`"layer_types": ["full_attention", "sliding_attention"]`:                                              `layer_types[1]`,
		`"num_local_experts": 8`:                                                                              `mixture of experts`,
		`"quantization_config": {"bits": 4}`:                                                                  `quantization_config`,
		`"rope_scaling": {"type": "linear", "factor": 0.5}`:                                                   `factor 0.5`,
		`"rope_scaling": {"type": "linear"}`:                                                                  `needs factor`,
		`"rope_scaling": {"type": "yarn", "factor": 2.0}`:                                                     `"yarn" is not supported`,
		`"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}`:                                             `"dynamic" is not supported`,
		`"rope_parameters": {"rope_type": "longrope", "long_factor": [1]}`:                                    `"longrope" is not supported`,
		`"rope_parameters": {"rope_type": 3}`:                                                                 `"3" is not supported`,
		`"rope_parameters": {"full_attention": {"rope_type": "default"}}`:                                     `full_attention is not supported`,
		`"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}`:                                       `rope_type llama3 needs factor`,
		`"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}`:   `high_freq_factor 1`,
		`"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 0, "high_freq_factor": 1}`:   `low_freq_factor 0`,
		`"rope_scaling": {"rope_type": "llama3", "factor": "8", "low_freq_factor": 1, "high_freq_factor": 4}`: `factor 8 is not a number`,
		`"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 0.5}`: `original_max_position_embeddings 0.5`,
		`"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}`:                                                                 `partial_rotary_factor 0.25`,
		`"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": true`:                                                   `use_sliding_window`,
		`"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "use_sliding_window": true, "sliding_window": 64`:                             `use_sliding_window`,
		`"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"`:                                                                        `Qwen3MoeForCausalLM`,
		`"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen2"`:                                                                               `model_type "qwen2"`,
		`"rope_parameters": {"rope_theta": 5e5, "factor": 2}`:                                                                                        `factor`,
		`"partial_rotary_factor": 0.5`: `partial_rotary_factor`,
		`"head_dim": 15`:               `head_dim 15`,
		`"num_key_value_heads": 3`:     `num_key_value_heads 3`,
		`"num_hidden_layers": 0`:       `num_hidden_layers 0`,
		`"vocab_size": 1000000000000`:  `vocab_size`,
		`"rms_norm_eps": 0`:            `rms_norm_eps`,
		`"vocab_size": "many"`:         `vocab_size`,
		`"eos_token_id": "end"`:        `config.json`,
		`"head_dim": null, "num_attention_heads": 3, "num_key_value_heads": 3`: `not a multiple`,
	} {
		var c, overlay map[string]any
		if err := json.Unmarshal([]byte(read(t, models+"tiny-llama/config.json")), &c); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte("{"+change+"}"), &overlay); err != nil {
			t.Fatal(err)
		}
		for k, v := range overlay {
			c[k] = v
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadConfig(modelDir(t, "tiny-llama", "config.json", string(text)))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "config.json") || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", change, err)
		}
	}
}

func TestLoad(t *testing.T) {
	m, err := Load(models + "tiny-llama")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range m.Params {
		n += p.Size()
		if p.Size() != len(p.Data) {
			t.Errorf("%s: shape %v with %d elements", p.Name, p.Shape, len(p.Data))
		}
	}
	if len(m.Params) != 29 || n != 154048 {
		t.Errorf("%d tensors with %d parameters", len(m.Params), n)
	}
}

func TestLoadRefused(t *testing.T) {
	m, err := Load(models + "tiny-llama")
	if err != nil {
		t.Fatal(err)
	}
	weights := func(change func([]hub.FloatTensor) []hub.FloatTensor) string {
		var tensors []hub.FloatTensor
		for _, p := range m.Params {
			tensors = append(tensors, hub.FloatTensor{Name: p.Name, Shape: slices.Clone(p.Shape), Data: slices.Clone(p.Data)})
		}
		var out strings.Builder
		if err := hub.WriteSafetensors(&out, "F32", change(tensors)); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	type tensors = []hub.FloatTensor
	infinite := []byte(weights(func(in tensors) tensors { return in }))
	copy(infinite[len(infinite)-4:], []byte{0, 0, 0x80, 0x7f})
	nan := slices.Clone(infinite)
	copy(nan[len(nan)-8:], []byte{1, 0, 0xc0, 0xff})
	for name, tc := range map[string]struct{ file, text, want string }{
		"no weights":     {"model.safetensors", "", "no weights"},
		"no config":      {"config.json", "", "config.json"},
		"config cut":     {"config.json", `{"architectures": [`, "config.json"},
		"weights cut":    {"model.safetensors", weights(func(in tensors) tensors { return in })[:5000], "not a whole"},
		"missing tensor": {"model.safetensors", weights(func(in tensors) tensors { return in[:28] }), "tensor model.norm.weight is missing"},
		"surplus tensor": {"model.safetensors", weights(func(in tensors) tensors {
			return append(in, hub.FloatTensor{Name: "x.bias", Shape: []int{1}, Data: []float32{1}})
		}), "x.bias of shape [1]"},
		"wrong shape":     {"model.safetensors", weights(func(in tensors) tensors { in[0].Shape = []int{64, 384}; return in }), "has shape [64 384], config.json asks for [384 64]"},
		"infinite weight": {"model.safetensors", string(infinite), "is +Inf"},
		"nan weight":      {"model.safetensors", string(nan), "is NaN"},
	} {
		_, err := Load(modelDir(t, "tiny-llama", tc.file, tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	redundant := weights(func(in tensors) tensors {
		return append(in, hub.FloatTensor{Name: "lm_head.weight", Shape: in[0].Shape, Data: in[0].Data})
	})
	if _, err := Load(modelDir(t, "tiny-llama", "model.safetensors", redundant)); err != nil {
		t.Errorf("a tied head that is stored too: %v", err)
	}
}

func TestSave(t *testing.T) {
	from := models + "tiny-llama"
	m, err := Load(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, dtype := range []string{"float32", "bfloat16", "float16"} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "saved")
		for range 2 { // the second time, over what is there
			if err := Save(m, dir, SaveOptions{From: from, Dtype: dtype}); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "log.jsonl"), []byte("{}"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if read(t, filepath.Join(dir, "log.jsonl")) != "{}" {
			t.Error("a file that is not the model's was lost")
		}
		if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
			t.Errorf("%v is left over, %v", left, err)
		}
		back, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		want := tinyLlama
		want.Dtype = dtype
		if !reflect.DeepEqual(back.Config, want) {
			t.Errorf("%s: %+v", dtype, back.Config)
		}
		for i, p := range m.Params {
			for j, x := range p.Data {
				if got := back.Params[i].Data[j]; dtype == "float32" && got != x || math.Abs(float64(got-x)) > math.Abs(float64(x))/256+0x1p-24 {
					t.Fatalf("%s: %s[%d] is %v, not %v", dtype, p.Name, j, got, x)
				}
			}
		}
		if read(t, filepath.Join(dir, "tokenizer.json")) != read(t, from+"/tokenizer.json") {
			t.Error("tokenizer.json is another")
		}
		if c := read(t, filepath.Join(dir, "config.json")); !strings.Contains(c, `"attention_dropout": 0.0,`) || !strings.Contains(c, `"rope_theta": 100000.0`) || !strings.Contains(c, `"dtype": "`+dtype+`"`) {
			t.Errorf("config.json lost keys: %s", c)
		}
	}
}

// torch's own bf16 checkpoint of these weights is what ours must be, tensor by tensor; only the header may differ.
func TestSaveBF16(t *testing.T) {
	m, err := Load(models + "tiny-llama")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "saved")
	if err := Save(m, dir, SaveOptions{Dtype: "bfloat16"}); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Load(models + "tiny-llama-bf16")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("the model differs from the golden one")
	}
}

func TestSaveRefused(t *testing.T) {
	m := New(tinyLlama, 1, 0.02)
	dir := filepath.Join(t.TempDir(), "saved")
	if err := Save(m, dir, SaveOptions{Dtype: "int8"}); err == nil || !strings.Contains(err.Error(), `"int8"`) {
		t.Errorf("a dtype that cannot be written: %v", err)
	}
	m.Params[3].Data[7] = float32(math.NaN())
	if err := Save(m, dir, SaveOptions{}); err == nil || !strings.Contains(err.Error(), "k_proj.weight: element 7 is NaN") {
		t.Errorf("a model that has diverged: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 0 {
		t.Errorf("a failed save left %v, %v", left, err)
	}
}

func TestNew(t *testing.T) {
	a, b, c := New(tinyLlama, 1, 0.02), New(tinyLlama, 1, 0.02), New(tinyLlama, 2, 0.02)
	if !reflect.DeepEqual(a, b) || reflect.DeepEqual(a, c) {
		t.Error("the weights do not follow from the seed")
	}
	for _, p := range a.Params {
		sum, squares := 0.0, 0.0
		for _, x := range p.Data {
			sum += float64(x)
			squares += float64(x) * float64(x)
		}
		n := float64(len(p.Data))
		mean, rms := sum/n, math.Sqrt(squares/n)
		if len(p.Shape) == 1 {
			if mean != 1 || rms != 1 {
				t.Errorf("%s is not all ones", p.Name)
			}
		} else if math.Abs(mean) > 0.02*5/math.Sqrt(n) || math.Abs(rms-0.02) > 0.02*5/math.Sqrt(2*n) {
			t.Errorf("%s: mean %v, deviation %v", p.Name, mean, rms)
		}
	}
	c2 := tinyLlama
	c2.TieWordEmbeddings = false
	if m := New(c2, 1, 0.02); m.Params[len(m.Params)-1].Name != "lm_head.weight" {
		t.Error("an untied head has no parameter")
	}
}
