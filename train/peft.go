package train

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/hub"
	"stillhouse/internal/options"
	"stillhouse/internal/student"
)

// PEFT says that an adapter is trained in place of the model's own weights. The keys are those of PEFT 0.21's LoraConfig,
// with its meaning and its defaults; init_adapter and merge are this program's own. What LoraConfig has and this struct
// has not is taken with the one value that means nothing here, else refused by name.
//
// With init_adapter, what is left out is as that adapter has it.
type PEFT struct {
	R                 *int               `yaml:"r" json:"r" doc:"Rank of the adapter."`
	LoraAlpha         *float64           `yaml:"lora_alpha" json:"lora_alpha" doc:"The adapter's product is multiplied by lora_alpha / r."`
	LoraDropout       *float64           `yaml:"lora_dropout" json:"lora_dropout" doc:"Share of the elements of an adapter's input that are dropped while training."`
	TargetModules     any                `yaml:"target_modules" json:"target_modules" doc:"The projections that have adapters: a list of names or ends of names, a regular expression that is the whole name, or all-linear for all of the layers. By default [q_proj, v_proj]."`
	ExcludeModules    any                `yaml:"exclude_modules" json:"exclude_modules" doc:"Projections that have none all the same: a list of names or ends of names, or a regular expression."`
	UseRSLoRA         *bool              `yaml:"use_rslora" json:"use_rslora" doc:"Multiply by lora_alpha / √r instead."`
	UseDoRA           *bool              `yaml:"use_dora" json:"use_dora" doc:"Train the length of each row of a projection apart from its direction."`
	InitLoraWeights   any                `yaml:"init_lora_weights" json:"init_lora_weights" doc:"true: A is uniform and B is 0, so that nothing changes at first. gaussian: A is normal. false: B is uniform too."`
	LayersToTransform any                `yaml:"layers_to_transform" json:"layers_to_transform" doc:"Layers whose projections have adapters, a list of numbers or one; by default all."`
	LayersPattern     any                `yaml:"layers_pattern" json:"layers_pattern" doc:"What the list of layers is called in the names, for layers_to_transform."`
	RankPattern       map[string]int     `yaml:"rank_pattern" json:"rank_pattern" doc:"Ranks of the projections whose names end as a regular expression says, in place of r."`
	AlphaPattern      map[string]float64 `yaml:"alpha_pattern" json:"alpha_pattern" doc:"lora_alpha of the projections whose names end as a regular expression says."`
	InitAdapter       string             `yaml:"init_adapter" json:"init_adapter" doc:"A PEFT adapter to begin with, in place of drawn weights: a directory, or a name on the Hub."`
	Merge             bool               `yaml:"merge" json:"merge" doc:"Write the student with the adapter merged into its weights; the adapter is beside it, in the folder adapter."`
}

// EnsureDefaults fills in what is not set, with the defaults of LoraConfig.
func (p *PEFT) EnsureDefaults() {
	if p.InitAdapter != "" {
		return
	}
	point(&p.R, 8)
	point(&p.LoraAlpha, 8)
	point(&p.LoraDropout, 0)
	point(&p.UseRSLoRA, false)
	point(&p.UseDoRA, false)
	if p.InitLoraWeights == nil {
		p.InitLoraWeights = true
	}
}

// Validate names the first key whose value cannot be used.
func (p PEFT) Validate() error {
	if p.R != nil && *p.R < 1 {
		return options.Wrongf("r", "is %d: it must be 1 or more", *p.R)
	}
	if p.LoraAlpha != nil && *p.LoraAlpha == 0 {
		return options.Wrongf("lora_alpha", "is 0: the adapter would count for nothing")
	}
	if d := p.LoraDropout; d != nil && !(*d >= 0 && *d < 1) {
		return options.Wrongf("lora_dropout", "is %v: it must be from 0 to below 1", *d)
	}
	for key, r := range p.RankPattern {
		if r < 1 {
			return options.Wrongf("rank_pattern", "is %d for %s: it must be 1 or more", r, key)
		}
	}
	switch p.InitLoraWeights {
	case nil, true, false, "gaussian", "true", "false":
	default:
		return options.Wrongf("init_lora_weights", "is %v, which is not done here: write true, gaussian or false", p.InitLoraWeights)
	}
	for key, v := range map[string]any{"target_modules": p.TargetModules, "exclude_modules": p.ExcludeModules, "layers_pattern": p.LayersPattern} {
		m, err := modules(v)
		if err != nil {
			return options.Wrongf(key, "is %v: %v", v, err)
		}
		for _, name := range m.Names {
			if last := name[strings.LastIndex(name, ".")+1:]; key == "target_modules" && (last == "lm_head" || last == "embed_tokens") {
				return options.Wrongf(key, "names %s: the projections of the layers can have adapters, the embedding and the output head cannot; take it out", name)
			}
		}
	}
	if _, err := layers(p.LayersToTransform); err != nil {
		return options.Wrongf("layers_to_transform", "is %v: %v", p.LayersToTransform, err)
	}
	c, err := p.config(student.AdapterConfig{R: 8, Alpha: 8, TargetModules: defaultTargets})
	if err == nil {
		err = c.Validate()
	}
	return err
}

// defaultTargets are PEFT's for Llama, Qwen2 and Qwen3.
var defaultTargets = student.Modules{Names: []string{"q_proj", "v_proj"}}

// modules reads a list of names, or a text.
func modules(v any) (m student.Modules, err error) {
	switch v := v.(type) {
	case nil:
	case string:
		m.Pattern = v
	case []any:
		for _, item := range v {
			name, ok := item.(string)
			if !ok || name == "" {
				return m, fmt.Errorf("%v is not the name of a module", item)
			}
			m.Names = append(m.Names, name)
		}
	default:
		return m, fmt.Errorf("it must be a list of names, or a text")
	}
	return m, nil
}

// layers reads a list of numbers, or one.
func layers(v any) (out []int, err error) {
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	for _, item := range list {
		n, ok := item.(int)
		if f, isFloat := item.(float64); isFloat && f == float64(int(f)) { // as JSON reads it
			n, ok = int(f), true
		}
		if !ok || n < 0 {
			return nil, fmt.Errorf("%v is not the number of a layer: the first is 0", item)
		}
		out = append(out, n)
	}
	return out, nil
}

// config is the configuration of the adapter: what is set here, over what is there.
func (p PEFT) config(c student.AdapterConfig) (student.AdapterConfig, error) {
	if p.R != nil {
		c.R = *p.R
	}
	if p.LoraAlpha != nil {
		c.Alpha = *p.LoraAlpha
	}
	if p.LoraDropout != nil {
		c.Dropout = *p.LoraDropout
	}
	if p.UseRSLoRA != nil {
		c.RSLoRA = *p.UseRSLoRA
	}
	if p.UseDoRA != nil {
		c.DoRA = *p.UseDoRA
	}
	if p.InitLoraWeights != nil {
		c.Init = fmt.Sprint(p.InitLoraWeights)
	}
	if p.RankPattern != nil {
		c.RankPattern = p.RankPattern
	}
	if p.AlphaPattern != nil {
		c.AlphaPattern = p.AlphaPattern
	}
	for _, set := range []struct {
		from any
		to   *student.Modules
	}{{p.TargetModules, &c.TargetModules}, {p.ExcludeModules, &c.ExcludeModules}} {
		m, err := modules(set.from)
		if err != nil {
			return c, err
		}
		if set.from != nil {
			*set.to = m
		}
	}
	if p.LayersToTransform != nil {
		list, err := layers(p.LayersToTransform)
		if err != nil {
			return c, err
		}
		c.LayersToTransform = list
	}
	if p.LayersPattern != nil {
		m, err := modules(p.LayersPattern)
		if err != nil {
			return c, err
		}
		if c.LayersPattern = m.Names; m.Pattern != "" {
			c.LayersPattern = []string{m.Pattern}
		}
	}
	return c, nil
}

// adapter makes the adapter of a training, or reads the one that it goes on from, downloading it when it is a name on the
// Hub.
func (o Options) adapter(ctx context.Context, m *student.Model, progress func(file string, done, total int64)) (*student.Adapter, error) {
	p := o.PEFT
	if p.InitAdapter == "" {
		c, err := p.config(student.AdapterConfig{Base: o.Student, TargetModules: defaultTargets})
		if err != nil {
			return nil, err
		}
		return student.NewAdapter(c, m, uint64(*o.Seed))
	}
	a, err := p.stored(ctx, progress)
	if err != nil {
		return nil, err
	}
	stored := a.Config
	if a.Config, err = p.config(stored); err != nil {
		return nil, err
	}
	for _, c := range []struct {
		key     string
		is, has any
	}{
		{"r", a.Config.R, stored.R}, {"lora_alpha", a.Config.Alpha, stored.Alpha}, {"use_rslora", a.Config.RSLoRA, stored.RSLoRA},
		{"use_dora", a.Config.DoRA, stored.DoRA},
	} {
		if c.is != c.has {
			return nil, options.Wrongf("train.peft."+c.key, "is %v, but the adapter in %s has %v: leave it out, or begin with another adapter", c.is, p.InitAdapter, c.has)
		}
	}
	if !maps.Equal(a.Config.AlphaPattern, stored.AlphaPattern) {
		return nil, options.Wrongf("train.peft.alpha_pattern", "is %v, but the adapter in %s has %v: leave it out, or begin with another adapter", a.Config.AlphaPattern, p.InitAdapter, stored.AlphaPattern)
	}
	a.Config.Base = o.Student
	return a, nil
}

// stored reads the adapter that a training goes on from.
func (p PEFT) stored(ctx context.Context, progress func(file string, done, total int64)) (*student.Adapter, error) {
	dir, err := hub.Resolve(ctx, p.InitAdapter, hub.Options{Progress: progress})
	if err != nil {
		return nil, fmt.Errorf("init_adapter: %w", err)
	}
	if !student.IsAdapter(dir) {
		return nil, stillhouse.Invalidf("init_adapter: %s is no adapter: it has no %s", p.InitAdapter, student.AdapterConfigFile)
	}
	return student.LoadAdapter(dir)
}

// peftKeys are the keys of LoraConfig (PEFT 0.21) without a field.
var peftKeys = map[string]foreign{
	"peft_type":               only("LoRA adapters are trained", "LORA"),
	"task_type":               only("the student is a causal language model", "CAUSAL_LM"),
	"bias":                    only("the base's biases stay as they are", "none"),
	"fan_in_fan_out":          off("projections are stored [out, in]"),
	"modules_to_save":         unset("beside an adapter the base stays as it is, embedding and output head too; without peft all of it is trained"),
	"trainable_token_indices": unset("the embedding is not trained beside an adapter"),
	"target_parameters":       unset("adapters are of modules: name them in target_modules"),
	"layer_replication":       unset("layers are not repeated"),
	"lora_bias":               off("adapters have no biases"),
	"use_qalora":              off("the base is not quantised"),
	"qalora_group_size":       anything,
	"loftq_config":            unset("the base is not quantised"),
	"eva_config":              unset("adapters are drawn without looking at rows"),
	"corda_config":            unset("adapters are drawn without looking at rows"),
	"lora_ga_config":          unset("adapters are drawn without looking at rows"),
	"alora_invocation_tokens": unset("an adapter counts for every token"),
	"velora_config":           unset(otherVariant), "monteclora_config": unset(otherVariant), "use_bdlora": unset(otherVariant),
	"arrow_config": unset(otherVariant), "kasa_config": unset(otherVariant),
	"megatron_config": unset("there is no Megatron here"), "megatron_core": anything,
	"ensure_weight_tying": off("embedding and output head have no adapters"),
	"runtime_config":      anything, "inference_mode": off("an adapter that is trained is not in inference mode"),
	"auto_mapping": anything, "peft_version": anything,
	"base_model_name_or_path": unset("the base is train.student"),
	"revision":                unset("the base's revision is written after its name: name@revision"),
}

const otherVariant = "LoRA, rsLoRA and DoRA are trained"

// UnmarshalYAML reads the block under train.peft.
func (p *PEFT) UnmarshalYAML(block *yaml.Node) error {
	others := options.Fields{}
	for key, f := range peftKeys {
		others[key] = &f
	}
	type plain PEFT
	return options.Decode(block, (*plain)(p), others)
}

// ensureAdapter fills in the block of the adapter, which train.init_adapter alone asks for too.
func (o *Options) ensureAdapter() {
	if o.InitAdapter != "" && o.PEFT == nil {
		o.PEFT = &PEFT{}
	}
	if o.PEFT == nil {
		return
	}
	ensure(&o.PEFT.InitAdapter, o.InitAdapter)
	o.PEFT.EnsureDefaults()
}

// checkAdapter names the first key of the adapter whose value cannot be used.
func (o Options) checkAdapter() error {
	switch {
	case o.PEFT == nil:
		return nil
	case o.InitAdapter != "" && o.InitAdapter != o.PEFT.InitAdapter:
		return options.Wrongf("init_adapter", "is %s, and peft.init_adapter is %s: write one of them", o.InitAdapter, o.PEFT.InitAdapter)
	case o.FromScratch && !o.PEFT.Merge:
		return options.Wrongf("peft", "is set together with from_scratch: an adapter needs a base that is stored; write merge: true, or leave one of them out")
	}
	return options.Under("peft", o.PEFT.Validate())
}

// describeAdapter says what is trained.
func describeAdapter(a *student.Adapter) string {
	kind := "LoRA"
	switch c := a.Config; {
	case c.DoRA:
		kind = "DoRA"
	case c.RSLoRA:
		kind = "rsLoRA"
	}
	n, projections := 0, 0
	for _, p := range a.Params {
		n += len(p.Data)
		if strings.HasSuffix(p.Name, ".lora_A.weight") {
			projections++
		}
	}
	return fmt.Sprintf("%s of rank %d on %d projections, %.2f million parameters trained", kind, a.Config.R, projections, float64(n)/1e6)
}
