package student

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse/internal/hub"
	"stillhouse/internal/kernel"
)

// parity is golden.json of a tiny model.
type parity struct {
	Sequences []struct {
		IDs      []int32   `json:"input_ids"`
		Logprobs []float64 `json:"logprobs"`
		CE       float64   `json:"mean_ce"`
		Entropy  float64   `json:"mean_entropy_nats"`
		Accuracy float64   `json:"token_accuracy"`
	} `json:"sequences"`
	Batch struct {
		IDs    [][]int32          `json:"input_ids"`
		Mask   [][]int            `json:"attention_mask"`
		Labels [][]int32          `json:"labels"`
		Count  int                `json:"num_label_tokens"`
		CE     float64            `json:"mean_ce"`
		Norm   float64            `json:"grad_norm_total"`
		L2     map[string]float64 `json:"grad_l2"`
	} `json:"batch"`
}

func readParity(t testing.TB, model string) parity {
	text, err := os.ReadFile(filepath.Join(models, model, "golden.json"))
	require.NoError(t, err)
	var g parity
	require.NoError(t, json.Unmarshal(text, &g))
	require.NotEmpty(t, g.Sequences)
	return g
}

// batch is the padded batch of the goldens without its padding.
func (g parity) batch() Batch {
	var b Batch
	for i, ids := range g.Batch.IDs {
		n := 0
		for _, m := range g.Batch.Mask[i] {
			n += m
		}
		b.Tokens = append(b.Tokens, ids[:n]...)
		b.Labels = append(b.Labels, g.Batch.Labels[i][:n]...)
		b.Lengths = append(b.Lengths, n)
	}
	return b
}

func tensors(t testing.TB, path string) func(name string) []float32 {
	s, err := hub.OpenSafetensors(path)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return func(name string) []float32 {
		x := s.Tensor(name)
		require.NotNil(t, x, name)
		out := make([]float32, x.Len())
		require.NoError(t, x.Floats(out))
		return out
	}
}

func maxDifference(t testing.TB, a, b []float32) float64 {
	require.Equal(t, len(a), len(b))
	most := 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		require.False(t, math.IsNaN(d), "NaN at %d", i)
		most = max(most, d)
	}
	return most
}

// relative is ‖a − b‖ / ‖b‖.
func relative(t testing.TB, a, b []float32) float64 {
	require.Equal(t, len(a), len(b))
	var d, n float64
	for i := range a {
		e := float64(a[i]) - float64(b[i])
		d += e * e
		n += float64(b[i]) * float64(b[i])
	}
	require.NotZero(t, n)
	return math.Sqrt(d / n)
}

// full is a row trained on every token.
func full(ids []int32) Batch { return Batch{Tokens: ids, Labels: ids, Lengths: []int{len(ids)}} }

// families3 are the golden models, one of each architecture.
var families3 = []string{"tiny-llama", "tiny-qwen2", "tiny-qwen3"}

// goldenOf is the model whose golden.json a model shares.
func goldenOf(model string) string { return strings.TrimSuffix(model, "-bf16") }

func TestGraphLogits(t *testing.T) {
	for _, name := range append(slices.Clone(families3), "tiny-llama-bf16") {
		t.Run(name, func(t *testing.T) {
			m, want := load(t, name), tensors(t, filepath.Join(models, name, "logits.safetensors"))
			for i, s := range readParity(t, goldenOf(name)).Sequences {
				got, err := m.Logits(Batch{Tokens: s.IDs, Lengths: []int{len(s.IDs)}})
				require.NoError(t, err)
				d := maxDifference(t, got, want(fmt.Sprint("logits.", i)))
				t.Logf("logits of %d tokens: max |Δ| %.2g", len(s.IDs), d)
				require.LessOrEqual(t, d, 1e-4)
			}
		})
	}
}

func TestHiddenStates(t *testing.T) {
	for _, name := range families3 {
		m, want := load(t, name), tensors(t, filepath.Join(models, name, "logits.safetensors"))
		ids := readParity(t, name).Sequences[0].IDs
		got, err := m.HiddenStates(Batch{Tokens: ids, Lengths: []int{len(ids)}})
		require.NoError(t, err)
		require.Len(t, got, m.Config.NumHiddenLayers+1)
		for k, x := range got {
			require.LessOrEqual(t, maxDifference(t, x, want(fmt.Sprint("hidden.0.", k))), 1e-4, "%s: state %d", name, k)
		}
	}
}

func TestEvaluate(t *testing.T) {
	for _, name := range families3 {
		t.Run(name, func(t *testing.T) { testEvaluate(t, name) })
	}
}

func testEvaluate(t *testing.T, name string) {
	m := load(t, name)
	g, err := NewGraph(m, 128)
	require.NoError(t, err)
	defer g.Close()
	for _, s := range readParity(t, name).Sequences {
		got, err := g.Evaluate(full(s.IDs))
		require.NoError(t, err)
		n := float64(len(s.IDs) - 1)
		require.Equal(t, len(s.IDs)-1, got.Labels)
		require.InDelta(t, s.CE, got.Loss/n, 2e-5)
		require.InDelta(t, s.Entropy, got.Entropy/n, 2e-5)
		require.InDelta(t, s.Accuracy, float64(got.Correct)/n, 1e-9)
		for i := range s.Logprobs {
			b := full(s.IDs)
			b.Labels = make([]int32, len(s.IDs))
			for j := range b.Labels {
				b.Labels[j] = Ignored
			}
			b.Labels[i+1] = s.IDs[i+1]
			one, err := g.Evaluate(b)
			require.NoError(t, err)
			require.Equal(t, 1, one.Labels)
			require.InDelta(t, s.Logprobs[i], -one.Loss, 2e-5, "token %d", i+1)
		}
	}
	for i, d := range g.Gradients() {
		require.Zero(t, kernel.SquaredNorm(d), "Evaluate wrote to the gradient of %s", m.Params[i].Name)
	}
}

func TestGradients(t *testing.T) {
	for _, name := range families3 {
		t.Run(name, func(t *testing.T) { testGradients(t, name, load(t, name)) })
	}
}

func testGradients(t *testing.T, name string, m *Model) {
	gold := readParity(t, name)
	want := tensors(t, filepath.Join(models, name, "logits.safetensors"))
	for i, s := range gold.Sequences {
		got, err := m.Logits(Batch{Tokens: s.IDs, Lengths: []int{len(s.IDs)}})
		require.NoError(t, err)
		require.LessOrEqual(t, maxDifference(t, got, want(fmt.Sprint("logits.", i))), 1e-4)
	}
	want = tensors(t, filepath.Join(models, name, "grads.safetensors"))
	g, err := NewGraph(m, 256)
	require.NoError(t, err)
	defer g.Close()
	stats, err := g.Accumulate(gold.batch(), 1/float64(gold.Batch.Count))
	require.NoError(t, err)
	require.Equal(t, gold.Batch.Count, stats.Labels)
	require.InDelta(t, gold.Batch.CE, stats.Loss/float64(stats.Labels), 2e-5)
	norm, worst := 0.0, 0.0
	for i, p := range m.Params {
		d := relative(t, g.Gradients()[i], want(p.Name))
		worst = max(worst, d)
		require.LessOrEqual(t, d, 1e-4, p.Name)
		norm += kernel.SquaredNorm(g.Gradients()[i])
	}
	t.Logf("gradients: worst ‖Δ‖/‖g‖ %.2g", worst)
	require.InEpsilon(t, gold.Batch.Norm, math.Sqrt(norm), 2e-5)
}
