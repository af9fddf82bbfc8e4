package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/gguf"
	"stillhouse/internal/student"
)

const parity = "../../testdata/parity/train/"

func load(t *testing.T, dir string) Model {
	t.Helper()
	tk, err := chat.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tk.Close() })
	m, err := student.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return Model{Name: filepath.Base(dir), Dir: dir, Weights: m, Tokenizer: tk}
}

func tiny(t *testing.T) Model { return load(t, parity+"models/tiny-llama") }

// export writes a model that must come out whole, and checks that the report beside it is the one that was given.
func export(t *testing.T, m Model, o Options) (string, *Report) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	r, err := Write(context.Background(), m, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, ReportFile))
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != string(want)+"\n" {
		t.Errorf("export.json is %s, not %s", text, want)
	}
	for _, f := range r.Files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name))
		if sum := sha256.Sum256(data); err != nil || int64(len(data)) != f.Bytes || hex.EncodeToString(sum[:]) != f.SHA256 {
			t.Errorf("%s: %d bytes, %v, not those of the report", f.Name, len(data), err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != len(r.Files)+1 {
		t.Errorf("%d files, %v, the report has %d", len(entries), err, len(r.Files))
	}
	return dir, r
}

// A GGUF file holds what the gguf package writes of the same model, byte for byte.
func TestGGUFAsGolden(t *testing.T) {
	var golden struct {
		Files map[string]struct {
			Tensors map[string]struct {
				SHA256 string `json:"bytes_sha256"`
			}
		}
	}
	text, err := os.ReadFile(parity + "gguf/gguf.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	for _, dtype := range dtypes[GGUF] {
		dir, r := export(t, tiny(t), Options{Format: GGUF, Dtype: dtype})
		name := "tiny-llama-" + strings.ToUpper(dtype) + ".gguf"
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want := golden.Files["tiny-llama."+strings.ToUpper(dtype)+".gguf"].Tensors
		f, err := gguf.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if len(f.Tensors()) != len(want) || len(want) == 0 {
			t.Errorf("%s: %d tensors, not %d", name, len(f.Tensors()), len(want))
		}
		at := int64(len(data)) // tensors fill the end of the file, each up to a multiple of 32
		tensors := f.Tensors()
		slices.Reverse(tensors)
		for _, x := range tensors {
			at -= (x.Bytes() + 31) / 32 * 32
			sum := sha256.Sum256(data[at : at+x.Bytes()])
			if got := hex.EncodeToString(sum[:]); got != want[x.Name].SHA256 {
				t.Errorf("%s: %s: %s, not %s", name, x.Name, got, want[x.Name].SHA256)
			}
		}
		c := r.Comparison
		if lossless := dtype == "f32"; c.MaxDiff != 0 || (c.MaxDiffUnrounded == 0) != lossless || (c.SameTop == 1) != (lossless || dtype == "f16") || c.Places < 200 {
			t.Errorf("%s: %+v", name, c)
		}
		if len(r.Notes) > 0 {
			t.Errorf("%s: %q", name, r.Notes)
		}
	}
}

// Every architecture, and what it may have, is the same in both formats after it was read back.
func TestArchitectures(t *testing.T) {
	with := func(change func(c *student.Config)) Model {
		m := tiny(t)
		c := m.Weights.Config
		change(&c)
		m.Weights = student.New(c, 3, 0.2)
		for _, p := range m.Weights.Params {
			if strings.HasSuffix(p.Name, ".bias") {
				for i := range p.Data {
					p.Data[i] = float32(i%7) - 3
				}
			}
		}
		return m
	}
	for name, m := range map[string]func() Model{
		"qwen2":  func() Model { return load(t, parity+"models/tiny-qwen2") },
		"qwen3":  func() Model { return load(t, parity+"models/tiny-qwen3") },
		"gguf":   func() Model { return load(t, parity+"gguf/tiny-llama.Q4_1.gguf") },
		"biases": func() Model { return with(func(c *student.Config) { c.AttentionBias, c.MLPBias = true, true }) },
		"untied": func() Model {
			return with(func(c *student.Config) { c.TieWordEmbeddings, c.EOSTokenIDs = false, []int{2, 0, 5} })
		},
		"linear": func() Model {
			return with(func(c *student.Config) { c.RopeScaling = student.RopeScaling{Type: "linear", Factor: 3} })
		},
		"llama3": func() Model {
			return with(func(c *student.Config) {
				c.RopeScaling = student.RopeScaling{Type: "llama3", Factor: 8, LowFreq: 1.5, HighFreq: 3, Original: 100}
			})
		},
		"llama3.1": func() Model {
			return with(func(c *student.Config) {
				c.RopeTheta = 5e5
				c.RopeScaling = student.RopeScaling{Type: "llama3", Factor: 32, LowFreq: 1, HighFreq: 4, Original: 8192}
			})
		},
	} {
		for _, o := range []Options{{Format: GGUF, Dtype: "f32"}, {Format: GGUF, Dtype: "q8_0"}, {Format: Safetensors}, {Format: Safetensors, Dtype: "f16"}} {
			_, r := export(t, m(), o)
			if r.Comparison.MaxDiff != 0 {
				t.Errorf("%s as %+v: logits differ by %v", name, o, r.Comparison.MaxDiff)
			}
		}
	}
}

func TestShards(t *testing.T) {
	dir, r := export(t, tiny(t), Options{MaxShardSize: 120_000})
	var index struct {
		Metadata struct {
			Parameters int64 `json:"total_parameters"`
			Size       int64 `json:"total_size"`
		}
		Map map[string]string `json:"weight_map"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &index); err != nil {
		t.Fatal(err)
	}
	shards := map[string]bool{}
	for _, name := range index.Map {
		shards[name] = true
	}
	if len(index.Map) != 29 || len(shards) != 7 || index.Metadata.Size != 4*index.Metadata.Parameters {
		t.Errorf("%d tensors in %d shards, %+v", len(index.Map), len(shards), index.Metadata)
	}
	for _, f := range r.Files {
		if shards[f.Name] && f.Bytes > 125_000 {
			t.Errorf("%s has %d bytes", f.Name, f.Bytes)
		}
	}
	back, err := student.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := tiny(t).Weights; !reflect.DeepEqual(back, want) {
		t.Error("the model is another one")
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
		a, errA := os.ReadFile(filepath.Join(dir, name))
		b, errB := os.ReadFile(parity + "models/tiny-llama/" + name)
		if errA != nil || errB != nil || name != "generation_config.json" && !bytes.Equal(a, b) {
			t.Errorf("%s was not carried over: %v, %v", name, errA, errB)
		}
	}
}

// What goes wrong after the weights were written leaves nothing behind.
func TestNothingHalfWritten(t *testing.T) {
	flip := func(name string, at int) func(string) error {
		return func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{0x40}, info.Size()-int64(at))
			return err
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	for name, tc := range map[string]struct {
		ctx  context.Context
		o    Options
		want string
	}{
		"another weight":    {nil, Options{written: flip("model.safetensors", 1)}, "read back: logits differ by"},
		"another weight, 2": {nil, Options{Format: GGUF, Dtype: "f16", written: flip("tiny-llama-F16.gguf", 1)}, "read back: logits differ by"},
		"no tokenizer": {nil, Options{written: func(dir string) error { return os.Remove(filepath.Join(dir, "tokenizer.json")) }},
			"read back: load tokenizer: "},
		"another template": {nil, Options{written: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte("{{ messages }}"), 0o644)
		}}, "read back: the chat template renders "},
		"a full disk": {nil, Options{written: func(string) error { return fmt.Errorf("write: %w", syscall.ENOSPC) }}, "the disk is full: free some space"},
		"interrupted": {cancelled, Options{written: func(string) error { cancel(); return nil }}, context.Canceled.Error()},
	} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "out")
		if tc.ctx == nil {
			tc.ctx = context.Background()
		}
		_, err := Write(tc.ctx, tiny(t), dir, tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "export tiny-llama to "+dir) {
			t.Errorf("%s: %v", name, err)
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) > 0 {
			t.Errorf("%s: %v is left, %v", name, entries, err)
		}
	}
}

func TestRefused(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "a"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(t.TempDir(), "new")
	diverged := tiny(t)
	diverged.Weights.Params[0].Data[3] = float32(math.NaN())
	large := tiny(t)
	large.Weights.Params[2].Data[5] = 1e5
	for name, tc := range map[string]struct {
		m    Model
		dir  string
		o    Options
		want string
	}{
		"a format":      {tiny(t), fresh, Options{Format: "onnx"}, `format "onnx" is not written: safetensors, gguf, merged, peft are`},
		"a dtype":       {tiny(t), fresh, Options{Dtype: "q8_0"}, `dtype "q8_0" is not written as safetensors: of f32, f16, bf16, q8_0 and q4_0, it can be f32, f16, bf16`},
		"another":       {tiny(t), fresh, Options{Format: GGUF, Dtype: "q4_k"}, `dtype "q4_k" is not written as gguf`},
		"a shard":       {tiny(t), fresh, Options{MaxShardSize: -1}, "max-shard-size is -1"},
		"a full folder": {tiny(t), full, Options{}, "there is something in it already"},
		"a file":        {tiny(t), filepath.Join(full, "a"), Options{}, "it is no folder"},
		"diverged":      {diverged, fresh, Options{}, "the model's logits are not finite"},
		"too large":     {large, fresh, Options{Dtype: "f16"}, "element 5 is 100000"},
		"words":         {load(t, "../../testdata/models/demo-base"), fresh, Options{Format: GGUF}, "the tokenizer's model is WordLevel: byte-level BPE can be written as GGUF; --format safetensors keeps the tokenizer"},
	} {
		_, err := Write(context.Background(), tc.m, tc.dir, tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) || name != "too large" && stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(fresh); err == nil {
			t.Errorf("%s: a folder was left", name)
		}
	}
}
