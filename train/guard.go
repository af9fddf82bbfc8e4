package train

import (
	"slices"

	"stillhouse"
)

const (
	guardWindow = 64 // norms that the median is taken of
	guardLeast  = 8  // without so many, nothing is called a spike
)

// guard is an error when a gradient norm stands out of the last ones by more than max_grad_norm_spike allows. A norm of
// 0 is that of a window without labels, and says nothing.
func (t *trainer) guard(w Window, norm float64) error {
	if norm == 0 {
		return nil
	}
	if limit := t.options.MaxGradNormSpike; limit > 0 && len(t.Norms) >= guardLeast {
		sorted := slices.Sorted(slices.Values(t.Norms))
		if median := sorted[len(sorted)/2]; norm > limit*median {
			return stillhouse.Invalidf("the gradient norm is %.4g, more than %g times the median of the last %d (%.4g), with the rows %s: look at these rows; raise max_grad_norm_spike to train on them",
				norm, limit, len(sorted), median, t.names(w.rows()))
		}
	}
	t.Norms = append(t.Norms, norm)
	t.Norms = t.Norms[max(0, len(t.Norms)-guardWindow):]
	return nil
}
