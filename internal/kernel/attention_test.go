package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func attention64(h Heads, lengths []int) func([]float64) []float64 {
	return func(qkv []float64) []float64 {
		width, start := h.Width(), 0
		out := make([]float64, len(qkv)/width*h.Query*h.Dim)
		for _, n := range lengths {
			for head := range h.Query {
				kv := head / (h.Query / h.KeyValue)
				at := func(t, column int) []float64 { return qkv[(start+t)*width+column*h.Dim:][:h.Dim] }
				for i := range n {
					p, sum := make([]float64, i+1), 0.0
					for j := range p {
						for d, q := range at(i, head) {
							p[j] += q * at(j, h.Query+kv)[d]
						}
						p[j] = math.Exp(p[j] / math.Sqrt(float64(h.Dim)))
						sum += p[j]
					}
					for j := range p {
						for d, v := range at(j, h.Query+h.KeyValue+kv) {
							out[((start+i)*h.Query+head)*h.Dim+d] += p[j] / sum * v
						}
					}
				}
			}
			start += n
		}
		return out
	}
}

// attentionGradient64 is the gradient of Σ do·attention64 by the formulas; slope is too slow for long rows.
func attentionGradient64(h Heads, lengths []int, qkv, do []float64) []float64 {
	width, start, scale := h.Width(), 0, 1/math.Sqrt(float64(h.Dim))
	out := make([]float64, len(qkv))
	for _, n := range lengths {
		for head := range h.Query {
			kv := head / (h.Query / h.KeyValue)
			place := func(t, column int) int { return (start+t)*width + column*h.Dim }
			for i := range n {
				p, dp, sum, mean := make([]float64, i+1), make([]float64, i+1), 0.0, 0.0
				above := do[((start+i)*h.Query+head)*h.Dim:][:h.Dim]
				query := place(i, head)
				for j := range p {
					key, value := place(j, h.Query+kv), place(j, h.Query+h.KeyValue+kv)
					for d := range h.Dim {
						p[j] += qkv[query+d] * qkv[key+d]
						dp[j] += above[d] * qkv[value+d]
					}
					p[j] = math.Exp(p[j] * scale)
					sum += p[j]
				}
				for j := range p {
					p[j] /= sum
					mean += p[j] * dp[j]
				}
				for j := range p {
					key, value := place(j, h.Query+kv), place(j, h.Query+h.KeyValue+kv)
					score := p[j] * (dp[j] - mean) * scale
					for d := range h.Dim {
						out[query+d] += score * qkv[key+d]
						out[key+d] += score * qkv[query+d]
						out[value+d] += p[j] * above[d]
					}
				}
			}
		}
		start += n
	}
	return out
}

func TestAttention(t *testing.T) {
	var s AttentionScratch // for calls of all sizes
	for _, tc := range []struct {
		h       Heads
		lengths []int
	}{
		{Heads{1, 1, 2}, []int{1}},
		{Heads{2, 2, 6}, []int{3, 1, 4}},
		{Heads{4, 2, 16}, []int{0, 5, 9}},
		{Heads{3, 1, 10}, []int{2, 0, 11}},
		{Heads{2, 1, 32}, []int{26}},
		{Heads{1, 1, 8}, []int{53}},
		{Heads{2, 1, 6}, []int{125, 243}}, // rows of several panels
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			tokens := 0
			for _, n := range tc.lengths {
				tokens += n
			}
			r := rand.New(rand.NewPCG(6, uint64(tokens)))
			qkv := normal(r, tokens*tc.h.Width())
			do := normal(r, tokens*tc.h.Query*tc.h.Dim)
			f := attention64(tc.h, tc.lengths)
			want, gradient := f(wide(qkv)), attentionGradient64(tc.h, tc.lengths, wide(qkv), wide(do))
			if tokens < 100 {
				for i, g := range slope(f, wide(qkv), do) {
					require.InDelta(t, g, gradient[i], 1e-7)
				}
			}
			everySet(t, func(t *testing.T) {
				o, lse := make([]float32, len(do)), make([]float32, tc.h.Query*(tokens+2))
				d := normal(r, len(qkv)) // what was there before must not matter
				Attention(tc.h, tc.lengths, qkv, o, lse, tokens+2, &s)
				near(t, "output", o, want, 2e-6)
				AttentionGradient(tc.h, tc.lengths, qkv, o, lse, tokens+2, &s, do, d)
				near(t, "gradient", d, gradient, 5e-6)
				without := make([]float32, len(o))
				Attention(tc.h, tc.lengths, qkv, without, nil, 0, &s)
				require.Equal(t, o, without)
			})
		})
	}
}

// Long rows, large scores: the parts of a row must not lose each other's scale, and no thread count may change a bit.
func TestAttentionLong(t *testing.T) {
	h, lengths := Heads{3, 1, 64}, []int{130, 301, 7}
	r := rand.New(rand.NewPCG(7, 7))
	tokens := 438
	qkv, do := normal(r, tokens*h.Width()), normal(r, tokens*h.Query*h.Dim)
	for i := range qkv {
		qkv[i] *= 3
	}
	want := attention64(h, lengths)(wide(qkv))
	var first, firstGradient []float32
	everySet(t, func(t *testing.T) {
		o, lse, d := make([]float32, len(do)), make([]float32, h.Query*tokens), make([]float32, len(qkv))
		var s AttentionScratch
		Attention(h, lengths, qkv, o, lse, tokens, &s)
		AttentionGradient(h, lengths, qkv, o, lse, tokens, &s, do, d)
		near(t, "output", o, want, 5e-6)
		if Threads() == 1 {
			first, firstGradient = o, d
		} else {
			require.Equal(t, first, o)
			require.Equal(t, firstGradient, d)
		}
	})
}
