package student

import (
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
		require.Less(t, on.Work(100, 50), m.plain().Work(100, 50))
		p, err := MeasurePace(on, 37, 20, 10)
		require.NoError(t, err)
		require.Positive(t, p.Pass)
	}
}

// plain is the model without its adapter.
func (m *Model) plain() *Model { return &Model{Config: m.Config, Params: m.Params} }

func TestMeasurePace(t *testing.T) {
	p, err := MeasurePace(&Model{Config: odd, Params: Layout(odd)}, 64, 20, 10)
	require.NoError(t, err)
	for _, v := range []float64{p.Token, p.Label, p.Pass, p.Parameter} {
		require.GreaterOrEqual(t, v, 0.0)
		require.Less(t, v, 1.0)
	}
	require.Positive(t, p.Pass)
	require.Positive(t, p.Parameter)
	require.InEpsilon(t, 2*p.Seconds(100, 50, 4, 1, 1000), p.Seconds(200, 100, 8, 2, 1000), 1e-9)
}

func TestWork(t *testing.T) {
	m := &Model{Config: smollm2, Params: Layout(smollm2)}
	require.InEpsilon(t, 6*106.17e6, m.Work(1, 0), 1e-3)
	require.InEpsilon(t, 6*28.31e6, m.Work(0, 1), 1e-3)
	require.InEpsilon(t, 1000*m.Work(1, 0)+500*m.Work(0, 1), m.Work(1000, 500), 1e-12)
}
