package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAdamW(t *testing.T) {
	everySet(t, func(t *testing.T) {
		for _, n := range []int{1, 7, 64, 1003, 40000} {
			r := rand.New(rand.NewPCG(8, uint64(n)))
			p, m, v := normal(r, n), make([]float32, n), make([]float32, n)
			p64, m64, v64 := wide(p), make([]float64, n), make([]float64, n)
			o := AdamWOptions{LR: 1e-2, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, GradScale: 0.5}
			for step := 1; step <= 5; step++ {
				o.Step = step
				g := normal(r, n)
				g[0] = 0
				AdamW(p, g, m, v, o)
				for i := range p64 {
					d := float64(g[i]) * 0.5
					p64[i] *= 1 - o.LR*o.WeightDecay
					m64[i] = o.Beta1*m64[i] + (1-o.Beta1)*d
					v64[i] = o.Beta2*v64[i] + (1-o.Beta2)*d*d
					root := math.Sqrt(v64[i])/math.Sqrt(1-math.Pow(o.Beta2, float64(step))) + o.Eps
					p64[i] -= o.LR / (1 - math.Pow(o.Beta1, float64(step))) * m64[i] / root
				}
			}
			near(t, "parameters", p, p64, 1e-6)
			near(t, "first moments", m, m64, 1e-6)
			near(t, "second moments", v, v64, 1e-6)
		}
	})
}

func TestNormsAndScale(t *testing.T) {
	want := map[int]float64{}
	everySet(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 9, 1000, 300001} {
			r := rand.New(rand.NewPCG(9, uint64(n)))
			x, y := normal(r, n), normal(r, n)
			sum := 0.0
			for _, v := range x {
				sum += float64(v) * float64(v)
			}
			got := SquaredNorm(x)
			require.InDelta(t, sum, got, 1e-9*sum)
			if Threads() == 1 {
				want[n] = got
			} else {
				require.Equal(t, want[n], got, "another sum with more threads")
			}
			expect := wide(x)
			for i := range expect {
				expect[i] = expect[i]*0.5 + float64(y[i])
			}
			Scale(x, 0.5)
			Add(x, y)
			near(t, "scaled and added", x, expect, 1e-6)
		}
	})
}
