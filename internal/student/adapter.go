package student

import (
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"unsafe"

	"stillhouse"
)

// An Adapter is a LoRA adapter (Hu et al., 2021, arXiv 2106.09685) of a model's projections, as PEFT 0.21 defines it: a
// projection W [out, in] becomes W + scale·B·A with A [r, in] and B [out, r]. With DoRA (Liu et al., 2024, arXiv
// 2402.09353) each row of that sum is brought to the length that a trained magnitude says.
type Adapter struct {
	Config AdapterConfig
	Params []*Param // as in adapter_model.safetensors, named as there; those that a product takes together lie together

	base string // the fingerprint of the base that it was trained on, "" when the adapter does not say
}

// AdapterConfig is what adapter_config.json says, under the names of PEFT's LoraConfig.
type AdapterConfig struct {
	Base              string   // base_model_name_or_path
	R                 int      // rank
	Alpha             float64  // lora_alpha: the scale is Alpha/R
	Dropout           float64  // lora_dropout: of the input of A, while training
	RSLoRA            bool     // the scale is Alpha/√R
	DoRA              bool     // use_dora
	TargetModules     Modules  // which projections
	ExcludeModules    Modules  // but not these
	LayersToTransform []int    // of these layers only; none for all
	LayersPattern     []string // what the list of layers is called
	RankPattern       map[string]int
	AlphaPattern      map[string]float64
	Init              string // init_lora_weights: true, gaussian or false
}

// The names that PEFT gives to an adapter's tensors.
const (
	adapterPrefix   = "base_model.model."
	suffixA         = ".lora_A.weight"
	suffixB         = ".lora_B.weight"
	suffixMagnitude = ".lora_magnitude_vector"
)

// maxRank is the largest rank that is believed.
const maxRank = 1 << 16

// Validate names the first value that no adapter can have.
func (c AdapterConfig) Validate() error {
	ranks := map[string]int{"r": c.R}
	for k, r := range c.RankPattern {
		ranks["rank_pattern "+k] = r
	}
	alphas := map[string]float64{"lora_alpha": c.Alpha}
	for k, a := range c.AlphaPattern {
		alphas["alpha_pattern "+k] = a
	}
	for key, r := range ranks {
		if r < 1 || r > maxRank {
			return stillhouse.Invalidf("%s is %d: it must be from 1 to %d", key, r, maxRank)
		}
	}
	for key, a := range alphas {
		if !(math.Abs(a) <= 1e6) {
			return stillhouse.Invalidf("%s is %v: it must be a number of at most 1e6", key, a)
		}
	}
	switch {
	case !(c.Dropout >= 0 && c.Dropout < 1):
		return stillhouse.Invalidf("lora_dropout is %v: it must be from 0 to below 1", c.Dropout)
	case !slices.Contains([]string{"", "true", "false", "gaussian"}, c.Init):
		return stillhouse.Invalidf("init_lora_weights is %q: it must be true, gaussian or false", c.Init)
	}
	for _, i := range c.LayersToTransform {
		if i < 0 {
			return stillhouse.Invalidf("layers_to_transform: layer %d: the first is 0", i)
		}
	}
	return nil
}

// A target is one projection that has an adapter.
type target struct {
	module string // model.layers.0.self_attn.q_proj
	weight *Param
	r      int
	scale  float64
}

// targets are the projections of m that the configuration names, in the order of the model's parameters.
func (c AdapterConfig) targets(m *Model) ([]target, error) {
	match, err := c.matcher()
	if err != nil {
		return nil, err
	}
	var out []target
	for _, p := range m.Params {
		module, ok := projection(p)
		if !ok {
			continue
		}
		if found, err := match(module); err != nil {
			return nil, err
		} else if !found {
			continue
		}
		r, err := pattern(c.RankPattern, module, c.R)
		if err != nil {
			return nil, stillhouse.Invalidf("rank_pattern: %w", err)
		}
		alpha, err := pattern(c.AlphaPattern, module, c.Alpha)
		if err != nil {
			return nil, stillhouse.Invalidf("alpha_pattern: %w", err)
		}
		scale := alpha / float64(r)
		if c.RSLoRA {
			scale = alpha / math.Sqrt(float64(r))
		}
		if r > maxRank || r > p.Shape[0]*p.Shape[1] {
			return nil, stillhouse.Invalidf("rank %d of %s is larger than its weight", r, module)
		}
		out = append(out, target{module, p, r, scale})
	}
	if len(out) == 0 {
		return nil, stillhouse.Invalidf("target_modules %s matches no projection of the model: its projections are %s", c.TargetModules, strings.Join(projections(m), ", "))
	}
	return out, nil
}

// projection is the name of the module of a layer's weight matrix.
func projection(p *Param) (module string, ok bool) {
	module, ok = strings.CutSuffix(p.Name, "_proj.weight")
	return module + "_proj", ok && len(p.Shape) == 2
}

// projections are the last parts of the names of m's projections.
func projections(m *Model) (names []string) {
	for _, p := range m.Params {
		if module, ok := projection(p); ok {
			if name := module[strings.LastIndex(module, ".")+1:]; !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// groups are the projections that read one input: a product takes their A together.
var groups = [][]string{{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}}

// layout is the parameters that the configuration asks for with m as the base, without their data: by group of
// projections that read one input, their A, their B, their magnitudes.
func (c AdapterConfig) layout(m *Model) ([]*Param, []target, error) {
	targets, err := c.targets(m)
	if err != nil {
		return nil, nil, err
	}
	var out []*Param
	for i := 0; i < len(targets); {
		n := i + 1
		for n < len(targets) && grouped(targets[i].module, targets[n].module) {
			n++
		}
		for _, t := range targets[i:n] {
			out = append(out, &Param{Name: adapterPrefix + t.module + suffixA, Shape: []int{t.r, t.weight.Shape[1]}})
		}
		for _, t := range targets[i:n] {
			out = append(out, &Param{Name: adapterPrefix + t.module + suffixB, Shape: []int{t.weight.Shape[0], t.r}})
		}
		for _, t := range targets[i:n] {
			if c.DoRA {
				out = append(out, &Param{Name: adapterPrefix + t.module + suffixMagnitude, Shape: []int{t.weight.Shape[0]}})
			}
		}
		i = n
	}
	return out, targets, nil
}

func grouped(a, b string) bool {
	at, bt := strings.LastIndex(a, "."), strings.LastIndex(b, ".")
	return a[:at] == b[:bt] && slices.ContainsFunc(groups, func(g []string) bool { return slices.Contains(g, a[at+1:]) && slices.Contains(g, b[bt+1:]) })
}

// NewAdapter makes an adapter of m with weights as PEFT draws them, from seed: A is U(−1/√in, 1/√in), which is
// kaiming_uniform_ with a = √5, or N(0, 1/r) with Init gaussian; B is 0, or U(−1/√r, 1/√r) with Init false; a magnitude
// is the length of the row that it begins with.
func NewAdapter(c AdapterConfig, m *Model, seed uint64) (*Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	params, targets, err := c.layout(m)
	if err != nil {
		return nil, err
	}
	a := &Adapter{Config: c, Params: params, base: fingerprint(m)}
	allocate(a.Params)
	for i, t := range targets {
		pa, pb, pm := a.of(t.module)
		rng := rand.New(rand.NewPCG(seed, 1<<32+uint64(i))) // apart from those of New
		bound := 1 / math.Sqrt(float64(pa.Shape[1]))
		for j := range pa.Data {
			if c.Init == "gaussian" {
				pa.Data[j] = float32(rng.NormFloat64() / float64(t.r))
			} else {
				pa.Data[j] = float32((2*rng.Float64() - 1) * bound)
			}
		}
		for j := range pb.Data {
			if c.Init == "false" {
				pb.Data[j] = float32((2*rng.Float64() - 1) / math.Sqrt(float64(t.r)))
			}
		}
		if pm != nil {
			copy(pm.Data, rowNorms(t.weight.Data, pa.Data, pb.Data, t.weight.Shape[1], t.r, t.scale))
		}
	}
	return a, nil
}

// BlankAdapter is an adapter of m of zeros: to measure with, when m has no weights yet.
func BlankAdapter(c AdapterConfig, m *Model) (*Adapter, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	params, _, err := c.layout(m)
	if err != nil {
		return nil, err
	}
	a := &Adapter{Config: c, Params: params}
	allocate(a.Params)
	return a, nil
}

// of finds the parameters of a module; the magnitude is nil without DoRA.
func (a *Adapter) of(module string) (pa, pb, magnitude *Param) {
	for _, p := range a.Params {
		switch p.Name {
		case adapterPrefix + module + suffixA:
			pa = p
		case adapterPrefix + module + suffixB:
			pb = p
		case adapterPrefix + module + suffixMagnitude:
			magnitude = p
		}
	}
	return pa, pb, magnitude
}

// Fits checks that the adapter is one of this base: that it has the parameters that its configuration asks for with the
// base's shapes, and no others, and that it was not trained on other weights, where it says on which. It brings the
// parameters into the order that the training graph wants, and notes the base for when it is saved.
func (a *Adapter) Fits(m *Model) error {
	if err := a.Config.Validate(); err != nil {
		return err
	}
	wanted, _, err := a.Config.layout(m)
	if err != nil {
		return err
	}
	have := map[string]*Param{}
	for _, p := range a.Params {
		have[p.Name] = p
	}
	base := "the base model"
	if a.Config.Base != "" {
		base += " (the adapter's is " + a.Config.Base + ")"
	}
	for _, w := range wanted {
		p := have[w.Name]
		if p == nil {
			return stillhouse.Invalidf("adapter: tensor %s of shape %v is missing: its configuration asks for it with %s; is it an adapter of this base?", w.Name, w.Shape, base)
		}
		if !slices.Equal(p.Shape, w.Shape) {
			return stillhouse.Invalidf("adapter: tensor %s has shape %v, its configuration asks for %v with %s; is it an adapter of this base?", w.Name, p.Shape, w.Shape, base)
		}
		delete(have, w.Name)
	}
	for _, p := range a.Params {
		if have[p.Name] != nil {
			return stillhouse.Invalidf("adapter: tensor %s of shape %v is not among those that its configuration asks for with %s; is it an adapter of this base?", p.Name, p.Shape, base)
		}
	}
	if a.base == "" {
		a.base = fingerprint(m)
	} else if mine := fingerprint(m); a.base != mine {
		return stillhouse.Invalidf("adapter: it was trained on other weights (fingerprint %s) than those of the model that was given (%s); its base is %s", a.base, mine, a.Config.Base)
	}
	a.arrange(wanted)
	return nil
}

// arrange puts the parameters into the order of a layout, end to end in memory.
func (a *Adapter) arrange(layout []*Param) {
	have := map[string][]float32{}
	for _, p := range a.Params {
		have[p.Name] = p.Data
	}
	if slices.EqualFunc(a.Params, layout, func(p, q *Param) bool { return p.Name == q.Name }) {
		return
	}
	a.Params = layout
	allocate(a.Params)
	for _, p := range a.Params {
		copy(p.Data, have[p.Name])
	}
}

// fingerprint tells models apart by their weights.
func fingerprint(m *Model) string {
	table := crc32.MakeTable(crc32.Castagnoli)
	var sum uint32
	for _, p := range m.Params {
		sum = crc32.Update(sum, table, []byte(fmt.Sprint(p.Name, p.Shape)))
		if len(p.Data) > 0 {
			sum = crc32.Update(sum, table, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p.Data))), 4*len(p.Data)))
		}
	}
	return fmt.Sprintf("crc32c:%08x", sum)
}
