package student

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/gguf"
)

// ggufArchitectures are the architectures that are read from and written to GGUF, by general.architecture.
var ggufArchitectures = map[string]string{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

// A metadata reads what a GGUF file says of one architecture, and keeps the first error and the keys that were asked for.
type metadata struct {
	*gguf.File
	arch  string
	asked map[string]bool
	err   error
}

// key is a key of the architecture.
func (m *metadata) key(name string) string {
	m.asked[m.arch+"."+name] = true
	return m.arch + "." + name
}

func (m *metadata) keep(err error) {
	if m.err == nil {
		m.err = err
	}
}

// int is a whole number, or otherwise where the key is not there. One too large for any use is the largest that fits,
// which [Config.Validate] refuses.
func (m *metadata) int(name string, otherwise int) int {
	n, ok, err := m.Uint(m.key(name))
	if m.keep(err); !ok {
		return otherwise
	}
	return int(min(n, 1<<31-1))
}

func (m *metadata) float(name string, otherwise float64) float64 {
	x, ok, err := m.Float(m.key(name))
	if m.keep(err); !ok {
		return otherwise
	}
	return x
}

func (m *metadata) id(key string) int {
	n, ok, err := m.Uint(key)
	if m.keep(err); !ok {
		return -1
	}
	return int(min(n, 1<<31-1))
}

// ggufConfig is the configuration that a GGUF file's metadata gives. What this package does not compute is refused by
// name, and so is a key of the architecture that is not known here, unless it is 0 or false.
func ggufConfig(f *gguf.File) (Config, error) {
	c, err := readGGUFConfig(f)
	if err != nil {
		return Config{}, stillhouse.Invalidf("%s: %w", f.Path, err)
	}
	return c, nil
}

func readGGUFConfig(f *gguf.File) (Config, error) {
	m := &metadata{File: f, asked: map[string]bool{}}
	var err error
	if m.arch, _, err = f.Text("general.architecture"); err != nil {
		return Config{}, err
	}
	name, ok := ggufArchitectures[m.arch]
	if !ok {
		return Config{}, fmt.Errorf("general.architecture %q is not supported: %s are", m.arch, strings.Join(slices.Sorted(maps.Keys(ggufArchitectures)), ", "))
	}
	if kind, ok, err := f.Text("general.type"); err != nil || ok && kind != "model" {
		return Config{}, fmt.Errorf("general.type %q is not a model", kind)
	}
	if n, _, err := f.Uint("split.count"); err != nil || n > 1 {
		return Config{}, fmt.Errorf("it is one of %d parts of a model: join them with llama.cpp's llama-gguf-split --merge", n)
	}
	embedding := f.Tensor("token_embd.weight")
	if embedding == nil || len(embedding.Shape) != 2 {
		return Config{}, fmt.Errorf("tensor token_embd.weight is missing or no matrix")
	}
	c := Config{
		Architecture:          name,
		VocabSize:             m.int("vocab_size", embedding.Shape[0]),
		HiddenSize:            m.int("embedding_length", 0),
		IntermediateSize:      m.int("feed_forward_length", 0),
		NumHiddenLayers:       m.int("block_count", 0),
		NumAttentionHeads:     m.int("attention.head_count", 0),
		RMSNormEps:            m.float("attention.layer_norm_rms_epsilon", 0),
		RopeTheta:             m.float("rope.freq_base", 10000),
		AttentionBias:         f.Tensor("blk.0.attn_output.bias") != nil,
		MLPBias:               f.Tensor("blk.0.ffn_gate.bias") != nil,
		MaxPositionEmbeddings: m.int("context_length", 0),
		TieWordEmbeddings:     f.Tensor("output.weight") == nil,
		BOSTokenID:            m.id("tokenizer.ggml.bos_token_id"),
		PadTokenID:            m.id("tokenizer.ggml.padding_token_id"),
		Dtype:                 "float32",
	}
	c.NumKeyValueHeads = m.int("attention.head_count_kv", c.NumAttentionHeads)
	for _, key := range []string{"eos", "eot", "eom"} {
		if id := m.id("tokenizer.ggml." + key + "_token_id"); id >= 0 && !slices.Contains(c.EOSTokenIDs, id) {
			c.EOSTokenIDs = append(c.EOSTokenIDs, id)
		}
	}
	if c.HeadDim = m.int("attention.key_length", 0); c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	for typ, dtype := range map[gguf.Type]string{gguf.F16: "float16", gguf.BF16: "bfloat16"} {
		if embedding.Type == typ {
			c.Dtype = dtype
		}
	}
	if m.err != nil {
		return Config{}, m.err
	}
	if err := m.unsupported(c); err != nil {
		return Config{}, err
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	if c.RopeScaling, err = m.ropeScaling(c); err != nil {
		return Config{}, err
	}
	for _, id := range c.EOSTokenIDs {
		if id >= c.VocabSize {
			return Config{}, fmt.Errorf("the id %d of a token that ends an answer is not in the vocabulary of %d tokens", id, c.VocabSize)
		}
	}
	return c, c.Validate()
}

// harmless are keys of an architecture that do not change what is computed here.
var harmless = []string{"tensor_data_layout", "rope.scaling.finetuned", "rope.scaling.original_context_length", "expert_used_count"}

// unsupported names the first setting that would make the model compute something that this package does not.
func (m *metadata) unsupported(c Config) error {
	if n := m.int("rope.dimension_count", c.HeadDim); n != c.HeadDim {
		return fmt.Errorf("%s.rope.dimension_count %d is not supported: %d, the length of a head, is", m.arch, n, c.HeadDim)
	}
	if n := m.int("attention.value_length", c.HeadDim); n != c.HeadDim {
		return fmt.Errorf("%s.attention.value_length %d is not supported: %d, the length of a key, is", m.arch, n, c.HeadDim)
	}
	for _, name := range harmless {
		m.key(name)
	}
	for _, name := range []string{"rope.scaling.type", "rope.scaling.factor", "rope.scale_linear"} { // see ropeScaling
		m.key(name)
	}
	if yes, ok, err := m.Bool(m.key("attention.causal")); err != nil || ok && !yes {
		return fmt.Errorf("%s.attention.causal false is not supported", m.arch)
	}
	if x := m.float("rope.scaling.attn_factor", 1); x != 1 {
		return fmt.Errorf("%s.rope.scaling.attn_factor %v is not supported: 1 is", m.arch, x)
	}
	for _, key := range m.Keys() {
		name, ours := strings.CutPrefix(key, m.arch+".")
		if !ours || m.asked[key] {
			continue
		}
		n, _, errInt := m.Uint(key)
		x, _, errFloat := m.Float(key)
		yes, _, errBool := m.Bool(key)
		if zero := n == 0 && x == 0 && !yes && (errInt == nil || errFloat == nil || errBool == nil); zero {
			continue
		}
		switch {
		case strings.HasPrefix(name, "expert"):
			return fmt.Errorf("%s: a mixture of experts is not supported", key)
		case strings.HasPrefix(name, "attention.sliding_window"):
			return fmt.Errorf("%s: sliding window attention is not supported", key)
		}
		return fmt.Errorf("%s is set, which this program does not know: the model might be computed wrongly", key)
	}
	return m.err
}

// Keys of our own for what a GGUF file has no key for: the settings behind rope_freqs.weight.
const (
	keyLowFreq  = "stillhouse.rope.low_freq_factor"
	keyHighFreq = "stillhouse.rope.high_freq_factor"
	keyOriginal = "stillhouse.rope.original_context_length"
)

// ropeScaling reads the scaling of the rotary embedding. Llama 3's comes as a tensor of what each frequency is divided
// by, from which its settings are told: those of our own keys, else Llama 3.1's, whose factor is the largest divisor.
func (m *metadata) ropeScaling(c Config) (RopeScaling, error) {
	kind, ok, err := m.Text(m.key("rope.scaling.type"))
	m.keep(err)
	factor := m.float("rope.scaling.factor", m.float("rope.scale_linear", 0))
	divisors, err := m.ropeDivisors(c)
	if m.keep(err); m.err != nil {
		return RopeScaling{}, m.err
	}
	scaling := RopeScaling{}
	switch {
	case ok && kind == "none":
	case ok && kind != "linear":
		return RopeScaling{}, fmt.Errorf("%s.rope.scaling.type %q is not supported: none and linear are, and Llama 3's by the tensor rope_freqs.weight", m.arch, kind)
	case factor != 0 && factor != 1:
		scaling = RopeScaling{Type: "linear", Factor: factor}
	}
	largest := float32(1)
	for _, d := range divisors {
		largest = max(largest, d)
	}
	if largest == 1 && !slices.ContainsFunc(divisors, func(d float32) bool { return d != 1 }) {
		return scaling, nil
	}
	if scaling.Type != "" {
		return RopeScaling{}, fmt.Errorf("tensor rope_freqs.weight together with %s.rope.scaling.factor is not supported", m.arch)
	}
	scaling = RopeScaling{Type: "llama3", Factor: float64(largest), LowFreq: 1, HighFreq: 4, Original: 8192}
	if m.Has(keyOriginal) {
		low, _, errLow := m.Float(keyLowFreq)
		high, _, errHigh := m.Float(keyHighFreq)
		m.keep(errLow)
		m.keep(errHigh)
		scaling.LowFreq, scaling.HighFreq, scaling.Original = low, high, m.id(keyOriginal)
	}
	if m.err != nil {
		return RopeScaling{}, m.err
	}
	if err := scaling.Validate(); err != nil {
		return RopeScaling{}, err
	}
	with := c
	with.RopeScaling = scaling
	for i, d := range ropeDivisors(with) {
		if r := d/divisors[i] - 1; !(r < 1e-4 && r > -1e-4) {
			return RopeScaling{}, fmt.Errorf("tensor rope_freqs.weight: divisor %d is %v, Llama 3's scaling by %v would have %v: this scaling is not supported", i, divisors[i], largest, d)
		}
	}
	return scaling, nil
}

// ropeDivisors reads rope_freqs.weight, nil where it is not there.
func (m *metadata) ropeDivisors(c Config) ([]float32, error) {
	t := m.Tensor("rope_freqs.weight")
	if t == nil {
		return nil, nil
	}
	if !slices.Equal(t.Shape, []int{c.HeadDim / 2}) {
		return nil, fmt.Errorf("tensor rope_freqs.weight has shape %v, a head of %d asks for [%d]", t.Shape, c.HeadDim, c.HeadDim/2)
	}
	divisors := make([]float32, c.HeadDim/2)
	return divisors, t.Floats(divisors)
}

// ropeDivisors are what Llama 3's scaling divides each frequency by.
func ropeDivisors(c Config) []float32 {
	plain := c
	plain.RopeScaling = RopeScaling{}
	out := plain.Frequencies()
	for i, f := range c.Frequencies() {
		out[i] /= f
	}
	return out
}
