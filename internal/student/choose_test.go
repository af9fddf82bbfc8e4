package student

import (
	"math"
	"slices"
	"testing"
)

// The shares of many draws are the probabilities: the chi-square of each case stays below its 1-in-10⁶ bound.
func TestChooseDraws(t *testing.T) {
	logits := []float32{1, 0.5, -1, 2, -3, 0}
	for _, tc := range []struct {
		temperature, topP float64
		kept              []int // tokens that can be drawn
	}{
		{1, 1, []int{0, 1, 2, 3, 4, 5}},
		{0.5, 1, []int{0, 1, 2, 3, 4, 5}},
		{1, 0.6, []int{3, 0}}, // 0.561 + 0.206
		{1, 0.5, []int{3}},
		{1, 0.8, []int{3, 0, 1}},
		{1, 1e-9, []int{3}},
	} {
		probs, sum := make([]float64, len(logits)), 0.0
		for _, i := range tc.kept {
			probs[i] = math.Exp(float64(logits[i]) / tc.temperature)
			sum += probs[i]
		}
		const draws = 20000
		rng, counts, d := newRNG(7, 3), make([]float64, len(logits)), draw{}
		for range draws {
			counts[d.choose(logits, tc.temperature, tc.topP, rng)]++
		}
		square := 0.0
		for i, n := range counts {
			want := draws * probs[i] / sum
			if want == 0 {
				if n > 0 {
					t.Errorf("%+v: token %d was drawn %v times", tc, i, n)
				}
				continue
			}
			square += (n - want) * (n - want) / want
		}
		if square > 36 { // 5 degrees of freedom at most
			t.Errorf("%+v: chi-square %v, counts %v", tc, square, counts)
		}
	}
}

func TestChooseGreedy(t *testing.T) {
	rng, d := newRNG(1, 0), draw{}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, tc := range []struct {
		logits []float32
		want   int32
	}{
		{[]float32{1, 3, 2, 3}, 1}, // the first of two
		{[]float32{-inf, -5, -inf, -7}, 1},
		{[]float32{1, nan, 2, 3}, -1},
		{[]float32{nan, 1, 2, 3}, -1},
		{[]float32{inf, 1, 2, 3}, -1},
		{[]float32{-inf, -inf, -inf, -inf}, -1},
	} {
		for _, temperature := range []float64{0, 1e-7} {
			if got := d.choose(tc.logits, temperature, 1, rng); got != tc.want {
				t.Errorf("%v: %d, not %d", tc.logits, got, tc.want)
			}
		}
	}
	if got := d.choose([]float32{1, 3, 2, 0}, 1e-4, 1, rng); got != 1 {
		t.Errorf("close to 0 degrees, %d was drawn", got)
	}
}

func TestRandomNumbersDiffer(t *testing.T) {
	var first []float64
	for seed := range 40 {
		for sample := range 40 {
			first = append(first, newRNG(uint64(40*seed), sample).Float64())
		}
	}
	// The first numbers of neighbouring seeds and samples are as good as random: evenly spread and not in step.
	counts := make([]float64, 16)
	along := 0.0
	for i, x := range first {
		counts[int(x*16)]++
		if i > 0 {
			along += (x - 0.5) * (first[i-1] - 0.5) * 12
		}
	}
	square, want := 0.0, float64(len(first))/16
	for _, n := range counts {
		square += (n - want) * (n - want) / want
	}
	if square > 55 || math.Abs(along)/math.Sqrt(float64(len(first))) > 5 {
		t.Errorf("chi-square %v, correlation %v", square, along/math.Sqrt(float64(len(first))))
	}
	slices.Sort(first)
	if len(slices.Compact(first)) != 1600 {
		t.Error("two samples begin with the same number")
	}
}
