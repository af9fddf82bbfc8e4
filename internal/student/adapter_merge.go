package student

import (
	"math"
	"slices"

	"stillhouse"
	"stillhouse/internal/kernel"
)

// scaleOf is the factor of B·A of a module.
func (c AdapterConfig) scaleOf(module string) float64 {
	r, _ := pattern(c.RankPattern, module, c.R)
	alpha, _ := pattern(c.AlphaPattern, module, c.Alpha)
	if c.RSLoRA {
		return alpha / math.Sqrt(float64(r))
	}
	return alpha / float64(r)
}

// Attach makes a the adapter of m: it is added to the projections in the training graph, in [Model.Logits] and in
// generators, and it is what a graph trains. An adapter that is not one of m is an invalid error.
func (m *Model) Attach(a *Adapter) error {
	if err := a.Fits(m); err != nil {
		return err
	}
	m.Adapter = a
	return nil
}

// Merge adds the adapter to the weights of m, in place: W becomes W + scale·B·A, with DoRA each of its rows brought to
// its magnitude. An adapter that is not one of m is an invalid error.
func (a *Adapter) Merge(m *Model) error {
	if err := a.Fits(m); err != nil {
		return err
	}
	return a.merge(m.Params, m, func(p *Param) {})
}

// Merged is the model with its adapter merged: a model of its own whose other weights are those of m, not copies. A model
// without an adapter is its own.
func (m *Model) Merged() (*Model, error) {
	if m.Adapter == nil {
		return m, nil
	}
	out := &Model{Config: m.Config}
	for _, p := range m.Params {
		q := *p
		out.Params = append(out.Params, &q)
	}
	return out, m.Adapter.merge(out.Params, m, func(p *Param) { p.Data = slices.Clone(p.Data) })
}

// merge adds the adapter to those of params that it targets, each of which own is called for first.
func (a *Adapter) merge(params []*Param, m *Model, own func(*Param)) error {
	targets, err := a.Config.targets(m)
	if err != nil {
		return err
	}
	byName := map[string]*Param{}
	for _, p := range params {
		byName[p.Name] = p
	}
	var delta []float32
	for _, t := range targets {
		w := byName[t.weight.Name]
		own(w)
		pa, pb, magnitude := a.of(t.module)
		in, out := t.weight.Shape[1], t.weight.Shape[0]
		resize(&delta, out*in)
		kernel.Gemm(false, false, out, in, t.r, 1, pb.Data, t.r, pa.Data, in, 0, delta, in)
		scale := float32(t.scale)
		kernel.Parallel(out, 1+(1<<14)/in, func(from, to int) {
			for i := from; i < to; i++ {
				row, d := w.Data[i*in:(i+1)*in], delta[i*in:(i+1)*in]
				for j := range row {
					row[j] += d[j] * scale
				}
				if magnitude != nil {
					gain := magnitude.Data[i] / norm(row)
					for j := range row {
						row[j] *= gain
					}
				}
			}
		})
		if i := notFinite(w.Data); i >= 0 {
			return stillhouse.Invalidf("adapter: element %d of %s is %v once the adapter is merged: the adapter is broken", i, w.Name, w.Data[i])
		}
	}
	return nil
}

func norm(row []float32) float32 {
	var sum float64
	for _, x := range row {
		sum += float64(x) * float64(x)
	}
	return float32(math.Sqrt(sum))
}

// squares are the squared lengths of the rows of w.
func squares(w []float32, in int) []float64 {
	out := make([]float64, len(w)/in)
	kernel.Parallel(len(out), 1+(1<<14)/in, func(from, to int) {
		for i := from; i < to; i++ {
			for _, x := range w[i*in : (i+1)*in] {
				out[i] += float64(x) * float64(x)
			}
		}
	})
	return out
}

// rowNorms are the lengths of the rows of W + scale·B·A.
func rowNorms(w, a, b []float32, in, r int, scale float64) []float32 {
	out := make([]float32, len(w)/in)
	rowNormsOf(out, squares(w, in), w, a, b, in, r, scale, new([]float32))
	return out
}

// rowNormsOf computes the lengths of the rows of W + scale·B·A [out, in] from the squares of those of W, without that
// sum: ‖w + s·b·A‖² = ‖w‖² + 2s·b·(A·w) + s²·b·(A·Aᵀ)·b.
func rowNormsOf(norms []float32, squares []float64, w, a, b []float32, in, r int, scale float64, scratch *[]float32) {
	out := len(norms)
	resize(scratch, (2*out+r)*r)
	aw, ba, aa := (*scratch)[:out*r], (*scratch)[out*r:2*out*r], (*scratch)[2*out*r:]
	kernel.Gemm(false, true, out, r, in, 1, w, in, a, in, 0, aw, r)
	kernel.Gemm(false, true, r, r, in, 1, a, in, a, in, 0, aa, r)
	kernel.Gemm(false, false, out, r, r, 1, b, r, aa, r, 0, ba, r)
	for i := range norms {
		sum := squares[i]
		for j := i * r; j < (i+1)*r; j++ {
			sum += float64(b[j]) * scale * (2*float64(aw[j]) + scale*float64(ba[j]))
		}
		norms[i] = float32(math.Sqrt(max(0, sum)))
	}
}
