package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func crossEntropy64(logits []float64, label int) (loss, entropy float64) {
	most, sum := math.Inf(-1), 0.0
	for _, x := range logits {
		most = max(most, x)
	}
	for _, x := range logits {
		sum += math.Exp(x - most)
	}
	lse := most + math.Log(sum)
	for _, x := range logits {
		entropy -= math.Exp(x-lse) * (x - lse)
	}
	return lse - logits[label], entropy
}

func TestCrossEntropy(t *testing.T) {
	everySet(t, func(t *testing.T) {
		for _, v := range []int{1, 2, 7, 16, 100, 1027, 50001} {
			const rows, scale = 4, 0.25
			r := rand.New(rand.NewPCG(5, uint64(v)))
			x, labels := normal(r, rows*v), make([]int32, rows)
			for i := range x {
				x[i] *= 4
			}
			for i := range labels {
				labels[i] = int32(r.IntN(v))
			}
			x[labels[0]] = 40 // a row whose label is certain
			p := Predictions{make([]float64, rows), make([]float64, rows), make([]int32, rows)}
			gradient := wide(x)
			before := append([]float32(nil), x...)
			CrossEntropy(x, labels, v, CrossEntropyOptions{Scale: scale}, p)
			require.Equal(t, before, x, "logits without a gradient")
			for i, l := range labels {
				row := wide(x[i*v : (i+1)*v])
				loss, entropy := crossEntropy64(row, int(l))
				require.InDelta(t, loss, p.Loss[i], 1e-5)
				require.InDelta(t, entropy, p.Entropy[i], 1e-5)
				best := 0
				for j, y := range row {
					if y > row[best] {
						best = j
					}
					gradient[i*v+j] = scale * math.Exp(y-row[l]-loss)
				}
				gradient[i*v+int(l)] -= scale
				require.Equal(t, best == int(l), p.Correct[i] == 1)
			}
			CrossEntropy(x, labels, v, CrossEntropyOptions{Scale: scale, Gradient: true}, p)
			near(t, "gradient", x, gradient, 1e-6)

			// DFT: the same, times the probability of the label.
			copy(x, before)
			plain := slices.Clone(p.Loss)
			CrossEntropy(x, labels, v, CrossEntropyOptions{Scale: scale, Gradient: true, DFT: true}, p)
			for i := range labels {
				weight := math.Exp(-plain[i])
				require.InDelta(t, plain[i]*weight, p.Loss[i], 1e-12)
				for j := range v {
					gradient[i*v+j] *= weight
				}
			}
			near(t, "DFT's gradient", x, gradient, 1e-6)
		}
	})
}

func TestCrossEntropyCorner(t *testing.T) {
	everySet(t, func(t *testing.T) {
		p := Predictions{make([]float64, 2), make([]float64, 2), make([]int32, 2)}
		// Of equal logits the first counts as the prediction.
		CrossEntropy([]float32{1, 3, 3, 0, 1, 3, 3, 0}, []int32{1, 2}, 4, CrossEntropyOptions{Scale: 1, Gradient: true}, p)
		require.Equal(t, []int32{1, 0}, p.Correct)

		nan := float32(math.NaN())
		for _, bad := range []float32{nan, float32(math.Inf(1))} {
			x := make([]float32, 40)
			x[17] = bad
			CrossEntropy(x, []int32{3}, 40, CrossEntropyOptions{Scale: 1, Gradient: true}, p)
			require.True(t, math.IsNaN(p.Loss[0]), "loss %v of a row with %v", p.Loss[0], bad)
			require.True(t, math.IsNaN(float64(x[0])), "gradient of a row with %v", bad)
		}
		require.Panics(t, func() { CrossEntropy(make([]float32, 4), []int32{4}, 4, CrossEntropyOptions{}, p) })
		require.Panics(t, func() { CrossEntropy(make([]float32, 4), []int32{-1}, 4, CrossEntropyOptions{}, p) })
	})
}
