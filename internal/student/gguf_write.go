package student

import (
	"errors"
	"fmt"
	"io"

	"stillhouse"
	"stillhouse/internal/gguf"
)

// GGUFOptions say how a model is written as a GGUF file.
type GGUFOptions struct {
	Name      string      // general.name
	Type      gguf.Type   // of the matrices; the zero value is F32
	Tokenizer []gguf.Pair // see [gguf.Vocabulary]
}

// fileTypes are general.file_type, what most of a file's tensors are.
var fileTypes = map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q4_0: 2, gguf.Q4_1: 3, gguf.Q8_0: 7, gguf.BF16: 32}

// WriteGGUF writes a model as llama.cpp reads it. Norms and biases stay F32, as llama.cpp wants them; a matrix whose rows
// are no whole blocks of the type is F16.
func WriteGGUF(w io.Writer, m *Model, o GGUFOptions) error {
	if _, ok := fileTypes[o.Type]; !ok {
		return fmt.Errorf("GGUF of type %v is not written", o.Type)
	}
	pairs, err := ggufPairs(m.Config, o)
	if err != nil {
		return err
	}
	var tensors []gguf.FloatTensor
	if m.Config.RopeScaling.Type == "llama3" {
		tensors = append(tensors, gguf.FloatTensor{Name: "rope_freqs.weight", Type: gguf.F32, Shape: []int{m.Config.HeadDim / 2},
			Data: func() []float32 { return ropeDivisors(m.Config) }})
	}
	for _, p := range m.Params {
		tensors = append(tensors, gguf.FloatTensor{Name: ggufName(p.Name), Type: ggufType(p, o.Type), Shape: p.Shape, Data: func() []float32 {
			if heads := m.Config.interleaved(p.Name); heads > 0 {
				return interleave(p.Data, heads, p.Shape[0])
			}
			return p.Data
		}})
	}
	return gguf.Write(w, append(pairs, o.Tokenizer...), tensors)
}

// ggufType is the type in which a parameter is written.
func ggufType(p *Param, t gguf.Type) gguf.Type {
	switch {
	case len(p.Shape) < 2:
		return gguf.F32
	case p.Shape[1]%t.Block() != 0:
		return gguf.F16
	}
	return t
}

// RoundGGUF rounds a model's weights, in place, to what is read back from a GGUF file of the type. Blocks lie within
// rows, so the order of rows does not matter.
func RoundGGUF(m *Model, t gguf.Type) error {
	for _, p := range m.Params {
		if err := gguf.Round(ggufType(p, t), p.Data); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// ggufPairs is the metadata that llama.cpp's own converter writes of a model of the architecture.
func ggufPairs(c Config, o GGUFOptions) ([]gguf.Pair, error) {
	arch := ""
	for name, a := range ggufArchitectures {
		if a == c.Architecture {
			arch = name
		}
	}
	if arch == "" {
		return nil, stillhouse.Invalidf("a %s cannot be written as GGUF", c.Architecture)
	}
	if c.Architecture != "LlamaForCausalLM" && c.OutputBias() {
		return nil, stillhouse.Invalidf("a %s with attention_bias cannot be written as GGUF: llama.cpp does not read its biases", c.Architecture)
	}
	out := []gguf.Pair{
		{Key: "general.architecture", Value: arch},
		{Key: "general.type", Value: "model"},
		{Key: "general.name", Value: o.Name},
		{Key: "general.file_type", Value: fileTypes[o.Type]},
		{Key: "general.quantization_version", Value: uint32(2)},
		{Key: arch + ".rope.freq_base", Value: float32(c.RopeTheta)},
		{Key: arch + ".attention.layer_norm_rms_epsilon", Value: float32(c.RMSNormEps)},
	}
	for _, n := range []struct {
		key   string
		value int
	}{
		{"vocab_size", c.VocabSize}, {"context_length", c.MaxPositionEmbeddings}, {"embedding_length", c.HiddenSize},
		{"block_count", c.NumHiddenLayers}, {"feed_forward_length", c.IntermediateSize}, {"rope.dimension_count", c.HeadDim},
		{"attention.head_count", c.NumAttentionHeads}, {"attention.head_count_kv", c.NumKeyValueHeads},
		{"attention.key_length", c.HeadDim}, {"attention.value_length", c.HeadDim},
	} {
		out = append(out, gguf.Pair{Key: arch + "." + n.key, Value: uint32(n.value)})
	}
	s := c.RopeScaling
	switch s.Type {
	case "":
	case "linear":
		out = append(out, gguf.Pair{Key: arch + ".rope.scaling.type", Value: "linear"}, gguf.Pair{Key: arch + ".rope.scaling.factor", Value: float32(s.Factor)})
	case "llama3":
		out = append(out, gguf.Pair{Key: keyLowFreq, Value: float32(s.LowFreq)}, gguf.Pair{Key: keyHighFreq, Value: float32(s.HighFreq)},
			gguf.Pair{Key: keyOriginal, Value: uint32(s.Original)})
	default:
		return nil, errors.New("rope scaling " + s.Type + " cannot be written as GGUF")
	}
	return out, nil
}
