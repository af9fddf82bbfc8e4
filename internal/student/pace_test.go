package student

import (
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is measured on paper is what a graph takes.
func TestMeasure(t *testing.T) {
	qwen := load(t, "tiny-qwen3")
	for _, m := range []*Model{New(odd, 1, 0.3), qwen} {
		const tokens = 37
		g := graph(t, m, tokens)
		on := &Model{Config: m.Config, Params: Layout(m.Config)} // without data
		f, err := Measure(on, tokens, tokens)
		require.NoError(t, err)
		size := 0
		for _, p := range m.Params {
			size += 4 * len(p.Data)
		}
		require.EqualValues(t, size, f.Parameters)
		require.EqualValues(t, size, f.Gradients)
		require.EqualValues(t, 2*size, f.Optimiser)
		r := rand.New(rand.NewPCG(1, 1))
		accumulate(t, g, randomBatch(r, m.Config, 2, tokens), 1)
		require.EqualValues(t, g.memory.taken+g.scratch.Bytes(), f.Activations)
		require.EqualValues(t, f.Sum(), 4*int64(size)+f.Activations)
	}
	_, err := Measure(qwen, 0, 1)
	invalid(t, err)
}

// The same of a model with an adapter, with all that adapters have.
// What a token of a layer keeps until the backward pass is two states, q, k and v, the attention and gate and up: norms and gated
// products are made again there.
func TestActivationsKept(t *testing.T) {
	m := New(smollm2, 1, 0.02)
	few, err := Measure(m, 1000, 250)
	require.NoError(t, err)
	more, err := Measure(m, 2000, 250)
	require.NoError(t, err)
	c := smollm2
	kept := c.NumHiddenLayers * (3*c.HiddenSize + (c.NumAttentionHeads+2*c.NumKeyValueHeads)*c.HeadDim + 2*c.IntermediateSize)
	t.Logf("activations and working memory: %d MiB with 1,000 tokens at once, %d with 2,000", few.Activations>>20, more.Activations>>20)
	shared := 4*c.IntermediateSize + 20*c.HiddenSize // what is used by one layer after another
	require.LessOrEqual(t, (more.Activations-few.Activations)/4000, int64(kept+shared))
}

func TestMeasureAdapter(t *testing.T) {
	for _, c := range []AdapterConfig{
		{R: 3, Alpha: 6, TargetModules: Modules{Pattern: "all-linear"}},
		{R: 2, Alpha: 4, Dropout: 0.1, DoRA: true, TargetModules: Modules{Names: []string{"q_proj", "down_proj", "up_proj"}}},
	} {
		m := New(odd, 1, 0.3)
		a, err := NewAdapter(c, m, 1)
		require.NoError(t, err)
		require.NoError(t, m.Attach(a))
		g := graph(t, m, 37)
		accumulate(t, g, randomBatch(rand.New(rand.NewPCG(1, 1)), odd, 2, 37), 1)
		s := g.adapters
		scratch := 4 * int64(cap(s.dh)+cap(s.x)+cap(s.e)+cap(s.u)+cap(s.du))

		on := &Model{Config: odd, Params: Layout(odd)}
		on.Adapter, err = BlankAdapter(c, on)
		require.NoError(t, err)
		f, err := Measure(on, 37, 37)
		require.NoError(t, err)
		require.EqualValues(t, g.memory.taken+g.scratch.Bytes()+scratch, f.Activations)
		size := 0
		for _, p := range a.Params {
			size += p.Size()
		}
		require.EqualValues(t, 4*size, f.Gradients)
		p, err := MeasurePace(on, randomBatch(rand.New(rand.NewPCG(1, 1)), odd, 2, 37), false)
		require.NoError(t, err)
		require.Positive(t, p.Train.Pass)
		require.Zero(t, p.Evaluate)
	}
}

func TestMeasurePace(t *testing.T) {
	on := &Model{Config: odd, Params: Layout(odd)}
	p, err := MeasurePace(on, randomBatch(rand.New(rand.NewPCG(1, 1)), odd, 3, 60), true)
	require.NoError(t, err)
	for _, c := range []Cost{p.Train, p.Evaluate} {
		for _, v := range []float64{c.Token, c.Label, c.Pass} {
			require.GreaterOrEqual(t, v, 0.0)
			require.Less(t, v, 1.0)
		}
		require.Positive(t, c.Pass)
		require.InEpsilon(t, 2*c.Seconds(100, 50, 4), c.Seconds(200, 100, 8), 1e-9)
	}
	require.Positive(t, p.Parameter)
	require.Positive(t, p.Fresh)
	_, err = MeasurePace(on, Batch{Lengths: []int{0}}, false)
	require.NoError(t, err) // rows that train nothing take time all the same
}

// What is timed has the rows of the usual pass, as far as the budget goes, and as many labels as a tile of logits.
func TestTimedRows(t *testing.T) {
	usual := Batch{Lengths: []int{7, 1, 4}}
	for i := range 12 {
		usual.Tokens, usual.Labels = append(usual.Tokens, int32(i)), append(usual.Labels, []int32{Ignored, 3}[i%2])
	}
	labels := func(b Batch) (n int) {
		require.Len(t, b.Labels, len(b.Tokens))
		for _, l := range b.Labels {
			n += min(1, int(l)-Ignored)
		}
		return n
	}
	on := timing{config: odd}
	on.rows(usual)
	require.Equal(t, []int{7, 1, 4}, on.body.Lengths)
	require.Len(t, on.head.Tokens, 7)
	require.Equal(t, []int{1, 1, 1, 6}, []int{labels(on.few), labels(on.body), labels(on.unlabelled), labels(on.head)})
	on.config.HiddenSize, on.config.IntermediateSize, on.config.VocabSize = 1<<14, 1<<14, 1<<23
	on.rows(usual)
	require.Equal(t, []int{7, 1}, on.body.Lengths)
	require.Len(t, on.head.Tokens, 5) // 2^25 logits
}

// What is repeated is so often enough, and its time is that of the times after the first.
func TestRepeated(t *testing.T) {
	for _, seconds := range []float64{0, 1e9} {
		n := 0
		mean, unlike, err := repeated(seconds, func() error { n++; return nil })
		require.NoError(t, err)
		require.Equal(t, map[float64]int{0: 3, 1e9: 51}[seconds], n)
		require.Positive(t, mean)
		require.GreaterOrEqual(t, unlike, 0.0)
		require.LessOrEqual(t, unlike, 2.0)
	}
	_, _, err := repeated(0, func() error { return io.EOF })
	require.ErrorIs(t, err, io.EOF)
}

// From the times of two slices follows that of the whole model.
func TestCostOfTheWhole(t *testing.T) {
	c := odd
	c.NumHiddenLayers, c.VocabSize = 10, 400
	on := timing{config: c, layers: 2, vocabulary: 100}
	on.few, on.body, on.head = Batch{Tokens: make([]int32, 2)}, Batch{Tokens: make([]int32, 52)}, Batch{Tokens: make([]int32, 32)}
	// A layer takes 0.01 s and 0.001 a token; the head 0.02, and 0.003 a label.
	cost := times{few: 2 * (0.01 + 2*0.001), body: 2 * (0.01 + 52*0.001), headFew: 0.01 + 2*0.001 + 0.02, headUnlabelled: 1, head: 1 + 30*0.003}.cost(on)
	require.InDelta(t, 0.01, cost.Token, 1e-12)
	require.InDelta(t, 0.012, cost.Label, 1e-12)
	require.InDelta(t, 10*(0.01+2*0.001)+4*0.02, cost.Pass, 1e-12)
}
