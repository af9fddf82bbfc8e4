package student

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"stillhouse/internal/kernel"
)

// coldest is the lowest temperature that is sampled at; below it the likeliest token is taken.
const coldest = 1e-6

// newRNG is the random numbers of one sample: of sample i those of the request's seed + i, so that a sample drawn alone
// with its own seed is the same that comes among others (vLLM does so too). The seed is mixed first (SplitMix64),
// because generators that start from neighbouring states give numbers that are alike.
func newRNG(seed uint64, sample int) *rand.Rand {
	mix := func(x uint64) uint64 {
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return x ^ x>>31
	}
	own := mix(seed + uint64(sample))
	return rand.New(rand.NewPCG(own, mix(own)))
}

// A draw is memory that choosing a token needs, used again and again.
type draw struct {
	weights []float32 // [vocabulary]
	ids     []int32
}

// choose takes a token by its logits: the likeliest at temperature 0 (the lowest id of several), else one drawn from
// softmax(logits/temperature), cut to the smallest set of likeliest tokens whose probabilities reach topP. It takes one
// random number. It returns -1 when the logits are not numbers.
func (d *draw) choose(logits []float32, temperature, topP float64, rng *rand.Rand) int32 {
	best := kernel.DecodeTop(logits)
	if best < 0 || temperature < coldest {
		return int32(best)
	}
	if len(d.weights) != len(logits) {
		d.weights = make([]float32, len(logits))
	}
	weights := d.weights
	kernel.DecodeExps(logits, float32(1/temperature), weights)
	u := rng.Float64()
	if topP < 1 {
		return d.nucleus(topP, u)
	}
	u *= total(weights)
	last := best
	for i, w := range weights {
		if u -= float64(w); u < 0 {
			return int32(i)
		}
		if w > 0 {
			last = i
		}
	}
	return int32(last) // u was rounded up to the total
}

// nucleus draws from the likeliest tokens that together have the probability topP.
func (d *draw) nucleus(topP, u float64) int32 {
	weights := d.weights
	all := total(weights)
	// The tokens below this weight have less than 1-topP together, so the set needs none of them, and few are left to
	// be sorted.
	least := float32((1 - topP) * all / float64(len(weights)))
	ids := d.ids[:0]
	for i, w := range weights {
		if w >= least {
			ids = append(ids, int32(i))
		}
	}
	d.ids = ids
	slices.SortFunc(ids, func(a, b int32) int {
		if c := cmp.Compare(weights[b], weights[a]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	sum, n := 0.0, 0
	for n < len(ids) && (n == 0 || sum < topP*all) {
		sum += float64(weights[ids[n]])
		n++
	}
	u *= sum
	for _, id := range ids[:n] {
		if u -= float64(weights[id]); u < 0 {
			return id
		}
	}
	return ids[n-1]
}

func total(weights []float32) (sum float64) {
	for _, w := range weights {
		sum += float64(w)
	}
	return sum
}

// logProb is the logarithm of a token's probability at temperature 1.
func logProb(logits []float32, token int32) float64 {
	top, sum := float64(slices.Max(logits)), 0.0
	for _, x := range logits {
		sum += math.Exp(float64(x) - top)
	}
	return float64(logits[token]) - top - math.Log(sum)
}
