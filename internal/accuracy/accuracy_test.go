package accuracy

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

// tallies are n problems of which right were answered rightly, by one sample each.
func tallies(right, n int) []Tally {
	out := make([]Tally, n)
	for i := range out {
		out[i] = Tally{Samples: 1}
		if i < right {
			out[i].Right = 1
		}
	}
	return out
}

// With one sample a problem, Of is Agresti and Coull's interval of a proportion, whose closed form is
// p' ∓ 1.96·√(p'(1-p')/(n+4)) with p' = (x+2)/(n+4).
func TestOfIsPlusFourForProportions(t *testing.T) {
	for _, c := range []struct{ right, n int }{{0, 1}, {1, 1}, {5, 10}, {81, 263}, {450, 500}, {500, 500}} {
		got, err := Of(tallies(c.right, c.n))
		require.NoError(t, err)
		n := float64(c.n) + 4
		p := (float64(c.right) + 2) / n
		half := 1.959963984540054 * math.Sqrt(p*(1-p)/n)
		mean := float64(c.right) / float64(c.n)
		require.InDelta(t, mean, got.Value, 1e-12)
		require.InDelta(t, math.Min(mean, math.Max(0, p-half)), got.Low, 1e-12, "%d of %d", c.right, c.n)
		require.InDelta(t, math.Max(mean, math.Min(1, p+half)), got.High, 1e-12, "%d of %d", c.right, c.n)
	}
}

// The shares 1, ½, ¼, 0 with the four added ones: mean 3.75/8, and the variance by hand.
func TestOfTakesSharesOfSamples(t *testing.T) {
	got, err := Of([]Tally{{4, 4}, {2, 4}, {1, 4}, {0, 4}})
	require.NoError(t, err)
	center := 3.75 / 8
	variance := (1+0.25+0.0625+2)/8 - center*center
	require.InDelta(t, 1.75/4, got.Value, 1e-12)
	require.InDelta(t, center-z*math.Sqrt(variance/8), got.Low, 1e-12)
	require.InDelta(t, center+z*math.Sqrt(variance/8), got.High, 1e-12)
}

// For matched answers with b problems that only the first got right and c that only the second did, Agresti and Min's
// interval is (b-c)/(n+2) ∓ 1.96·√((b+c+1) - (b-c)²/(n+2))/(n+2).
func TestDifferenceIsAgrestiMinForPairs(t *testing.T) {
	const n, b, c = 100, 20, 8
	first, second := tallies(50, n), tallies(50, n)
	for i := range b {
		second[i].Right = 0
	}
	for i := range c {
		second[50+i].Right = 1
	}
	got, err := Difference(first, second)
	require.NoError(t, err)
	center := float64(b-c) / (n + 2)
	half := z * math.Sqrt((b+c+1)-float64(b-c)*float64(b-c)/(n+2)) / (n + 2)
	require.InDelta(t, 0.12, got.Value, 1e-12)
	require.InDelta(t, center-half, got.Low, 1e-12)
	require.InDelta(t, center+half, got.High, 1e-12)

	back, err := Difference(second, first)
	require.NoError(t, err)
	require.InDelta(t, -got.Value, back.Value, 1e-12)
	require.InDelta(t, -got.High, back.Low, 1e-12)
}

func TestEqualArmsDoNotDifferButNotForSure(t *testing.T) {
	got, err := Difference(tallies(5, 5), tallies(5, 5))
	require.NoError(t, err)
	require.Zero(t, got.Value)
	require.Less(t, got.Low, -0.2)
	require.Greater(t, got.High, 0.2)
}

func TestImpossibleTalliesAreRefused(t *testing.T) {
	for name, c := range map[string][]Tally{
		"none": nil, "no samples": {{0, 0}}, "more than all": {{3, 2}}, "less than none": {{-1, 2}},
	} {
		_, err := Of(c)
		require.Error(t, err, name)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)
	}
	_, err := Difference(tallies(1, 2), tallies(1, 3))
	require.ErrorContains(t, err, "2 problems cannot be paired with 3")
	_, err = Difference(tallies(1, 2), []Tally{{1, 1}, {2, 1}})
	require.ErrorContains(t, err, "problem 1: 2 right of 1 samples")
}

// The intervals hold the truth about 95 times in 100: problems differ in how hard they are, four samples are drawn of
// each, and the two models of a pair find the same problems hard.
func TestCoverage(t *testing.T) {
	const trials, samples = 2000, 4
	for _, c := range []struct {
		name     string
		problems int
		a, b     func(hard float64) float64 // chance of a right answer to a problem, hard uniform in 0…1
		meanA    float64
		meanB    float64
	}{
		{"far apart", 500, func(h float64) float64 { return 1 - 0.4*h }, func(h float64) float64 { return 1 - 0.8*h }, 0.8, 0.6},
		{"near one", 200, func(h float64) float64 { return 1 - 0.04*h }, func(h float64) float64 { return 1 - 0.08*h }, 0.98, 0.96},
		{"few problems", 30, func(h float64) float64 { return 1 - h }, func(h float64) float64 { return 1 - h }, 0.5, 0.5},
	} {
		r := rand.New(rand.NewPCG(7, 11))
		draw := func(p float64) (t Tally) {
			for range samples {
				t.Samples++
				if r.Float64() < p {
					t.Right++
				}
			}
			return t
		}
		var ofA, ofDifference int
		for range trials {
			a, b := make([]Tally, c.problems), make([]Tally, c.problems)
			for i := range a {
				h := r.Float64()
				a[i], b[i] = draw(c.a(h)), draw(c.b(h))
			}
			e, err := Of(a)
			require.NoError(t, err)
			if e.Low <= c.meanA && c.meanA <= e.High {
				ofA++
			}
			d, err := Difference(a, b)
			require.NoError(t, err)
			if d.Low <= c.meanA-c.meanB && c.meanA-c.meanB <= d.High {
				ofDifference++
			}
		}
		require.InDelta(t, 0.955, float64(ofA)/trials, 0.025, "%s: accuracy", c.name)
		require.InDelta(t, 0.96, float64(ofDifference)/trials, 0.03, "%s: difference", c.name)
	}
}
