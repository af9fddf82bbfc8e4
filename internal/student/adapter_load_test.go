package student

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/hub"
)

func TestTargets(t *testing.T) {
	m := load(t, "tiny-llama")
	all := AdapterConfig{R: 2, Alpha: 4}
	for name, tc := range map[string]struct {
		change func(*AdapterConfig)
		want   string // the modules, in short
	}{
		"list":       {func(c *AdapterConfig) { c.TargetModules.Names = []string{"q_proj", "mlp.up_proj"} }, "0q 0up 1q 1up 2q 2up"},
		"whole name": {func(c *AdapterConfig) { c.TargetModules.Names = []string{"model.layers.1.self_attn.v_proj"} }, "1v"},
		"not a part": {func(c *AdapterConfig) { c.TargetModules.Names = []string{"proj", "down_proj"} }, "0down 1down 2down"},
		"all-linear": {func(c *AdapterConfig) { c.TargetModules.Pattern = "All-Linear" }, "0q 0k 0v 0o 0gate 0up 0down 1q 1k 1v 1o 1gate 1up 1down 2q 2k 2v 2o 2gate 2up 2down"},
		"pattern":    {func(c *AdapterConfig) { c.TargetModules.Pattern = `.*\.[02]\..*\.(q|k)_proj` }, "0q 0k 2q 2k"},
		"exclude": {func(c *AdapterConfig) {
			c.TargetModules.Pattern, c.ExcludeModules.Names = allLinear, []string{"mlp.gate_proj", "up_proj", "down_proj", "k_proj"}
		}, "0q 0v 0o 1q 1v 1o 2q 2v 2o"},
		"exclude text": {func(c *AdapterConfig) {
			c.TargetModules.Names, c.ExcludeModules.Pattern = []string{"o_proj"}, `.*layers\.(0|2)\..*`
		}, "1o"},
		"layers": {func(c *AdapterConfig) {
			c.TargetModules.Names, c.LayersToTransform = []string{"o_proj"}, []int{0, 2, 9}
		}, "0o 2o"},
		"layers named": {func(c *AdapterConfig) {
			c.TargetModules.Names, c.LayersToTransform, c.LayersPattern = []string{"o_proj"}, []int{2}, []string{"layers"}
		}, "2o"},
	} {
		c := all
		tc.change(&c)
		targets, err := c.targets(m)
		require.NoError(t, err, name)
		var got []string
		for _, target := range targets {
			parts := strings.Split(target.module, ".")
			got = append(got, parts[2]+strings.TrimSuffix(parts[4], "_proj"))
		}
		require.Equal(t, tc.want, strings.Join(got, " "), name)
	}
	for want, change := range map[string]func(*AdapterConfig){
		"target_modules is missing":      func(c *AdapterConfig) {},
		"matches no projection":          func(c *AdapterConfig) { c.TargetModules.Names = []string{"c_attn"} },
		"cannot be read":                 func(c *AdapterConfig) { c.TargetModules.Pattern = "(q_proj" },
		"lookarounds":                    func(c *AdapterConfig) { c.TargetModules.Pattern = ".*(?!q)_proj" },
		"lm_head is not supported":       func(c *AdapterConfig) { c.TargetModules.Names = []string{"q_proj", "lm_head"} },
		"embed_tokens is not supported":  func(c *AdapterConfig) { c.TargetModules.Names = []string{"model.embed_tokens"} },
		"only where target_modules is a": func(c *AdapterConfig) { c.TargetModules.Pattern, c.LayersToTransform = allLinear, []int{1} },
		"layers_pattern counts only":     func(c *AdapterConfig) { c.TargetModules.Pattern, c.LayersPattern = allLinear, []string{"layers"} },
		`rank_pattern: model.layers.0.self`: func(c *AdapterConfig) {
			c.TargetModules.Pattern, c.RankPattern = allLinear, map[string]int{"q_proj": 3, ".*_proj": 4}
		},
	} {
		c := all
		change(&c)
		_, err := c.targets(m)
		require.ErrorContains(t, err, want)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
}

// adapterDir is a copy of a golden adapter whose configuration has other values.
func adapterDir(t *testing.T, run string, set map[string]any) string {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(sft+run+"/adapter_final")))
	var c map[string]any
	require.NoError(t, json.Unmarshal([]byte(read(t, dir+"/adapter_config.json")), &c))
	for k, v := range set {
		c[k] = v
	}
	text, err := json.Marshal(c)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "adapter_config.json"), text, 0o644))
	return dir
}

func TestAdapterRefused(t *testing.T) {
	for want, set := range map[string]map[string]any{
		`peft_type "IA3"`:                  {"peft_type": "IA3"},
		`task_type "SEQ_CLS"`:              {"task_type": "SEQ_CLS"},
		`bias "all"`:                       {"bias": "all"},
		"modules_to_save is":               {"modules_to_save": []string{"lm_head"}},
		"fan_in_fan_out is true":           {"fan_in_fan_out": true},
		"lora_bias is true":                {"lora_bias": true},
		"alora_invocation_tokens":          {"alora_invocation_tokens": []int{1}},
		"a_key_of_tomorrow is 3":           {"a_key_of_tomorrow": 3},
		`init_lora_weights "pissa"`:        {"init_lora_weights": "pissa"},
		"r is 0":                           {"r": 0},
		"r is -8":                          {"r": -8},
		"lora_dropout is 1":                {"lora_dropout": 1},
		"adapter_config.json: json:":       {"r": "many"},
		"target_modules is missing":        {"target_modules": nil},
		"has shape [8 64]":                 {"r": 4},
		"lora_magnitude_vector of shape":   {"use_dora": true},
		"gate_proj.lora_A.weight of shape": {"target_modules": []string{"q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"}},
	} {
		a, err := LoadAdapter(adapterDir(t, "g-lora", set))
		if err == nil {
			err = a.Fits(load(t, "tiny-llama"))
		}
		require.ErrorContains(t, err, want)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), err)
	}
}

func TestAdapterOfAnotherBase(t *testing.T) {
	a, err := LoadAdapter(sft + "g-lora/adapter_final")
	require.NoError(t, err)
	for _, base := range []string{"tiny-qwen3", "tiny-qwen2"} {
		m := load(t, base)
		before := copied(data(m.Params))
		for _, err := range []error{m.Attach(a), a.Merge(m)} {
			require.ErrorContains(t, err, "is it an adapter of this base?")
			require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
		}
		require.Nil(t, m.Adapter)
		require.Equal(t, before, data(m.Params))
	}
	// A base of the same shape: what we write says on which weights it was trained.
	m := load(t, "tiny-llama")
	mine, err := NewAdapter(AdapterConfig{R: 2, Alpha: 4, TargetModules: Modules{Names: []string{"q_proj"}}}, m, 1)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, mine.Save(dir))
	back, err := LoadAdapter(dir)
	require.NoError(t, err)
	require.NoError(t, back.Fits(m))
	m.Params[4].Data[0]++
	require.ErrorContains(t, back.Fits(m), "it was trained on other weights")
}

func TestBrokenAdapter(t *testing.T) {
	a, err := LoadAdapter(sft + "g-lora/adapter_final")
	require.NoError(t, err)
	write := func(change func([]hub.FloatTensor) []hub.FloatTensor) string {
		var list []hub.FloatTensor
		for _, p := range a.Params {
			list = append(list, hub.FloatTensor{Name: p.Name, Shape: slices.Clone(p.Shape), Data: slices.Clone(p.Data)})
		}
		var out strings.Builder
		require.NoError(t, hub.WriteSafetensors(&out, "F32", change(list)))
		return out.String()
	}
	type tensors = []hub.FloatTensor
	whole := write(func(in tensors) tensors { return in })
	infinite := []byte(whole)
	copy(infinite[len(infinite)-4:], []byte{0, 0, 0x80, 0x7f})
	for want, text := range map[string]string{
		"there is no such file": "",
		"not a whole":           whole[:2000],
		"is missing":            write(func(in tensors) tensors { return in[1:] }),
		"is not among those": write(func(in tensors) tensors {
			return append(in, hub.FloatTensor{Name: "base_model.model.lm_head.weight", Shape: []int{1}, Data: []float32{1}})
		}),
		"has shape [64 8]": write(func(in tensors) tensors { in[2].Shape = []int{64, 8}; return in }),
		"is +Inf":          string(infinite),
	} {
		dir := adapterDir(t, "g-lora", nil)
		path := filepath.Join(dir, "adapter_model.safetensors")
		if text == "" {
			require.NoError(t, os.Remove(path))
		} else {
			require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		}
		a, err := LoadAdapter(dir)
		if err == nil {
			err = a.Fits(load(t, "tiny-llama"))
		}
		require.ErrorContains(t, err, want)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
}

// A student that is an adapter directory is its base with the adapter.
func TestOpenStudent(t *testing.T) {
	dir := adapterDir(t, "m-qwen3-lora", nil)
	m, base, err := OpenStudent(dir, func(name string) (string, error) { return models + name, nil })
	require.NoError(t, err)
	require.Equal(t, models+"tiny-qwen3", base)
	ids := firstRow(t, "m-qwen3-lora")
	got, err := m.Logits(Batch{Tokens: ids, Lengths: []int{len(ids)}})
	require.NoError(t, err)
	require.LessOrEqual(t, maxDifference(t, got, tensors(t, sft+"m-qwen3-lora/final_logits.safetensors")("logits_adapter")), 1e-4)

	m, base, err = OpenStudent(models+"tiny-llama", nil)
	require.NoError(t, err)
	require.Equal(t, models+"tiny-llama", base)
	require.Nil(t, m.Adapter)

	_, _, err = OpenStudent(adapterDir(t, "m-qwen3-lora", map[string]any{"base_model_name_or_path": nil}), nil)
	require.ErrorContains(t, err, "base_model_name_or_path is missing")
	_, _, err = OpenStudent(dir, func(string) (string, error) { return dir, nil })
	require.ErrorContains(t, err, "is an adapter itself")
}

func FuzzAdapterConfig(f *testing.F) {
	text, err := os.ReadFile(sft + "g-dora/adapter_final/adapter_config.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"target_modules": ".*(q|k)_proj", "layers_to_transform": 3, "rank_pattern": {"^a.*": 2}}`)
	m := New(odd, 1, 0.1)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, AdapterConfigFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := readAdapterConfig(dir)
		if err != nil {
			return
		}
		if _, _, err := c.layout(m); err != nil && stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Fatalf("%v", err)
		}
	})
}
