package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestGemm(t *testing.T) {
	a := []float32{1, 2, 3, 4, 5, 6} // [2, 3]
	b := []float32{1, 0, 0, 1, 1, 1} // [3, 2], and [2, 3] read transposed
	for _, tc := range []struct {
		name   string
		tb     bool
		ldb    int
		beta   float32
		expect [4]float32
	}{
		{"plain", false, 2, 0, [4]float32{4, 5, 10, 11}},
		{"transposed", true, 3, 0, [4]float32{1, 6, 4, 15}},
		{"accumulated", false, 2, 1, [4]float32{5, 6, 11, 12}},
	} {
		c := []float32{1, 1, 1, 1}
		Gemm(false, tc.tb, 2, 2, 3, 1, a, 3, b, tc.ldb, tc.beta, c, 2)
		if [4]float32(c) != tc.expect {
			t.Errorf("%s: %v, not %v", tc.name, c, tc.expect)
		}
	}
}

func TestGemmShapes(t *testing.T) {
	defer SetThreads(Threads())
	for _, shape := range [][3]int{{1, 1, 1}, {1, 4099, 64}, {50, 7, 33}, {257, 96, 300}, {96, 1025, 70}, {400, 192, 65}, {3, 3, 0}, {300, 801, 600}} {
		m, n, k := shape[0], shape[1], shape[2]
		for _, trans := range []struct{ a, b bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
			t.Run(fmt.Sprint(shape, trans), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(m), uint64(n)))
				lda, ldb, ldc := k+1, n+2, n+3
				if trans.a {
					lda = m + 1
				}
				if trans.b {
					ldb = k + 2
				}
				a, b, before := normal(r, max(m, k)*lda), normal(r, max(k, n)*ldb), normal(r, m*ldc)
				want := wide(before)
				for i := range m {
					for j := range n {
						s := 0.0
						for p := range k {
							x, y := i*lda+p, p*ldb+j
							if trans.a {
								x = p*lda + i
							}
							if trans.b {
								y = j*ldb + p
							}
							s += float64(a[x]) * float64(b[y])
						}
						want[i*ldc+j] = 2*s + 0.5*want[i*ldc+j]
					}
				}
				for _, threads := range []int{1, 2, 5} {
					SetThreads(threads)
					c := append([]float32(nil), before...)
					Gemm(trans.a, trans.b, m, n, k, 2, a, lda, b, ldb, 0.5, c, ldc)
					near(t, fmt.Sprintf("product on %d threads", threads), c, want, 1e-6)
				}
			})
		}
	}
}

// TestDeepProduct multiplies what is too deep for the matrix unit's memory to hold packed at once.
func TestDeepProduct(t *testing.T) {
	defer SetThreads(Threads())
	const m, n, k = 352, 320, 9216
	r := rand.New(rand.NewPCG(3, 4))
	a, b := normal(r, m*k), normal(r, k*n)
	var first []float32
	for _, threads := range []int{1, 2, 5} {
		SetThreads(threads)
		c := make([]float32, m*n)
		Gemm(false, false, m, n, k, 1, a, k, b, n, 0, c, n)
		for _, at := range []int{0, 31*n + 32, 200*n + 319, (m-1)*n + n - 1} {
			want, size := 0.0, 0.0
			for p := range k {
				x := float64(a[at/n*k+p]) * float64(b[p*n+at%n])
				want += x
				size += math.Abs(x)
			}
			if e := math.Abs(float64(c[at]) - want); !(e <= 1e-6*size) {
				t.Errorf("%d threads: element %d is %v, not %v", threads, at, c[at], want)
			}
		}
		if first == nil {
			first = c
		}
		if tiles && !slices.Equal(first, c) {
			t.Errorf("on %d threads the matrix unit's result is another than on one", threads)
		}
	}
}

// TestProductsAreExact holds the errors of products on the matrix unit against those of OpenBLAS: with three parts a float
// they are no larger, with floats of any size beside each other.
func TestProductsAreExact(t *testing.T) {
	if !tiles {
		t.Log("this processor has no matrix unit, or the system doesn't let it be used: only OpenBLAS is looked at")
	}
	defer UseTiles(tiles)
	r := rand.New(rand.NewPCG(7, 8))
	const m, n, k = 64, 96, 640
	for name, draw := range map[string]func() float32{
		"normal":   func() float32 { return float32(r.NormFloat64()) },
		"positive": func() float32 { return r.Float32() },
		"uneven":   func() float32 { return float32(math.Exp(8*r.NormFloat64()) * r.NormFloat64()) },
		"tiny":     func() float32 { return float32(1e-13 * r.NormFloat64()) },
	} {
		a, b := make([]float32, m*k), make([]float32, k*n)
		for i := range a {
			a[i] = draw()
		}
		for i := range b {
			b[i] = draw()
		}
		// The error of one element in units of what its terms' absolute values sum to.
		mean := func() float64 {
			c := make([]float32, m*n)
			Gemm(false, false, m, n, k, 1, a, k, b, n, 0, c, n)
			sum := 0.0
			for i := range m {
				for j := range n {
					exact, size := 0.0, 0.0
					for p := range k {
						x := float64(a[i*k+p]) * float64(b[p*n+j])
						exact += x
						size += math.Abs(x)
					}
					sum += math.Abs(float64(c[i*n+j])-exact) / size
				}
			}
			return sum / (m * n)
		}
		UseTiles(false)
		plain := mean()
		UseTiles(true)
		if e := mean(); !(e <= 1.5*plain+0x1p-26) || !(e < 1e-6) {
			t.Errorf("%s: mean error %.3g by %s, %.3g by OpenBLAS", name, e, Products(), plain)
		} else {
			t.Logf("%s: mean error %.3g by %s, %.3g by OpenBLAS", name, e, Products(), plain)
		}
	}
}

// TestNotFinite: what is not finite stays so.
func TestNotFinite(t *testing.T) {
	for _, bad := range []float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())} {
		const n = 96
		a, b, c := make([]float32, n*n), make([]float32, n*n), make([]float32, n*n)
		for i := range a {
			a[i], b[i] = 1, 1
		}
		a[5*n+7] = bad
		Gemm(false, false, n, n, n, 1, a, n, b, n, 0, c, n)
		for i, v := range c {
			if finite := !math.IsInf(float64(v), 0) && !math.IsNaN(float64(v)); finite != (i/n != 5) {
				t.Fatalf("with %v: element %d is %v", bad, i, v)
			}
		}
	}
}

// BenchmarkGemm is one forward product of SmolLM2-135M's MLP, by what computes products here and by OpenBLAS.
func BenchmarkGemm(b *testing.B) {
	const m, k, n = 1024, 576, 1536
	r := rand.New(rand.NewPCG(1, 2))
	x, w, y := normal(r, m*k), normal(r, n*k), make([]float32, m*n) // what zeros cost says little: a matrix unit is faster with them
	defer UseTiles(tiles)
	for _, on := range []bool{false, true} {
		UseTiles(on)
		b.Run(Products(), func(b *testing.B) {
			for b.Loop() {
				Gemm(false, true, m, n, k, 1, x, k, w, k, 0, y, n)
			}
			b.ReportMetric(2*m*k*n*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
