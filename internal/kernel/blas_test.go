package kernel

import (
	"fmt"
	"math/rand/v2"
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
	for _, shape := range [][3]int{{1, 1, 1}, {1, 4099, 64}, {50, 7, 33}, {257, 96, 300}, {96, 1025, 70}, {400, 192, 65}, {3, 3, 0}} {
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

func BenchmarkGemm(b *testing.B) {
	const m, k, n = 256, 576, 1536
	x, w, y := make([]float32, m*k), make([]float32, n*k), make([]float32, m*n)
	for b.Loop() {
		Gemm(false, true, m, n, k, 1, x, k, w, k, 0, y, n)
	}
	b.ReportMetric(2*m*k*n*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
