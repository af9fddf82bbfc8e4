package student

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/gguf"
)

// The largest sizes that are believed. They are far above any real model and keep products of them from overflowing.
const (
	maxWidth  = 1 << 20
	maxVocab  = 1 << 24
	maxLayers = 4096
)

// rawConfig is config.json in both spellings: transformers 5 writes rope_parameters and dtype, older versions write
// rope_theta, rope_scaling and torch_dtype. Only what is used or refused is read.
type rawConfig struct {
	Architectures                 []string       `json:"architectures"`
	ModelType                     string         `json:"model_type"`
	VocabSize                     int            `json:"vocab_size"`
	HiddenSize                    int            `json:"hidden_size"`
	IntermediateSize              int            `json:"intermediate_size"`
	NumHiddenLayers               int            `json:"num_hidden_layers"`
	NumAttentionHeads             int            `json:"num_attention_heads"`
	NumKeyValueHeads              optional       `json:"num_key_value_heads"`
	HeadDim                       *int           `json:"head_dim"`
	RMSNormEps                    *float64       `json:"rms_norm_eps"`
	MaxPositionEmbeddings         *int           `json:"max_position_embeddings"`
	OriginalMaxPositionEmbeddings *int           `json:"original_max_position_embeddings"`
	TieWordEmbeddings             bool           `json:"tie_word_embeddings"`
	RopeTheta                     *float64       `json:"rope_theta"`
	RopeScaling                   map[string]any `json:"rope_scaling"`
	RopeParameters                map[string]any `json:"rope_parameters"`
	Dtype                         string         `json:"dtype"`
	TorchDtype                    string         `json:"torch_dtype"`
	BOS                           tokenIDs       `json:"bos_token_id"`
	EOS                           tokenIDs       `json:"eos_token_id"`
	Pad                           tokenIDs       `json:"pad_token_id"`

	HiddenAct           string         `json:"hidden_act"`
	AttentionBias       bool           `json:"attention_bias"`
	MLPBias             bool           `json:"mlp_bias"`
	AttentionDropout    float64        `json:"attention_dropout"`
	PartialRotaryFactor *float64       `json:"partial_rotary_factor"`
	SlidingWindow       *int           `json:"sliding_window"`
	UseSlidingWindow    *bool          `json:"use_sliding_window"`
	LayerTypes          []string       `json:"layer_types"`
	NumExperts          int            `json:"num_experts"`
	NumLocalExperts     int            `json:"num_local_experts"`
	QuantizationConfig  map[string]any `json:"quantization_config"`
}

// optional is a number that may be null, which is not the same as left out.
type optional struct {
	given bool
	value *int
}

func (o *optional) UnmarshalJSON(text []byte) error {
	o.given = true
	return json.Unmarshal(text, &o.value)
}

// tokenIDs is a token id, a list of them, or null, which is empty; nil is left out.
type tokenIDs []int

func (t *tokenIDs) UnmarshalJSON(text []byte) error {
	var one *int
	if err := json.Unmarshal(text, &one); err == nil {
		if *t = (tokenIDs{}); one != nil {
			*t = tokenIDs{*one}
		}
		return nil
	}
	return json.Unmarshal(text, (*[]int)(t))
}

// otherwise is the list, or another where it was left out; an empty one is nil.
func (t tokenIDs) otherwise(ids tokenIDs) tokenIDs {
	if t == nil {
		t = ids
	}
	if len(t) == 0 {
		return nil
	}
	return slices.Clone(t)
}

func (t tokenIDs) first() int {
	if len(t) == 0 {
		return -1
	}
	return t[0]
}

// ReadConfig reads the configuration of the model in a Hugging Face directory: config.json, and generation_config.json
// where it is there, whose eos_token_id goes before; or of a GGUF file, from its metadata. What this package does not
// compute is refused by name.
func ReadConfig(dir string) (Config, error) {
	if file, err := gguf.Find(dir); err != nil {
		return Config{}, err
	} else if file != "" {
		f, err := gguf.Open(file)
		if err != nil {
			return Config{}, err
		}
		defer f.Close()
		return ggufConfig(f)
	}
	path := filepath.Join(dir, "config.json")
	var raw rawConfig
	if err := readJSON(path, &raw); err != nil {
		return Config{}, err
	}
	c, err := raw.config()
	if err != nil {
		return Config{}, stillhouse.Invalidf("%s: %w", path, err)
	}
	var generation struct {
		EOS tokenIDs `json:"eos_token_id"`
	}
	path = filepath.Join(dir, "generation_config.json")
	if err := readJSON(path, &generation); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Config{}, err
	}
	if len(generation.EOS) > 0 {
		c.EOSTokenIDs = generation.EOS
	}
	for _, id := range c.EOSTokenIDs {
		if id < 0 || id >= c.VocabSize {
			return Config{}, stillhouse.Invalidf("%s: eos_token_id %d is not in the vocabulary of %d tokens", dir, id, c.VocabSize)
		}
	}
	return c, nil
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return stillhouse.Invalidf("%s: there is no such file, so this is not a Hugging Face model directory: %w", path, err)
	} else if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return stillhouse.Invalidf("%s: %w", path, err)
	}
	return nil
}

func (r *rawConfig) config() (Config, error) {
	arch, fam, err := r.family()
	if err != nil {
		return Config{}, err
	}
	if err := r.unsupported(fam); err != nil {
		return Config{}, err
	}
	if r.MaxPositionEmbeddings == nil {
		r.MaxPositionEmbeddings = &fam.positions
	}
	theta, scaling, err := r.rope()
	if err != nil {
		return Config{}, err
	}
	dtype := r.Dtype
	if dtype == "" {
		dtype = r.TorchDtype
	}
	c := Config{
		Architecture:          arch,
		VocabSize:             r.VocabSize,
		HiddenSize:            r.HiddenSize,
		IntermediateSize:      r.IntermediateSize,
		NumHiddenLayers:       r.NumHiddenLayers,
		NumAttentionHeads:     r.NumAttentionHeads,
		NumKeyValueHeads:      or(r.NumKeyValueHeads.value, r.NumAttentionHeads),
		RMSNormEps:            or(r.RMSNormEps, fam.eps),
		RopeTheta:             theta,
		RopeScaling:           scaling,
		AttentionBias:         fam.attentionBias && r.AttentionBias,
		MLPBias:               fam.mlpBias && r.MLPBias,
		MaxPositionEmbeddings: *r.MaxPositionEmbeddings,
		TieWordEmbeddings:     r.TieWordEmbeddings,
		BOSTokenID:            r.BOS.otherwise(fam.bos).first(),
		EOSTokenIDs:           r.EOS.otherwise(fam.eos),
		PadTokenID:            r.Pad.first(),
		Dtype:                 strings.TrimPrefix(dtype, "torch."),
	}
	if c.Dtype == "" {
		c.Dtype = "float32"
	}
	if !r.NumKeyValueHeads.given && fam.keyValue > 0 {
		c.NumKeyValueHeads = fam.keyValue
	}
	if r.HeadDim != nil {
		c.HeadDim = *r.HeadDim
	} else if fam.headDim > 0 {
		c.HeadDim = fam.headDim
	} else if c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
		if c.HeadDim*c.NumAttentionHeads != c.HiddenSize {
			return Config{}, fmt.Errorf("hidden_size %d is not a multiple of num_attention_heads %d, and head_dim is not given", c.HiddenSize, c.NumAttentionHeads)
		}
	}
	return c, c.Validate()
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// unsupported names the first setting that would make the model compute something that this package does not.
func (r *rawConfig) unsupported(fam family) error {
	switch {
	case r.HiddenAct != "" && r.HiddenAct != "silu":
		return fmt.Errorf("hidden_act %q is not supported: silu is", r.HiddenAct)
	case r.AttentionDropout != 0:
		return fmt.Errorf("attention_dropout %v is not supported: set it to 0", r.AttentionDropout)
	case r.PartialRotaryFactor != nil && *r.PartialRotaryFactor != 1:
		return fmt.Errorf("partial_rotary_factor %v is not supported: 1 is", *r.PartialRotaryFactor)
	case or(r.UseSlidingWindow, r.SlidingWindow != nil && !fam.sliding):
		return errors.New("sliding_window attention (use_sliding_window) is not supported")
	case r.NumExperts > 0 || r.NumLocalExperts > 0:
		return errors.New("a mixture of experts (num_experts, num_local_experts) is not supported")
	case len(r.QuantizationConfig) > 0:
		return errors.New("quantization_config is not supported: use the checkpoint that is not quantised")
	}
	for i, t := range r.LayerTypes {
		if t != "full_attention" {
			return fmt.Errorf("layer_types[%d] %q is not supported: full_attention is", i, t)
		}
	}
	return nil
}

// Validate names the first value that no model can have.
func (c Config) Validate() error {
	if _, ok := families[c.Architecture]; !ok {
		return stillhouse.Invalidf("architecture %q is not supported", c.Architecture)
	}
	for _, v := range []struct {
		key        string
		value, max int
	}{
		{"vocab_size", c.VocabSize, maxVocab},
		{"hidden_size", c.HiddenSize, maxWidth},
		{"intermediate_size", c.IntermediateSize, maxWidth},
		{"num_hidden_layers", c.NumHiddenLayers, maxLayers},
		{"num_attention_heads", c.NumAttentionHeads, maxWidth},
		{"num_key_value_heads", c.NumKeyValueHeads, maxWidth},
		{"head_dim", c.HeadDim, maxWidth},
		{"max_position_embeddings", c.MaxPositionEmbeddings, maxVocab},
	} {
		if v.value < 1 || v.value > v.max {
			return stillhouse.Invalidf("%s %d is out of range: 1 to %d", v.key, v.value, v.max)
		}
	}
	switch {
	case c.NumAttentionHeads%c.NumKeyValueHeads != 0:
		return stillhouse.Invalidf("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	case c.NumAttentionHeads*c.HeadDim > maxWidth:
		return stillhouse.Invalidf("num_attention_heads %d × head_dim %d is out of range: at most %d", c.NumAttentionHeads, c.HeadDim, maxWidth)
	case c.HeadDim%2 != 0:
		return stillhouse.Invalidf("head_dim %d is odd: the rotary embedding turns pairs", c.HeadDim)
	case !(c.RMSNormEps > 0 && c.RMSNormEps < 1):
		return stillhouse.Invalidf("rms_norm_eps %v is out of range: above 0 and below 1", c.RMSNormEps)
	case !(c.RopeTheta > 1 && c.RopeTheta < 1e15):
		return stillhouse.Invalidf("rope_theta %v is out of range: above 1", c.RopeTheta)
	}
	return c.RopeScaling.Validate()
}
