package kernel

import (
	"math/rand/v2"
	"testing"
)

func TestHeadNorm(t *testing.T) {
	everySet(t, func(t *testing.T) {
		for _, n := range []int{2, 7, 32, 70} {
			const rows, heads, extra, eps = 5, 3, 4, 1e-6
			ld, r := heads*n+extra, rand.New(rand.NewPCG(10, uint64(n)))
			x, w, dy, dw := normal(r, rows*ld), normal(r, n), normal(r, rows*ld), normal(r, n)
			y, rstd, dx := normal(r, rows*ld), make([]float32, heads*rows), normal(r, rows*ld)
			// What is right of the heads stays as it is.
			want, slopes := wide(y), wide(dx)
			wantW := wide(dw)
			for row := range rows {
				for h := range heads {
					at := row*ld + h*n
					f := rmsnorm64(wide(w), n, eps)
					copy(want[at:at+n], f(wide(x[at:at+n])))
					copy(slopes[at:at+n], slope(f, wide(x[at:at+n]), dy[at:at+n]))
					byW := func(w []float64) []float64 { return rmsnorm64(w, n, eps)(wide(x[at : at+n])) }
					for i, d := range slope(byW, wide(w), dy[at:at+n]) {
						wantW[i] += d
					}
				}
			}
			HeadNorm(x, w, eps, y, rstd, rows, heads, ld)
			near(t, "y", y, want, 1e-6)
			HeadNormGradient(x, w, rstd, dy, dx, dw, rows, heads, ld)
			near(t, "dx", dx, slopes, 4e-6)
			near(t, "dw", dw, wantW, 4e-6)
		}
	})
}
