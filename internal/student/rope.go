package student

import (
	"fmt"
	"math"

	"stillhouse"
)

// RopeScaling changes the frequencies of the rotary embedding, as transformers 5.23 does it (modeling_rope_utils.py).
// Its zero value changes nothing.
type RopeScaling struct {
	Type     string  // "" for none, linear or llama3
	Factor   float64 // by which positions are drawn together
	LowFreq  float64 // llama3: low_freq_factor
	HighFreq float64 // llama3: high_freq_factor
	Original int     // llama3: original_max_position_embeddings
}

// Frequencies are those of the rotary embedding, head_dim/2 of them, in fp32 as torch computes them.
func (c Config) Frequencies() []float32 {
	out := make([]float32, c.HeadDim/2)
	s := c.RopeScaling
	for i := range out {
		f := 1 / float32(math.Pow(c.RopeTheta, float64(float32(2*i)/float32(c.HeadDim))))
		switch s.Type {
		case "linear":
			f /= float32(s.Factor)
		case "llama3":
			f = s.llama3(f)
		}
		out[i] = f
	}
	return out
}

// llama3 leaves the frequencies of short waves, divides those of long ones, and goes from one to the other between.
func (s RopeScaling) llama3(f float32) float32 {
	wave := 1 / f * float32(2*math.Pi)
	switch {
	case float64(wave) > float64(s.Original)/s.LowFreq:
		return f / float32(s.Factor)
	case float64(wave) < float64(s.Original)/s.HighFreq:
		return f
	}
	smooth := (1/wave*float32(s.Original) - float32(s.LowFreq)) / float32(s.HighFreq-s.LowFreq)
	return (1-smooth)*f/float32(s.Factor) + smooth*f
}

// rope reads the base of the rotary embedding and its scaling from whichever spelling is there, rope_scaling first, as
// transformers does. Scalings that are not computed here are refused by name.
func (r *rawConfig) rope() (theta float64, scaling RopeScaling, err error) {
	theta = or(r.RopeTheta, 10000)
	key, values := "rope_scaling", r.RopeScaling
	if len(values) == 0 {
		key, values = "rope_parameters", r.RopeParameters
	}
	kind, ok := values["rope_type"]
	if !ok {
		kind, ok = values["type"]
	}
	if !ok {
		kind = "default"
	}
	numbers := map[string]*float64{"rope_theta": &theta}
	original := float64(or(r.MaxPositionEmbeddings, 0))
	needed := []string{}
	switch kind {
	case "default":
	case "linear":
		scaling.Type = "linear"
		needed = []string{"factor"}
		numbers["factor"] = &scaling.Factor
	case "llama3":
		scaling.Type = "llama3"
		needed = []string{"factor", "low_freq_factor", "high_freq_factor"}
		numbers["factor"], numbers["low_freq_factor"], numbers["high_freq_factor"] = &scaling.Factor, &scaling.LowFreq, &scaling.HighFreq
		numbers["original_max_position_embeddings"] = &original
	default:
		return 0, scaling, fmt.Errorf("%s: rope_type %q is not supported: default, linear and llama3 are", key, fmt.Sprint(kind))
	}
	for name, v := range values {
		if name == "rope_type" || name == "type" {
			continue
		}
		if name == "partial_rotary_factor" {
			if v != 1.0 && v != nil {
				return 0, scaling, fmt.Errorf("%s: partial_rotary_factor %v is not supported: 1 is", key, v)
			}
			continue
		}
		into := numbers[name]
		if into == nil {
			return 0, scaling, fmt.Errorf("%s: %s is not supported with rope_type %v", key, name, kind)
		}
		f, ok := v.(float64)
		if !ok {
			return 0, scaling, fmt.Errorf("%s: %s %v is not a number", key, name, v)
		}
		*into = f
	}
	for _, name := range needed {
		if _, ok := values[name]; !ok {
			return 0, scaling, fmt.Errorf("%s: rope_type %v needs %s, which is missing", key, kind, name)
		}
	}
	if scaling.Type == "llama3" {
		if r.OriginalMaxPositionEmbeddings != nil {
			original = float64(*r.OriginalMaxPositionEmbeddings)
		}
		if !(original >= 1 && original <= maxVocab) || original != math.Trunc(original) {
			return 0, scaling, fmt.Errorf("%s: original_max_position_embeddings %v is out of range: a whole number from 1 to %d", key, original, maxVocab)
		}
		scaling.Original = int(original)
	}
	return theta, scaling, nil
}

// Validate names the first value that no model can have.
func (s RopeScaling) Validate() error {
	switch s.Type {
	case "":
		return nil
	case "linear", "llama3":
	default:
		return stillhouse.Invalidf("rope scaling: rope_type %q is not supported: default, linear and llama3 are", s.Type)
	}
	if !(s.Factor >= 1 && s.Factor <= 1e6) {
		return stillhouse.Invalidf("rope scaling: factor %v is out of range: 1 or more", s.Factor)
	}
	if s.Type == "llama3" {
		switch {
		case !(s.LowFreq > 0 && s.LowFreq < 1e6):
			return stillhouse.Invalidf("rope scaling: low_freq_factor %v is out of range: above 0", s.LowFreq)
		case !(s.HighFreq > s.LowFreq && s.HighFreq < 1e6):
			return stillhouse.Invalidf("rope scaling: high_freq_factor %v is out of range: above low_freq_factor %v", s.HighFreq, s.LowFreq)
		case s.Original < 1 || s.Original > maxVocab:
			return stillhouse.Invalidf("rope scaling: original_max_position_embeddings %d is out of range: 1 to %d", s.Original, maxVocab)
		}
	}
	return nil
}

// setRope writes the base and the scaling into a config.json in the spelling that it has: rope_parameters where it is
// there, else rope_theta and rope_scaling.
func setRope(out map[string]any, c Config) {
	s := c.RopeScaling
	values := map[string]any{}
	if s.Type != "" {
		values["rope_type"], values["factor"] = s.Type, float(s.Factor)
	}
	if s.Type == "llama3" {
		values["low_freq_factor"], values["high_freq_factor"] = float(s.LowFreq), float(s.HighFreq)
		values["original_max_position_embeddings"] = s.Original
	}
	_, spelled := out["rope_parameters"].(map[string]any)
	delete(out, "original_max_position_embeddings") // it would go before the one within
	delete(out, "rope_parameters")
	if spelled {
		if s.Type == "" {
			values["rope_type"] = "default"
		}
		values["rope_theta"] = float(c.RopeTheta)
		out["rope_parameters"] = values
		delete(out, "rope_theta")
		delete(out, "rope_scaling")
		return
	}
	out["rope_theta"] = float(c.RopeTheta)
	if delete(out, "rope_scaling"); s.Type != "" {
		out["rope_scaling"] = values
	}
}
