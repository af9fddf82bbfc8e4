package student

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"stillhouse"
	"stillhouse/internal/gguf"
)

const ggufs = "../../testdata/parity/train/gguf/"

// The logits of a GGUF file are those that transformers computes from it, and its configuration is the model's.
func TestGGUFLogits(t *testing.T) {
	var golden struct {
		Files map[string]struct {
			MaxAbs float64   `json:"logits_max_abs_vs_fp32"`
			CE     float64   `json:"mean_ce_dequantised_to_fp32"`
			Last   []float32 `json:"logits_last_position_first8"`
		}
	}
	var model struct {
		Sequences []struct {
			IDs []int32 `json:"input_ids"`
		}
	}
	for path, into := range map[string]any{ggufs + "gguf.json": &golden, models + "tiny-llama/golden.json": &model} {
		if err := json.Unmarshal([]byte(read(t, path)), into); err != nil {
			t.Fatal(err)
		}
	}
	ids := model.Sequences[1].IDs
	batch := Batch{Tokens: ids, Lengths: []int{len(ids)}}
	full, err := Load(models + "tiny-llama")
	if err != nil {
		t.Fatal(err)
	}
	want, err := full.Logits(batch)
	if err != nil {
		t.Fatal(err)
	}
	if len(golden.Files) != 6 {
		t.Fatalf("%d files in the golden", len(golden.Files))
	}
	for name, g := range golden.Files {
		m, err := Load(ggufs + name)
		if err != nil {
			t.Fatal(err)
		}
		c := tinyLlama
		switch {
		case strings.Contains(name, "BF16"):
			c.Dtype = "bfloat16"
		case strings.Contains(name, "F16"):
			c.Dtype = "float16"
		}
		if read, err := ReadConfig(ggufs + name); !reflect.DeepEqual(m.Config, c) || !reflect.DeepEqual(read, c) || err != nil {
			t.Errorf("%s: %+v, %+v, %v", name, m.Config, read, err)
		}
		logits, err := m.Logits(batch)
		if err != nil {
			t.Fatal(err)
		}
		last := logits[len(logits)-384:]
		for i, x := range g.Last {
			if d := math.Abs(float64(x - last[i])); !(d <= 1e-4) {
				t.Errorf("%s: logit %d is %v, not %v", name, i, last[i], x)
			}
		}
		worst, ce := 0.0, 0.0
		for i := range logits {
			worst = max(worst, math.Abs(float64(logits[i]-want[i])))
		}
		for i, id := range ids[1:] {
			row := logits[i*384 : (i+1)*384]
			sum := 0.0
			for _, x := range row {
				sum += math.Exp(float64(x))
			}
			ce += math.Log(sum) - float64(row[id])
		}
		if ce /= float64(len(ids) - 1); math.Abs(worst-g.MaxAbs) > 2e-4 || math.Abs(ce-g.CE) > 2e-5 {
			t.Errorf("%s: %v from fp32, mean CE %v, not %v and %v", name, worst, ce, g.MaxAbs, g.CE)
		}
	}
}

// A model from a GGUF file is saved as a Hugging Face directory with the tokenizer of the file.
func TestSaveFromGGUF(t *testing.T) {
	from := filepath.Join(t.TempDir(), "only.gguf")
	if err := os.WriteFile(from, []byte(read(t, ggufs+"tiny-llama.F32.gguf")), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := Load(filepath.Dir(from))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "saved")
	if err := Save(m, dir, SaveOptions{From: from}); err != nil {
		t.Fatal(err)
	}
	back, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, m) {
		t.Errorf("%+v, not %+v", back.Config, m.Config)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		if len(read(t, filepath.Join(dir, name))) < 100 {
			t.Errorf("%s was not written", name)
		}
	}
}

// ggufWith writes the tiny model with other metadata and tensors: a nil value or an empty shape leaves one out.
func ggufWith(t *testing.T, set map[string]any, tensors map[string][]int) string {
	t.Helper()
	f, err := gguf.Open(ggufs + "tiny-llama.F32.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pairs := map[string]any{
		"general.architecture": "llama", "llama.context_length": uint32(512), "llama.embedding_length": uint32(64), "llama.block_count": uint32(3),
		"llama.feed_forward_length": uint32(160), "llama.rope.dimension_count": uint32(16), "llama.attention.head_count": uint32(4),
		"llama.attention.head_count_kv": uint32(2), "llama.attention.layer_norm_rms_epsilon": float32(1e-5), "llama.rope.freq_base": float32(1e5),
		"tokenizer.ggml.bos_token_id": uint32(1), "tokenizer.ggml.eos_token_id": uint32(2), "tokenizer.ggml.padding_token_id": uint32(2),
	}
	for key, v := range set {
		if pairs[key] = v; v == nil {
			delete(pairs, key)
		}
	}
	var meta []gguf.Pair
	for key, v := range pairs {
		meta = append(meta, gguf.Pair{Key: key, Value: v})
	}
	var all []gguf.FloatTensor
	for _, x := range f.Tensors() {
		shape, ok := tensors[x.Name]
		if delete(tensors, x.Name); !ok {
			shape = x.Shape
		}
		if len(shape) > 0 {
			all = append(all, gguf.FloatTensor{Name: x.Name, Shape: shape, Data: func() []float32 { return make([]float32, (&Param{Shape: shape}).Size()) }})
		}
	}
	for name, shape := range tensors {
		all = append(all, gguf.FloatTensor{Name: name, Shape: shape, Data: func() []float32 { return make([]float32, (&Param{Shape: shape}).Size()) }})
	}
	path := filepath.Join(t.TempDir(), "changed.gguf")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := gguf.Write(out, meta, all); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGGUFConfig(t *testing.T) {
	path := ggufWith(t, map[string]any{"tokenizer.ggml.eot_token_id": uint32(0), "tokenizer.ggml.eom_token_id": uint32(2), "llama.attention.head_count_kv": nil,
		"llama.rope.freq_base": nil, "tokenizer.ggml.padding_token_id": nil, "llama.vocab_size": uint32(384), "llama.expert_count": uint32(0),
		"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": float32(2)}, map[string][]int{"output.weight": {384, 64}})
	c, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	want := tinyLlama
	want.NumKeyValueHeads, want.RopeTheta, want.PadTokenID, want.EOSTokenIDs, want.TieWordEmbeddings = 4, 10000, -1, []int{2, 0}, false
	want.RopeScaling = RopeScaling{Type: "linear", Factor: 2}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, not %+v", c, want)
	}
}

func TestGGUFRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		set     map[string]any
		tensors map[string][]int
		want    string
	}{
		"another architecture": {map[string]any{"general.architecture": "gemma3"}, nil, `general.architecture "gemma3" is not supported: llama, qwen2, qwen3 are`},
		"none":                 {map[string]any{"general.architecture": nil}, nil, `general.architecture "" is not supported`},
		"an adapter":           {map[string]any{"general.type": "adapter"}, nil, `general.type "adapter"`},
		"a part":               {map[string]any{"split.count": uint32(3)}, nil, "one of 3 parts"},
		"experts":              {map[string]any{"llama.expert_count": uint32(8)}, nil, "llama.expert_count: a mixture of experts is not supported"},
		"sliding window":       {map[string]any{"llama.attention.sliding_window": uint32(64)}, nil, "llama.attention.sliding_window: sliding window attention is not supported"},
		"yarn":                 {map[string]any{"llama.rope.scaling.type": "yarn"}, nil, `llama.rope.scaling.type "yarn" is not supported`},
		"attn_factor":          {map[string]any{"llama.rope.scaling.attn_factor": float32(1.5)}, nil, "attn_factor 1.5"},
		"half of a head":       {map[string]any{"llama.rope.dimension_count": uint32(8)}, nil, "llama.rope.dimension_count 8 is not supported: 16"},
		"other values":         {map[string]any{"llama.attention.value_length": uint32(8)}, nil, "llama.attention.value_length 8"},
		"not causal":           {map[string]any{"llama.attention.causal": false}, nil, "llama.attention.causal false"},
		"an unknown key":       {map[string]any{"llama.attention.clamp_kqv": float32(8)}, nil, "llama.attention.clamp_kqv is set, which this program does not know"},
		"heads of each layer":  {map[string]any{"llama.attention.head_count": []int32{4, 4, 4}}, nil, "llama.attention.head_count is of type an array of int32"},
		"2^31 layers":          {map[string]any{"llama.block_count": uint32(1 << 31)}, nil, "num_hidden_layers 2147483647 is out of range"},
		"no width":             {map[string]any{"llama.feed_forward_length": nil}, nil, "intermediate_size 0 is out of range"},
		"another vocabulary":   {map[string]any{"llama.vocab_size": uint32(385)}, nil, "tensor token_embd.weight has shape [384 64], the metadata asks for [385 64]"},
		"eos beyond":           {map[string]any{"tokenizer.ggml.eos_token_id": uint32(384)}, nil, "the id 384 of a token that ends an answer"},
		"no embedding":         {nil, map[string][]int{"token_embd.weight": {}}, "token_embd.weight is missing"},
		"a tensor missing":     {nil, map[string][]int{"blk.1.ffn_up.weight": {}}, "blk.1.ffn_up.weight is missing: the metadata asks for one of shape [160 64]"},
		"a tensor misshapen":   {nil, map[string][]int{"blk.1.ffn_up.weight": {64, 160}}, "blk.1.ffn_up.weight has shape [64 160], the metadata asks for [160 64]"},
		"a tensor too many":    {nil, map[string][]int{"blk.3.ffn_up.weight": {160, 64}}, "blk.3.ffn_up.weight of shape [160 64] is not part of a LlamaForCausalLM with 3 layers"},
		"a bias too few":       {nil, map[string][]int{"blk.0.attn_output.bias": {64}}, "blk.0.attn_q.bias is missing"},
		"divisors misshapen":   {nil, map[string][]int{"rope_freqs.weight": {4}}, "rope_freqs.weight has shape [4]"},
		"divisors of 0":        {nil, map[string][]int{"rope_freqs.weight": {8}}, "rope_freqs.weight: divisor 0 is"},
	} {
		path := ggufWith(t, tc.set, tc.tensors)
		if _, err := Load(path); stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGGUFNotFinite(t *testing.T) {
	text := []byte(read(t, ggufs+"tiny-llama.F32.gguf"))
	copy(text[len(text)-4:], "\x00\x00\x80\x7f")
	path := filepath.Join(t.TempDir(), "infinite.gguf")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), "is +Inf: the model that was saved had diverged") {
		t.Error(err)
	}
}

// A file that is read has a configuration with which every parameter has its data.
func FuzzLoadGGUF(f *testing.F) {
	for _, arch := range Architectures() {
		c := tinyLlama
		c.Architecture, c.VocabSize, c.HiddenSize, c.IntermediateSize, c.NumHiddenLayers, c.HeadDim = arch, 8, 8, 4, 1, 2
		var file bytes.Buffer
		if err := WriteGGUF(&file, New(c, 1, 1), GGUFOptions{Tokenizer: []gguf.Pair{{Key: "tokenizer.ggml.eos_token_id", Value: uint32(2)}}}); err != nil {
			f.Fatal(err)
		}
		f.Add(file.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "x.gguf")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := Load(path)
		if err != nil {
			if stillhouse.KindOf(err) != stillhouse.Invalid {
				t.Errorf("not the user's error: %v", err)
			}
			return
		}
		if err := m.Config.Validate(); err != nil {
			t.Error(err)
		}
		for _, p := range m.Params {
			if len(p.Data) != p.Size() {
				t.Errorf("%s: %d values, not those of %v", p.Name, len(p.Data), p.Shape)
			}
		}
	})
}
