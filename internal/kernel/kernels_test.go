package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// everySet runs a test once for each instruction set of this processor and for one and three threads.
func everySet(t *testing.T, test func(t *testing.T)) {
	n := Threads()
	t.Cleanup(func() {
		SetThreads(n)
		choose("")
	})
	for _, set := range []string{"base", "avx2", "avx512"} {
		if choose(set) != set {
			continue
		}
		for _, threads := range []int{1, 3} {
			SetThreads(threads)
			t.Run(fmt.Sprintf("%s/%d", set, threads), test)
		}
	}
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i := range x {
		y[i] = float64(x[i])
	}
	return y
}

func near(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	require.Equal(t, len(want), len(got), what)
	most := 1.0
	for _, w := range want {
		most = max(most, math.Abs(w))
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= tolerance*most) {
			t.Fatalf("%s: element %d of %d is %v, not %v (largest %.3g)", what, i, len(want), got[i], want[i], most)
		}
	}
}

// slope is the gradient of Σ by·f(x) with regard to x, by central differences in fp64.
func slope(f func(x []float64) []float64, x []float64, by []float32) []float64 {
	const h = 1e-5
	out := make([]float64, len(x))
	value := func() float64 {
		s := 0.0
		for i, y := range f(x) {
			s += y * float64(by[i])
		}
		return s
	}
	for i := range x {
		at := x[i]
		x[i] = at + h
		up := value()
		x[i] = at - h
		out[i] = (up - value()) / (2 * h)
		x[i] = at
	}
	return out
}

func TestExp(t *testing.T) {
	everySet(t, func(t *testing.T) {
		var x []float32
		for v := float32(-87.2); v < 88.2; v += 0.0137 {
			x = append(x, v)
		}
		y := make([]float32, len(x))
		exp(x, y)
		for i := range x {
			want := math.Exp(float64(x[i]))
			require.InEpsilon(t, want, float64(y[i]), 1.2e-7, "exp(%v)", x[i])
		}
		y = y[:5]
		exp([]float32{0, -1000, 1000, float32(math.Inf(-1)), float32(math.Inf(1))}, y)
		require.Equal(t, float32(1), y[0])
		require.InDelta(t, 0, y[1], 1e-37)
		require.InDelta(t, 0, y[3], 1e-37)
		require.Greater(t, y[2], float32(1e38))
		require.Greater(t, y[4], float32(1e38))
	})
}

func rmsnorm64(w []float64, n int, eps float64) func([]float64) []float64 {
	return func(x []float64) []float64 {
		y := make([]float64, len(x))
		for t := 0; t < len(x); t += n {
			s := 0.0
			for _, v := range x[t : t+n] {
				s += v * v
			}
			r := 1 / math.Sqrt(s/float64(n)+eps)
			for i := range n {
				y[t+i] = x[t+i] * r * w[i]
			}
		}
		return y
	}
}

func TestRMSNorm(t *testing.T) {
	everySet(t, func(t *testing.T) {
		for _, n := range []int{1, 3, 8, 17, 64, 67, 131} {
			rows, r := 5, rand.New(rand.NewPCG(1, uint64(n)))
			x, w, dy, skip := normal(r, rows*n), normal(r, n), normal(r, rows*n), normal(r, rows*n)
			y, rstd, dx, dw := make([]float32, rows*n), make([]float32, rows), make([]float32, rows*n), normal(r, n)
			f := rmsnorm64(wide(w), n, 1e-5)
			RMSNorm(x, w, 1e-5, y, rstd, rows, n)
			near(t, "y", y, f(wide(x)), 1e-6)

			want := slope(f, wide(x), dy)
			RMSNormInputGradient(x, w, rstd, dy, nil, dx, rows, n)
			near(t, "dx", dx, want, 2e-6)
			for i := range want {
				want[i] += float64(skip[i])
			}
			RMSNormInputGradient(x, w, rstd, dy, skip, skip, rows, n)
			near(t, "dx on the skip", skip, want, 2e-6)

			want = slope(func(w []float64) []float64 { return rmsnorm64(w, n, 1e-5)(wide(x)) }, wide(w), dy)
			for i := range want {
				want[i] += float64(dw[i])
			}
			RMSNormWeightGradient(x, rstd, dy, dw, rows, n)
			near(t, "dw", dw, want, 2e-6)
		}
	})
}

func TestRoPE(t *testing.T) {
	everySet(t, func(t *testing.T) {
		for _, dim := range []int{2, 6, 16, 64, 70} {
			const heads, extra = 3, 5
			ld, r := heads*dim+extra, rand.New(rand.NewPCG(2, uint64(dim)))
			positions := []int32{0, 1, 2, 0, 7}
			x := normal(r, len(positions)*ld)
			frequencies := make([]float32, dim/2)
			for i := range frequencies {
				frequencies[i] = float32(math.Pow(1e4, -2*float64(i)/float64(dim)))
			}
			before, table := wide(x), NewRotation(8, frequencies)
			want := append([]float64(nil), before...)
			for row, p := range positions {
				for h := range heads {
					for i := range dim / 2 {
						angle := float64(p) * math.Pow(1e4, -2*float64(i)/float64(dim))
						a, b := row*ld+h*dim+i, row*ld+h*dim+i+dim/2
						want[a] = before[a]*math.Cos(angle) - before[b]*math.Sin(angle)
						want[b] = before[b]*math.Cos(angle) + before[a]*math.Sin(angle)
					}
				}
			}
			RoPE(x, ld, heads, table, positions, false)
			near(t, "turned", x, want, 1e-6)
			RoPE(x, ld, heads, table, positions, true)
			near(t, "turned back", x, before, 1e-6)
		}
	})
}

func TestSwiGLU(t *testing.T) {
	everySet(t, func(t *testing.T) {
		for _, n := range []int{1, 5, 16, 37} {
			rows, r := 4, rand.New(rand.NewPCG(3, uint64(n)))
			gu, dy := normal(r, 2*rows*n), normal(r, rows*n)
			gu[0] = 30 // silu is flat there and its exponential small
			y, d := make([]float32, rows*n), make([]float32, 2*rows*n)
			f := func(gu []float64) []float64 {
				y := make([]float64, rows*n)
				for t := range rows {
					for i := range n {
						g := gu[2*t*n+i]
						y[t*n+i] = g / (1 + math.Exp(-g)) * gu[2*t*n+n+i]
					}
				}
				return y
			}
			SwiGLU(gu, y, rows, n)
			near(t, "y", y, f(wide(gu)), 1e-6)
			want := slope(f, wide(gu), dy)
			SwiGLUGradient(gu, dy, d, rows, n)
			near(t, "gradient", d, want, 1e-6)
			SwiGLUGradient(gu, dy, gu, rows, n)
			require.Equal(t, d, gu, "in place")
		}
	})
}

func TestRowsAndEmbedding(t *testing.T) {
	everySet(t, func(t *testing.T) {
		for _, n := range []int{1, 9, 64, 150} {
			ld, rows, r := n+3, 6, rand.New(rand.NewPCG(4, uint64(n)))
			y, b, sum := normal(r, rows*ld), normal(r, n), normal(r, n)
			total := wide(sum)
			added := wide(y)
			for t := range rows {
				for i := range n {
					total[i] += float64(y[t*ld+i])
					added[t*ld+i] += float64(b[i])
				}
			}
			SumRows(y, sum, rows, ld)
			near(t, "sum of rows", sum, total, 1e-6)
			AddRows(y, b, rows, ld)
			near(t, "rows", y, added, 1e-6)

			tokens := []int32{2, 0, 2, 3, 2, 1}
			table, dtable, dy := normal(r, 5*n), normal(r, 5*n), normal(r, rows*n)
			want, out := wide(dtable), make([]float32, rows*n)
			for t, k := range tokens {
				for i := range n {
					want[int(k)*n+i] += float64(dy[t*n+i])
				}
			}
			Embed(table, tokens, out, n)
			for row, k := range tokens {
				near(t, "embedding", out[row*n:(row+1)*n], wide(table[int(k)*n:(int(k)+1)*n]), 0)
			}
			EmbedGradient(dy, tokens, dtable, n)
			near(t, "embedding gradient", dtable, want, 1e-6)
		}
	})
}
