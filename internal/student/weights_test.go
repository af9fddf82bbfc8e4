package student

import (
	"context"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"stillhouse"
	"stillhouse/internal/kernel"
)

// held is the model with its matrices as weights of a type hold them, in fp32.
func held(t *testing.T, m *Model, w Weights) *Model {
	t.Helper()
	out := &Model{Config: m.Config}
	for _, p := range m.Params {
		q := *p
		if len(p.Shape) > 1 {
			q.Data = heldMatrix(t, p, w)
		}
		out.Params = append(out.Params, &q)
	}
	return out
}

func heldMatrix(t *testing.T, p *Param, w Weights) []float32 {
	t.Helper()
	n, k := p.Shape[0], p.Shape[1]
	slab, err := kernel.NewSlab(kernel.PackedBytes(kernel.Float32, n, k))
	if err != nil {
		t.Fatal(err)
	}
	defer slab.Free()
	rows, err := kernel.NewProgram(kernel.CacheShape{Layers: 1, Heads: 1, KVHeads: 1, HeadDim: 2}, kernel.Widths{kernel.BufferX: k},
		[]kernel.Op{{Kind: kernel.OpEmbed, Out: kernel.BufferX, Matrix: slab.Pack(weightTypes[w], k, p.Data)}})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if err := rows.SetRotation([]float32{1}, []float32{0}); err != nil {
		t.Fatal(err)
	}
	var s kernel.Step
	for i := range n {
		s.Add([]int32{int32(i)}, 0, []kernel.Block{1}, false)
	}
	if err := rows.Run(&s); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(rows.Rows(kernel.BufferX, n))
}

// Logits with bf16 and Q8_0 weights are those of an fp32 model whose weights have been rounded so: the training graph's
// over the rounded weights. They are the same bits however a prompt is cut.
func TestWeights(t *testing.T) {
	for _, model := range []string{"tiny-llama", "tiny-qwen2", "tiny-qwen3"} {
		m, tokens := load(t, model), readGolden(t, model).Sequences[0].InputIDs
		exact, err := m.Logits(Batch{Tokens: tokens, Lengths: []int{len(tokens)}})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range AllWeights {
			want, err := held(t, m, w).Logits(Batch{Tokens: tokens, Lengths: []int{len(tokens)}})
			if err != nil {
				t.Fatal(err)
			}
			// Activations of 16 bits add 2 % at most to what the weights of 8 bits do.
			tolerance := 1e-4
			if w == WeightsQ8 {
				tolerance += farthest(want, exact) / 50
			}
			var first []float32
			for _, step := range []int{len(tokens), 1, 5} {
				got := logitsOf(t, m, w, tokens, step)
				if d := farthest(got, want); d > tolerance {
					t.Errorf("%s, %s, %d tokens a step: a logit is %v off", model, w, step, d)
				}
				if first == nil {
					first = got
				}
				if !slices.Equal(first, got) {
					t.Errorf("%s, %s: %d tokens a step give other bits", model, w, step)
				}
			}
			if d := farthest(first, exact); (d > 1e-4) != (w != WeightsF32) {
				t.Errorf("%s, %s: the farthest logit from fp32's is %v off", model, w, d)
			}
		}
	}
}

func farthest(a, b []float32) (most float64) {
	for i := range a {
		most = max(most, math.Abs(float64(a[i]-b[i])))
	}
	return most
}

func TestUnknownWeights(t *testing.T) {
	g := NewGenerator(load(t, "tiny-llama"), GeneratorOptions{Weights: "q4"})
	defer g.Close()
	_, err := g.Generate(context.Background(), Request{Tokens: []int32{1}}, nil)
	if err == nil || stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), `weights "q4": they can be f32, bf16 or q8_0`) {
		t.Errorf("%v", err)
	}
}

// Weights that are not finite are told of, whatever the type.
func TestBrokenWeights(t *testing.T) {
	for _, w := range AllWeights {
		m := load(t, "tiny-llama")
		m.Params[5].Data[0] = float32(math.NaN())
		g := NewGenerator(m, GeneratorOptions{Weights: w})
		if _, err := g.Generate(context.Background(), Request{Tokens: []int32{1}, N: 2}, nil); err == nil || !strings.Contains(err.Error(), "not finite") {
			t.Errorf("%s: %v", w, err)
		}
		g.Close()
	}
}

// A step in which no sample begins or ends allocates nothing but the cache's blocks.
func TestStepAllocatesNothing(t *testing.T) {
	for _, w := range AllWeights {
		b := newBatch(decoderOf(t, load(t, "tiny-llama"), w), GeneratorOptions{MaxBatch: 8, Prefill: 64})
		j := newJob(Request{Tokens: make([]int32, 40), N: 8, MaxTokens: 400, Temperature: 1, TopP: 0.9, Seed: 3})
		b.jobs = append(b.jobs, j)
		for range 140 { // the tables, blocks and events have room then
			b.step()
			if _, err := j.drain(); err != nil {
				t.Fatal(err)
			}
		}
		for range 16 { // blocks that the pool hands out
			block, err := b.pool.shape.NewBlock()
			if err != nil {
				t.Fatal(err)
			}
			b.pool.free = append(b.pool.free, block)
		}
		n := testing.AllocsPerRun(12, func() {
			b.step()
			if _, err := j.drain(); err != nil {
				t.Fatal(err)
			}
		})
		if n > 0 {
			t.Errorf("%s: %v allocations a step", w, n)
		}
		j.abandoned.Store(true)
		b.sweep()
		b.close()
	}
}

// A sample is the same tokens whatever is decoded beside it, in whatever order and in however large a batch.
func TestSamplesStandAlone(t *testing.T) {
	for _, name := range families3 {
		for _, w := range AllWeights {
			t.Run(name+"/"+string(w), func(t *testing.T) { testSamplesStandAlone(t, load(t, name), w) })
		}
	}
}

func testSamplesStandAlone(t *testing.T, m *Model, w Weights) {
	var requests []Request
	for i := range 12 {
		r := Request{N: 1 + i%5, MaxTokens: 1 + 7*i%40, Temperature: float64(i%4) * 0.6, TopP: 1 - float64(i%3)*0.2, Seed: uint64(i / 2), Stop: []int32{2}, Logprobs: true}
		for j := range 1 + 9*i {
			r.Tokens = append(r.Tokens, int32((i*31+j*17)%384))
		}
		requests = append(requests, r)
	}
	alone := make([][]Completion, len(requests))
	for i, r := range requests {
		g := NewGenerator(m, GeneratorOptions{MaxBatch: 1, Prefill: 1 + i, Weights: w})
		for k := range max(1, r.N) { // each sample of a request does not need the ones before it either
			one := r
			one.N = k + 1
			out, err := g.Generate(context.Background(), one, nil)
			if err != nil {
				t.Fatal(err)
			}
			alone[i] = append(alone[i], out[k])
		}
		g.Close()
	}
	for _, o := range []GeneratorOptions{{}, {MaxBatch: 3}, {MaxBatch: 7, Prefill: 5}} {
		o.Weights = w
		g := NewGenerator(m, o)
		var wg sync.WaitGroup
		for i, r := range requests {
			wg.Go(func() {
				streamed := make([][]int32, r.N)
				out, err := g.Generate(context.Background(), r, func(sample int, token int32) bool {
					streamed[sample] = append(streamed[sample], token)
					return true
				})
				if err != nil {
					t.Error(err)
					return
				}
				if !reflect.DeepEqual(out, alone[i]) {
					t.Errorf("%+v: request %d gives %v, alone it gives %v", o, i, out, alone[i])
				}
				for k, c := range out {
					if !slices.Equal(streamed[k], c.Tokens) {
						t.Errorf("%+v: request %d sample %d: %v was streamed, %v returned", o, i, k, streamed[k], c.Tokens)
					}
				}
			})
		}
		wg.Wait()
		g.Close()
	}
	if reflect.DeepEqual(alone[7][0], alone[7][1]) {
		t.Error("two samples at temperature 1.8 are the same")
	}
}
