package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestColumns(t *testing.T) {
	everySet(t, func(t *testing.T) {
		const rows, n, ldx, ldy = 37, 301, 310, 305
		r := rand.New(rand.NewPCG(1, 1))
		x, y, g := normal(r, rows*ldx), normal(r, rows*ldy), normal(r, n)
		scaled, added := slices.Clone(y), slices.Clone(y)
		ScaleColumns(scaled, ldy, g, -1, x, ldx, rows, n)
		AddScaledColumns(added, ldy, g, x, ldx, rows, n)
		dots, sum := make([]float64, n), make([]float64, n)
		ColumnDots(x, ldx, y, ldy, dots, rows)
		for i := range y {
			row, column := i/ldy, i%ldy
			if column >= n {
				require.Equal(t, y[i], scaled[i])
				require.Equal(t, y[i], added[i])
				continue
			}
			v := x[row*ldx+column]
			require.Equal(t, (g[column]-1)*v, scaled[i])
			require.InDelta(t, y[i]+g[column]*v, added[i], 1e-6)
			sum[column] += float64(v) * float64(y[i])
		}
		require.Equal(t, sum, dots)
		z := slices.Clone(y)
		Add(z, x, len(z))
		for i := range z {
			require.Equal(t, y[i]+x[i], z[i])
		}
	})
}

// A dropout's mask is the same on any number of threads, keeps the share that it should, and differs from key to key.
func TestDropout(t *testing.T) {
	const n = 200_000
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	var first []float32
	everySet(t, func(t *testing.T) {
		y := make([]float32, n)
		Dropout(x, y, n, 0.3, 12345, false)
		if first == nil {
			first = y
		}
		require.Equal(t, first, y)
		twice := slices.Clone(y)
		Dropout(x, twice, n, 0.3, 12345, true)
		for i := range y {
			require.Equal(t, 2*y[i], twice[i])
		}
	})
	dropped := func(y []float32) (n int) {
		for _, v := range y {
			if v == 0 {
				n++
			} else {
				require.Equal(t, float32(1/0.7), v)
			}
		}
		return n
	}
	other := make([]float32, n)
	Dropout(x, other, n, 0.3, 12346, false)
	both := 0
	for i := range first {
		if first[i] == 0 && other[i] == 0 {
			both++
		}
	}
	deviation := func(p float64) float64 { return 5 * math.Sqrt(n*p*(1-p)) }
	require.InDelta(t, 0.3*n, float64(dropped(first)), deviation(0.3))
	require.InDelta(t, 0.3*n, float64(dropped(other)), deviation(0.3))
	require.InDelta(t, 0.09*n, float64(both), deviation(0.09), "two masks are not independent")
}
