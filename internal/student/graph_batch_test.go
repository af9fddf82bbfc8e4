package student

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/kernel"
)

// odd is a shape that no vector divides, with an untied head and groups of three query heads.
var odd = Config{
	Architecture: "LlamaForCausalLM", VocabSize: 61, HiddenSize: 18, IntermediateSize: 29, NumHiddenLayers: 2,
	NumAttentionHeads: 3, NumKeyValueHeads: 1, HeadDim: 6, RMSNormEps: 1e-5, RopeTheta: 1e4, MaxPositionEmbeddings: 128,
	Dtype: "float32",
}

func graph(t testing.TB, m *Model, tokens int) *Graph {
	g, err := NewGraph(m, tokens)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

func accumulate(t testing.TB, g *Graph, b Batch, scale float64) Stats {
	s, err := g.Accumulate(b, scale)
	require.NoError(t, err)
	return s
}

func copied(grads [][]float32) [][]float32 {
	var out [][]float32
	for _, d := range grads {
		out = append(out, slices.Clone(d))
	}
	return out
}

func compare(t testing.TB, m *Model, got, want [][]float32, tolerance float64) {
	for i, p := range m.Params {
		require.LessOrEqual(t, relative(t, got[i], want[i]), tolerance, p.Name)
	}
}

// rows splits a batch into its rows.
func rows(b Batch) []Batch {
	var out []Batch
	at := 0
	for _, n := range b.Lengths {
		out = append(out, Batch{Tokens: b.Tokens[at : at+n], Labels: b.Labels[at : at+n], Lengths: []int{n}})
		at += n
	}
	return out
}

func TestPackedRows(t *testing.T) {
	m, b := load(t, "tiny-llama"), readParity(t, "tiny-llama").batch()
	packed, err := m.Logits(b)
	require.NoError(t, err)
	whole, parts := graph(t, m, len(b.Tokens)), graph(t, m, 200)
	sum := accumulate(t, whole, b, 0.1)
	var total Stats
	at := 0
	for _, row := range rows(b) {
		single, err := m.Logits(row)
		require.NoError(t, err)
		require.LessOrEqual(t, maxDifference(t, packed[at:at+len(single)], single), 2e-5)
		at += len(single)
		s := accumulate(t, parts, row, 0.1)
		total = Stats{total.Labels + s.Labels, total.Loss + s.Loss, total.Correct + s.Correct, total.Entropy + s.Entropy}
	}
	require.Equal(t, len(packed), at)
	require.Equal(t, total.Labels, sum.Labels)
	require.Equal(t, total.Correct, sum.Correct)
	require.InEpsilon(t, total.Loss, sum.Loss, 1e-6)
	require.InEpsilon(t, total.Entropy, sum.Entropy, 1e-6)
	compare(t, m, parts.Gradients(), whole.Gradients(), 1e-5)
}

// The loss along a random direction must change as the gradient says, for a shape of no parity.
func TestGradientOfOddShape(t *testing.T) {
	for _, tied := range []bool{false, true} {
		c := odd
		c.TieWordEmbeddings = tied
		m := New(c, 3, 0.3)
		r := rand.New(rand.NewPCG(4, 4))
		b := randomBatch(r, c, 2, 1, 13, 2, 0, 30)
		g := graph(t, m, 50)
		g.head.tile = 7 // less than the labels
		accumulate(t, g, b, 1)
		for i, p := range m.Params {
			before := slices.Clone(p.Data)
			direction := make([]float64, len(p.Data))
			size, want := 0.0, 0.0
			for j := range direction {
				direction[j] = r.NormFloat64()
				size += direction[j] * direction[j]
			}
			// The direction is mostly along the gradient, so that the change is well above rounding.
			norm := math.Sqrt(kernel.SquaredNorm(g.Gradients()[i]))
			require.NotZero(t, norm, p.Name)
			for j := range direction {
				direction[j] = direction[j]/math.Sqrt(size)*0.3 + float64(g.Gradients()[i][j])/norm
				want += direction[j] * float64(g.Gradients()[i][j])
			}
			const h = 2e-3
			loss := func(h float64) float64 {
				for j := range p.Data {
					p.Data[j] = float32(float64(before[j]) + h*direction[j])
				}
				s, err := g.Evaluate(b)
				require.NoError(t, err)
				return s.Loss
			}
			// Richardson's extrapolation of central differences.
			slope := (8*(loss(h)-loss(-h)) - (loss(2*h) - loss(-2*h))) / (12 * h)
			copy(p.Data, before)
			require.InEpsilon(t, want, slope, 3e-3, "%s (tied %v)", p.Name, tied)
		}
	}
}

func TestAccumulation(t *testing.T) {
	m := New(odd, 5, 0.3)
	r := rand.New(rand.NewPCG(5, 5))
	big, little := randomBatch(r, odd, 0, 20, 25), randomBatch(r, odd, 1, 3, 4)
	g, fresh := graph(t, m, 45), graph(t, m, 7)
	accumulate(t, fresh, little, 2)
	want := copied(fresh.Gradients())

	// What a larger batch has left behind does not show.
	accumulate(t, g, big, 1)
	g.ZeroGradients()
	accumulate(t, g, little, 2)
	compare(t, m, g.Gradients(), want, 1e-6)

	// The same batch again doubles the gradients, with the opposite scale it takes them back.
	accumulate(t, g, little, 2)
	for i := range want {
		kernel.Scale(want[i], 2)
	}
	compare(t, m, g.Gradients(), want, 1e-6)
	accumulate(t, g, little, -4)
	for i, d := range g.Gradients() {
		require.Less(t, math.Sqrt(kernel.SquaredNorm(d)), 1e-5*math.Sqrt(kernel.SquaredNorm(want[i])), m.Params[i].Name)
	}
}

func TestWithoutLabels(t *testing.T) {
	m := New(odd, 6, 0.3)
	r := rand.New(rand.NewPCG(6, 6))
	g := graph(t, m, 40)
	none := randomBatch(r, odd, 99, 5, 6)
	first := Batch{Tokens: []int32{4, 5}, Labels: []int32{4, 5}, Lengths: []int{1, 1}} // the first tokens of their rows
	for _, b := range []Batch{none, first, {}, {Lengths: []int{0, 0}}, {Tokens: []int32{1, 2}, Lengths: []int{2}}} {
		require.Equal(t, Stats{}, accumulate(t, g, b, 1))
		for _, d := range g.Gradients() {
			require.Zero(t, kernel.SquaredNorm(d))
		}
	}
	// A row without labels beside one with labels changes nothing.
	one := randomBatch(r, odd, 1, 9)
	alone := accumulate(t, g, one, 1)
	want := copied(g.Gradients())
	g.ZeroGradients()
	both := Batch{
		Tokens: slices.Concat(none.Tokens, one.Tokens), Labels: slices.Concat(none.Labels, one.Labels), Lengths: slices.Concat(none.Lengths, one.Lengths),
	}
	s := accumulate(t, g, both, 1)
	require.Equal(t, alone.Labels, s.Labels)
	require.InEpsilon(t, alone.Loss, s.Loss, 1e-6)
	compare(t, m, g.Gradients(), want, 1e-5)
}

func TestThreads(t *testing.T) {
	defer kernel.SetThreads(kernel.Threads())
	m, b := load(t, "tiny-llama"), readParity(t, "tiny-llama").batch()
	g := graph(t, m, 128)
	kernel.SetThreads(1)
	one := accumulate(t, g, b, 0.01)
	want := copied(g.Gradients())
	for _, n := range []int{2, 3} {
		kernel.SetThreads(n)
		g.ZeroGradients()
		s := accumulate(t, g, b, 0.01)
		require.InEpsilon(t, one.Loss, s.Loss, 1e-6)
		compare(t, m, g.Gradients(), want, 5e-6)
		again := copied(g.Gradients())
		g.ZeroGradients()
		accumulate(t, g, b, 0.01)
		require.Equal(t, again, g.Gradients(), "two runs on %d threads differ", n)
	}
}

// Weights that lie end to end are multiplied as one; the results must not tell.
func TestContiguousWeights(t *testing.T) {
	apart, together := load(t, "tiny-llama"), load(t, "tiny-llama")
	for i, memory := range slab(together.Params) {
		copy(memory, together.Params[i].Data)
		together.Params[i].Data = memory
	}
	for _, p := range apart.Params {
		p.Data = slices.Clip(slices.Clone(p.Data))
	}
	a, b := graph(t, apart, 128), graph(t, together, 128)
	batch := readParity(t, "tiny-llama").batch()
	require.InEpsilon(t, accumulate(t, a, batch, 1).Loss, accumulate(t, b, batch, 1).Loss, 1e-6)
	compare(t, apart, b.Gradients(), a.Gradients(), 5e-6)
}

func invalid(t testing.TB, err error) {
	require.Error(t, err)
	require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), err)
}

func TestBadBatches(t *testing.T) {
	m := New(odd, 7, 0.3)
	g := graph(t, m, 4)
	for name, b := range map[string]Batch{
		"too many tokens":      full([]int32{1, 2, 3, 4, 5}),
		"token above":          full([]int32{1, 61}),
		"token below":          full([]int32{1, -1}),
		"label above":          {Tokens: []int32{1, 2}, Labels: []int32{1, 61}, Lengths: []int{2}},
		"label below":          {Tokens: []int32{1, 2}, Labels: []int32{1, -1}, Lengths: []int{2}},
		"labels missing":       {Tokens: []int32{1, 2}, Labels: []int32{1}, Lengths: []int{2}},
		"length negative":      {Tokens: []int32{1, 2}, Labels: []int32{1, 2}, Lengths: []int{3, -1}},
		"length too long":      {Tokens: []int32{1, 2}, Labels: []int32{1, 2}, Lengths: []int{math.MaxInt, 2}},
		"lengths do not reach": {Tokens: []int32{1, 2}, Labels: []int32{1, 2}, Lengths: []int{1}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.Accumulate(b, 1)
			invalid(t, err)
			_, err = g.Evaluate(b)
			invalid(t, err)
		})
	}
	_, err := m.Logits(full([]int32{61}))
	invalid(t, err)
	_, err = NewGraph(m, 0)
	invalid(t, err)
	empty, err := m.Logits(Batch{})
	require.NoError(t, err)
	require.Empty(t, empty)

	m.Params = m.Params[:len(m.Params)-1]
	_, err = NewGraph(m, 4)
	require.ErrorContains(t, err, "lm_head.weight")
}

func TestClose(t *testing.T) {
	g, err := NewGraph(New(odd, 8, 0.3), 4)
	require.NoError(t, err)
	require.NoError(t, g.Close())
	require.NoError(t, g.Close())
	_, err = g.Accumulate(full([]int32{1, 2}), 1)
	require.Error(t, err)
	require.Equal(t, stillhouse.Permanent, stillhouse.KindOf(err))
}

// A step makes little garbage: no activation is allocated anew.
// The memory of a graph that was closed goes with the next collection.
func TestClosedGraphIsCollected(t *testing.T) {
	m := New(odd, 1, 0.3)
	held := func() int64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	const tokens = 4096
	f, err := Measure(m, tokens, tokens)
	require.NoError(t, err)
	before := held()
	g, err := NewGraph(m, tokens)
	require.NoError(t, err)
	_, err = g.Accumulate(full([]int32{1, 2, 3}), 1)
	require.NoError(t, err)
	require.Greater(t, held()-before, f.Activations/2)
	require.NoError(t, g.Close())
	require.Less(t, held()-before, f.Activations/4)
}

func TestStepAllocates(t *testing.T) {
	m := New(small, 9, 0.02)
	b := randomBatch(rand.New(rand.NewPCG(9, 9)), small, 5, repeat(50, 16)...)
	g := graph(t, m, len(b.Tokens))
	accumulate(t, g, b, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 3 {
		accumulate(t, g, b, 1)
	}
	runtime.ReadMemStats(&after)
	activation := uint64(4 * len(b.Tokens) * small.HiddenSize)
	require.Less(t, (after.TotalAlloc-before.TotalAlloc)/3, activation/2)
}
