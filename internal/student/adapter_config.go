package student

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
)

// AdapterConfigFile is the file that makes a directory an adapter.
const AdapterConfigFile = "adapter_config.json"

// IsAdapter says whether a directory is a PEFT adapter.
func IsAdapter(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, AdapterConfigFile))
	return err == nil
}

// adapterJSON is adapter_config.json: what counts here under LoraConfig's names.
type adapterJSON struct {
	PeftType          string             `json:"peft_type"`
	TaskType          *string            `json:"task_type"`
	Base              *string            `json:"base_model_name_or_path"`
	R                 int                `json:"r"`
	Alpha             float64            `json:"lora_alpha"`
	Dropout           float64            `json:"lora_dropout"`
	RSLoRA            bool               `json:"use_rslora"`
	DoRA              bool               `json:"use_dora"`
	Bias              string             `json:"bias"`
	TargetModules     Modules            `json:"target_modules"`
	ExcludeModules    Modules            `json:"exclude_modules"`
	LayersToTransform layerList          `json:"layers_to_transform"`
	LayersPattern     Modules            `json:"layers_pattern"`
	RankPattern       map[string]int     `json:"rank_pattern"`
	AlphaPattern      map[string]float64 `json:"alpha_pattern"`
	Init              any                `json:"init_lora_weights"`
}

// layerList is a list of layers, or one.
type layerList []int

func (l *layerList) UnmarshalJSON(text []byte) error {
	var one *int
	if json.Unmarshal(text, &one) == nil {
		if *l = nil; one != nil {
			*l = layerList{*one}
		}
		return nil
	}
	return json.Unmarshal(text, (*[]int)(l))
}

// ignoredKeys of adapter_config.json change nothing of what a stored adapter computes.
var ignoredKeys = []string{"auto_mapping", "inference_mode", "peft_version", "revision", "megatron_config", "megatron_core", "qalora_group_size",
	"loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config", "ensure_weight_tying"}

// readAdapterConfig reads adapter_config.json. A key that it has and this package does not know is taken only where its
// value says that it is off: an adapter is never computed wrongly.
func readAdapterConfig(dir string) (AdapterConfig, error) {
	path := filepath.Join(dir, AdapterConfigFile)
	raw := adapterJSON{PeftType: "LORA", R: 8, Alpha: 8, Bias: "none", Init: true}
	var all map[string]json.RawMessage
	if err := readJSON(path, &all); err != nil {
		return AdapterConfig{}, err
	}
	if err := readJSON(path, &raw); err != nil {
		return AdapterConfig{}, err
	}
	known := map[string]bool{}
	text, err := json.Marshal(raw)
	if err != nil {
		return AdapterConfig{}, err
	}
	var mine map[string]json.RawMessage
	if err := json.Unmarshal(text, &mine); err != nil {
		return AdapterConfig{}, err
	}
	for key := range mine {
		known[key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if known[key] || slices.Contains(ignoredKeys, key) || slices.Contains([]string{"null", "false", "{}", "[]", `""`, "0"}, string(all[key])) {
			continue
		}
		return AdapterConfig{}, stillhouse.Invalidf("%s: %s is %s, which is not supported", path, key, all[key])
	}
	c, err := raw.config()
	if err != nil {
		return AdapterConfig{}, stillhouse.Invalidf("%s: %w", path, err)
	}
	return c, nil
}

func (r adapterJSON) config() (AdapterConfig, error) {
	switch {
	case r.PeftType != "LORA":
		return AdapterConfig{}, fmt.Errorf("peft_type %q is not supported: LORA is", r.PeftType)
	case r.TaskType != nil && *r.TaskType != "CAUSAL_LM":
		return AdapterConfig{}, fmt.Errorf("task_type %q is not supported: CAUSAL_LM is", *r.TaskType)
	case r.Bias != "none":
		return AdapterConfig{}, fmt.Errorf("bias %q is not supported: none is", r.Bias)
	}
	c := AdapterConfig{R: r.R, Alpha: r.Alpha, Dropout: r.Dropout, RSLoRA: r.RSLoRA, DoRA: r.DoRA, TargetModules: r.TargetModules, ExcludeModules: r.ExcludeModules,
		LayersToTransform: r.LayersToTransform, LayersPattern: r.LayersPattern.Names, RankPattern: r.RankPattern, AlphaPattern: r.AlphaPattern, Init: fmt.Sprint(r.Init)}
	if r.Base != nil {
		c.Base = *r.Base
	}
	if p := r.LayersPattern.Pattern; p != "" {
		c.LayersPattern = []string{p}
	}
	switch c.Init {
	case "eva", "orthogonal": // ways to draw A and B that leave the base as it is
		c.Init = "true"
	case "true", "false", "gaussian":
	default:
		return c, fmt.Errorf("init_lora_weights %q is not supported: it changes the base's weights, so that this adapter is not one of the base as it is stored", c.Init)
	}
	return c, c.Validate()
}

// json is adapter_config.json as PEFT 0.21 writes it.
func (c AdapterConfig) json() ([]byte, error) {
	var base, layers any
	if c.Base != "" {
		base = c.Base
	}
	if len(c.LayersToTransform) > 0 {
		layers = c.LayersToTransform
	}
	init := any(c.Init != "false")
	if c.Init == "gaussian" {
		init = c.Init
	}
	ranks, alphas := map[string]int{}, map[string]json.Number{}
	maps.Copy(ranks, c.RankPattern)
	for k, a := range c.AlphaPattern {
		alphas[k] = number(a)
	}
	return indent(map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": true, "bias": "none", "fan_in_fan_out": false,
		"r": c.R, "lora_alpha": number(c.Alpha), "lora_dropout": float(c.Dropout), "use_rslora": c.RSLoRA, "use_dora": c.DoRA,
		"target_modules": c.TargetModules, "exclude_modules": c.ExcludeModules, "layers_to_transform": layers, "layers_pattern": Modules{Names: c.LayersPattern},
		"rank_pattern": ranks, "alpha_pattern": alphas, "init_lora_weights": init, "modules_to_save": nil, "revision": nil, "auto_mapping": nil,
	})
}

// number writes a whole number without a point.
func number(x float64) json.Number { return json.Number(strings.TrimSuffix(string(float(x)), ".0")) }

var errNoBase = errors.New("base_model_name_or_path is missing: which model is it an adapter of?")

// baseOf is the directory or the name of an adapter's base: as it stands, or where it is no directory that can be reached
// from here, beside the adapter.
func baseOf(dir string, c AdapterConfig) (string, error) {
	if c.Base == "" {
		return "", stillhouse.Invalidf("%s: %w", filepath.Join(dir, AdapterConfigFile), errNoBase)
	}
	if _, err := os.Stat(c.Base); err != nil && !filepath.IsAbs(c.Base) {
		if beside := filepath.Join(dir, c.Base); IsModel(beside) {
			return beside, nil
		}
	}
	return c.Base, nil
}

// IsModel says whether a path is a directory with a config.json.
func IsModel(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "config.json"))
	return err == nil
}
