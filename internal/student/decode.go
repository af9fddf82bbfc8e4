package student

import (
	"math"

	"stillhouse"
	"stillhouse/internal/kernel"
)

// Weights is how a generator holds a model's matrices. Norms and biases stay fp32.
type Weights string

const (
	WeightsF32  Weights = "f32"  // as the model has them; the default
	WeightsBF16 Weights = "bf16" // rounded to bfloat16
	WeightsQ8   Weights = "q8_0" // in blocks of 32 values that share a scale, as llama.cpp's Q8_0
)

// AllWeights are the values that Weights may have.
var AllWeights = []Weights{WeightsF32, WeightsBF16, WeightsQ8}

var weightTypes = map[Weights]kernel.WeightType{"": kernel.Float32, WeightsF32: kernel.Float32, WeightsBF16: kernel.BFloat16, WeightsQ8: kernel.Q8_0}

// Validate is an error unless the weights are of a type that is known; none is f32.
func (w Weights) Validate() error {
	if _, ok := weightTypes[w]; !ok {
		return stillhouse.Invalidf("weights %q: they can be f32, bf16 or q8_0", string(w))
	}
	return nil
}

// A decoder computes logits over a cache of keys and values. It holds a copy of the weights, laid out for products.
// The logits of a token depend on the weights and the tokens before it alone: neither on what else is in the step nor
// on how a prompt is cut into steps. It is not safe for concurrent use.
//
// With weights q8_0 activations are rounded to 16 bits, 32 of them to a scale, before each product: the error is some
// 10⁻⁵ of what the weights' own rounding makes.
type decoder struct {
	config  Config
	shape   kernel.CacheShape
	slab    *kernel.Slab
	program *kernel.Program
	embed   *kernel.Packed

	frequencies    []float32 // [head_dim/2]
	cosines, sines []float32 // [positions so far, head_dim/2]
}

// newDecoder copies the model's weights, with its adapter merged where it has one.
func newDecoder(m *Model, w Weights) (*decoder, error) {
	m, _ = m.Merged() // weights that are not finite show when a token is chosen
	c := m.Config
	d := &decoder{
		config:      c,
		shape:       kernel.CacheShape{Layers: c.NumHiddenLayers, Heads: c.NumAttentionHeads, KVHeads: c.NumKeyValueHeads, HeadDim: c.HeadDim},
		frequencies: c.Frequencies(),
	}
	if err := d.reserve(m); err != nil {
		return nil, err
	}
	body, head := d.operations(m, weightTypes[w])
	var err error
	if d.program, err = kernel.NewProgram(d.shape, d.widths(), append(body, head)); err == nil {
		err = d.reach(1)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// reserve makes the slab for the model's weights in any type.
func (d *decoder) reserve(m *Model) (err error) {
	d.slab, err = kernel.NewSlab(packedBytes(m.Params))
	return err
}

func (d *decoder) widths() kernel.Widths {
	c := d.config
	return kernel.Widths{
		kernel.BufferX:        c.HiddenSize,
		kernel.BufferNormed:   c.HiddenSize,
		kernel.BufferQKV:      (c.NumAttentionHeads + 2*c.NumKeyValueHeads) * c.HeadDim,
		kernel.BufferAttended: c.NumAttentionHeads * c.HeadDim,
		kernel.BufferGates:    2 * c.IntermediateSize,
		kernel.BufferActive:   c.IntermediateSize,
		kernel.BufferLogits:   c.VocabSize,
	}
}

func (d *decoder) close() {
	if d.program != nil {
		d.program.Close()
	}
	d.slab.Free()
}

// reach makes the tables of the rotary embedding reach at least n positions. As in transformers, angles are rounded to
// fp32.
func (d *decoder) reach(n int) error {
	half := len(d.frequencies)
	have := len(d.cosines) / half
	if n <= have {
		return nil
	}
	n = max(n, min(d.config.MaxPositionEmbeddings, max(512, 2*have)))
	for p := have; p < n; p++ {
		for _, frequency := range d.frequencies {
			angle := float64(float32(p) * frequency)
			d.cosines = append(d.cosines, float32(math.Cos(angle)))
			d.sines = append(d.sines, float32(math.Sin(angle)))
		}
	}
	return d.program.SetRotation(d.cosines, d.sines)
}

// forward runs one step. It stores the rows' keys and values and returns the logits [wanted, vocabulary] of the rows
// that are wanted, which stay valid until the next call.
func (d *decoder) forward(s *kernel.Step) ([]float32, error) {
	most := int32(0)
	for _, p := range s.Position {
		most = max(most, p)
	}
	if err := d.reach(int(most) + 1); err != nil {
		return nil, err
	}
	if err := d.program.Run(s); err != nil {
		return nil, err
	}
	return d.program.Rows(kernel.BufferLogits, len(s.Wanted)), nil
}
