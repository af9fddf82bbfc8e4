package student

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse/internal/kernel"
)

// smollm2 is the shape of SmolLM2-135M.
var smollm2 = Config{
	Architecture: "LlamaForCausalLM", VocabSize: 49152, HiddenSize: 576, IntermediateSize: 1536, NumHiddenLayers: 30,
	NumAttentionHeads: 9, NumKeyValueHeads: 3, HeadDim: 64, RMSNormEps: 1e-5, RopeTheta: 1e5, MaxPositionEmbeddings: 8192,
	TieWordEmbeddings: true, Dtype: "float32",
}

// small is the shape of the demo's student.
var small = Config{
	Architecture: "LlamaForCausalLM", VocabSize: 100, HiddenSize: 128, IntermediateSize: 384, NumHiddenLayers: 4,
	NumAttentionHeads: 4, NumKeyValueHeads: 4, HeadDim: 32, RMSNormEps: 1e-5, RopeTheta: 1e4, MaxPositionEmbeddings: 128,
	TieWordEmbeddings: true, Dtype: "float32",
}

// randomBatch is rows of random tokens, trained from token prompt on.
func randomBatch(r *rand.Rand, c Config, prompt int, lengths ...int) Batch {
	b := Batch{Lengths: lengths}
	for _, n := range lengths {
		for i := range n {
			t := int32(r.IntN(c.VocabSize))
			b.Tokens = append(b.Tokens, t)
			if i < prompt {
				t = Ignored
			}
			b.Labels = append(b.Labels, t)
		}
	}
	return b
}

func repeat(n, times int) []int {
	out := make([]int, times)
	for i := range out {
		out[i] = n
	}
	return out
}

// BenchmarkStep is one update: forward, backward and AdamW.
func BenchmarkStep(b *testing.B) {
	for _, bc := range []struct {
		name   string
		config Config
		prompt int
		rows   []int
		fixed  bool // the same results on any number of threads
		rank   int  // of an adapter of all projections, which is trained in place of the model
		dora   bool
	}{
		{"demo/16x50", small, 10, repeat(50, 16), false, 0, false},
		{"SmolLM2-135M/1x256", smollm2, 64, repeat(256, 1), false, 0, false},
		{"SmolLM2-135M/4x256", smollm2, 64, repeat(256, 4), false, 0, false},
		{"SmolLM2-135M/4x256/deterministic", smollm2, 64, repeat(256, 4), true, 0, false},
		{"SmolLM2-135M/4x256/lora", smollm2, 64, repeat(256, 4), false, 16, false},
		{"SmolLM2-135M/4x256/dora", smollm2, 64, repeat(256, 4), false, 16, true},
	} {
		b.Run(bc.name, func(b *testing.B) {
			defer kernel.SetDeterministic(kernel.SetDeterministic(bc.fixed))
			m := New(bc.config, 1, 0.02)
			batch := randomBatch(rand.New(rand.NewPCG(1, 2)), bc.config, bc.prompt, bc.rows...)
			if bc.rank > 0 {
				a, err := NewAdapter(AdapterConfig{R: bc.rank, Alpha: 32, TargetModules: Modules{Pattern: allLinear}, DoRA: bc.dora}, m, 1)
				require.NoError(b, err)
				require.NoError(b, m.Attach(a))
			}
			g, err := NewGraph(m, len(batch.Tokens))
			require.NoError(b, err)
			defer g.Close()
			first, second := slab(g.Trainable()), slab(g.Trainable())
			o := kernel.AdamWOptions{LR: 1e-5, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, GradScale: 1}
			b.ReportAllocs()
			before := processorSeconds(b)
			for b.Loop() {
				g.ZeroGradients()
				_, err := g.Accumulate(batch, 1e-3)
				require.NoError(b, err)
				o.Step++
				for i, p := range g.Trainable() {
					kernel.AdamW(p.Data, g.Gradients()[i], first[i], second[i], o)
				}
			}
			tokens := float64(len(batch.Tokens) * b.N)
			b.ReportMetric(tokens/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(1e6*(processorSeconds(b)-before)/tokens, "µs-cpu/token")
		})
	}
}

// processorSeconds is the processor time of the process: what a busy machine leaves as it is.
func processorSeconds(t testing.TB) float64 {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkNewGraph is what a training pays once.
func BenchmarkNewGraph(b *testing.B) {
	m := New(smollm2, 1, 0.02)
	for b.Loop() {
		g, err := NewGraph(m, 256)
		require.NoError(b, err)
		require.NoError(b, g.Close())
	}
}
