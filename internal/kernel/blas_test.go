package kernel

import "testing"

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

func BenchmarkGemm(b *testing.B) {
	const m, k, n = 256, 576, 1536
	x, w, y := make([]float32, m*k), make([]float32, n*k), make([]float32, m*n)
	for b.Loop() {
		Gemm(false, true, m, n, k, 1, x, k, w, k, 0, y, n)
	}
	b.ReportMetric(2*m*k*n*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
