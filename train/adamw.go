package train

import (
	"math"
	"regexp"

	"stillhouse/internal/hub"
	"stillhouse/internal/kernel"
	"stillhouse/internal/student"
)

// AdamW is the optimiser of a training: torch 2.13's AdamW (Loshchilov and Hutter, 2019, arXiv 1711.05101) with decay in
// two groups, after clipping by the total norm as torch's clip_grad_norm_ does it.
type AdamW struct {
	o      Options
	params []*student.Param
	decays []bool
	m, v   [][]float32 // means of the gradients and of their squares, as large as the parameters
	step   int
}

// NewAdamW makes an optimiser for params, whose means start at 0.
func NewAdamW(o Options, params []*student.Param) *AdamW {
	a := &AdamW{o: o, params: params}
	size := 0
	for _, p := range params {
		size += len(p.Data)
	}
	m, v := kernel.Floats(size), kernel.Floats(size)
	for _, p := range params {
		n := len(p.Data)
		a.decays = append(a.decays, Decays(p.Name))
		a.m, m = append(a.m, m[:n:n]), m[n:]
		a.v, v = append(a.v, v[:n:n]), v[n:]
	}
	return a
}

// undecayed are the names that transformers 5.23 leaves out of the decay (Trainer.get_decay_parameter_names).
var undecayed = regexp.MustCompile(`bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)`)

// Decays reports whether the weight decay applies to a parameter: to matrices, not to biases and the weights of norms.
func Decays(name string) bool { return !undecayed.MatchString(name) }

// Norm is the norm of all gradients taken together.
func Norm(gradients [][]float32) float64 {
	var sum float64
	for _, g := range gradients {
		sum += kernel.SquaredNorm(g)
	}
	return math.Sqrt(sum)
}

// Update changes the parameters by one step with gradients, one for each parameter, whose total norm is norm.
func (a *AdamW) Update(gradients [][]float32, norm, rate float64) {
	a.step++
	clip := float32(1)
	if limit := *a.o.MaxGradNorm; limit > 0 {
		clip = float32(min(1, limit/(norm+1e-6)))
	}
	for i, p := range a.params {
		o := kernel.AdamWOptions{LR: rate, Beta1: *a.o.AdamBeta1, Beta2: *a.o.AdamBeta2, Eps: a.o.AdamEpsilon, Step: a.step, GradScale: clip}
		if a.decays[i] {
			o.WeightDecay = a.o.WeightDecay
		}
		kernel.AdamW(p.Data, gradients[i], a.m[i], a.v[i], o)
	}
}

// tensors are the means, to be written: m.NAME and v.NAME in the shape of the parameter.
func (a *AdamW) tensors() (out []hub.FloatTensor) {
	for i, p := range a.params {
		out = append(out, hub.FloatTensor{Name: "m." + p.Name, Shape: p.Shape, Data: a.m[i]}, hub.FloatTensor{Name: "v." + p.Name, Shape: p.Shape, Data: a.v[i]})
	}
	return out
}
