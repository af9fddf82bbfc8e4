package student

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"stillhouse"
	"stillhouse/internal/hub"
)

type golden struct {
	Sequences []struct {
		InputIDs       []int32   `json:"input_ids"`
		GreedyNewIDs   []int32   `json:"greedy_new_ids"`
		GreedyLogprobs []float64 `json:"greedy_logprobs"`
	} `json:"sequences"`
}

func readGolden(t *testing.T, model string) (g golden) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, models+model+"/golden.json")), &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func load(t testing.TB, model string) *Model {
	t.Helper()
	m, err := Load(models + model)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The logits of transformers, whether a prompt is read in one step or token by token, and the same bits both ways.
func TestLogits(t *testing.T) {
	for _, model := range append(slices.Clone(families3), "tiny-llama-bf16") {
		m := load(t, model)
		file, err := hub.OpenSafetensors(models + model + "/logits.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for i, s := range readGolden(t, goldenOf(model)).Sequences {
			want := make([]float32, file.Tensor(fmt.Sprint("logits.", i)).Len())
			if err := file.Tensor(fmt.Sprint("logits.", i)).Floats(want); err != nil {
				t.Fatal(err)
			}
			var first []float32
			for _, step := range []int{len(s.InputIDs), 1, 5} {
				got := logitsOf(t, m, WeightsF32, s.InputIDs, step)
				for j, x := range got {
					if math.Abs(float64(x-want[j])) > 1e-4 {
						t.Fatalf("%s, sequence %d, %d tokens a step: logit %d is %v, not %v", model, i, step, j, x, want[j])
					}
				}
				if first == nil {
					first = got
				}
				if !slices.Equal(first, got) {
					t.Errorf("%s, sequence %d: %d tokens a step give other bits", model, i, step)
				}
			}
		}
	}
}

func decoderOf(t testing.TB, m *Model, w Weights) *decoder {
	t.Helper()
	d, err := newDecoder(m, w)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func logitsOf(t *testing.T, m *Model, w Weights, tokens []int32, step int) (out []float32) {
	t.Helper()
	b := newBatch(decoderOf(t, m, w), GeneratorOptions{})
	defer b.close()
	var s sequence
	for piece := range slices.Chunk(tokens, step) {
		if err := b.pool.extend(&s, len(piece)); err != nil {
			t.Fatal(err)
		}
		b.next.Reset()
		b.next.Add(piece, s.length, s.blocks, false)
		for i := range piece {
			b.next.Wanted = append(b.next.Wanted, int32(i))
		}
		logits, err := b.decoder.forward(&b.next)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, logits...)
		s.length += len(piece)
	}
	return out
}

func TestGreedy(t *testing.T) {
	for _, name := range families3 {
		t.Run(name, func(t *testing.T) { testGreedy(t, name) })
	}
}

func testGreedy(t *testing.T, name string) {
	g := NewGenerator(load(t, name), GeneratorOptions{})
	defer g.Close()
	for i, s := range readGolden(t, name).Sequences {
		out, err := g.Generate(context.Background(), Request{Tokens: s.InputIDs, MaxTokens: len(s.GreedyNewIDs), Logprobs: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(out[0].Tokens, s.GreedyNewIDs) || out[0].Stopped {
			t.Errorf("sequence %d: %v, not %v", i, out[0].Tokens, s.GreedyNewIDs)
		}
		for j, want := range s.GreedyLogprobs {
			if math.Abs(out[0].Logprobs[j]-want) > 2e-5 {
				t.Errorf("sequence %d: logprob %d is %v, not %v", i, j, out[0].Logprobs[j], want)
			}
		}
		// A stop token ends the sample and is not part of it.
		out, err = g.Generate(context.Background(), Request{Tokens: s.InputIDs, Stop: []int32{s.GreedyNewIDs[7]}}, nil)
		if at := slices.Index(s.GreedyNewIDs, s.GreedyNewIDs[7]); err != nil || !slices.Equal(out[0].Tokens, s.GreedyNewIDs[:at]) || !out[0].Stopped {
			t.Errorf("sequence %d with a stop token: %+v, %v", i, out, err)
		}
	}
}

func TestTokenCallback(t *testing.T) {
	g := NewGenerator(load(t, "tiny-llama"), GeneratorOptions{})
	defer g.Close()
	r := Request{Tokens: []int32{1, 49, 13}, N: 3, MaxTokens: 30, Temperature: 1, Seed: 5}
	whole, err := g.Generate(context.Background(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	count := make([]int, 3)
	cut, err := g.Generate(context.Background(), r, func(sample int, token int32) bool {
		count[sample]++
		return sample != 1 || count[1] < 4
	})
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(whole)
	want[1].Tokens = want[1].Tokens[:4]
	if !reflect.DeepEqual(cut, want) || count[1] != 4 {
		t.Errorf("%v, not %v; %d calls", cut, want, count[1])
	}
}

func TestRefused(t *testing.T) {
	g := NewGenerator(load(t, "tiny-llama"), GeneratorOptions{})
	for name, tc := range map[string]struct {
		r    Request
		want string
	}{
		"empty":        {Request{}, "prompt is empty"},
		"long prompt":  {Request{Tokens: make([]int32, 512)}, "prompt has 512 tokens"},
		"long answer":  {Request{Tokens: make([]int32, 500), MaxTokens: 13}, "at most 12 are left"},
		"vocabulary":   {Request{Tokens: []int32{1, 384}}, "vocabulary has 384"},
		"negative":     {Request{Tokens: []int32{-1}}, "is -1"},
		"n":            {Request{Tokens: []int32{1}, N: -1}, "n -1"},
		"temperature":  {Request{Tokens: []int32{1}, Temperature: math.NaN()}, "temperature NaN"},
		"top_p":        {Request{Tokens: []int32{1}, TopP: 1.5}, "top_p 1.5"},
		"max negative": {Request{Tokens: []int32{1}, MaxTokens: -1}, "max_tokens -1"},
	} {
		if _, err := g.Generate(context.Background(), tc.r, nil); err == nil || !strings.Contains(err.Error(), tc.want) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// To the last position and not beyond.
	out, err := g.Generate(context.Background(), Request{Tokens: make([]int32, 500)}, nil)
	if err != nil || len(out[0].Tokens) != 12 {
		t.Errorf("%d tokens in the positions that are left, %v", len(out[0].Tokens), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = g.Generate(ctx, Request{Tokens: []int32{1}, MaxTokens: 400}, func(int, int32) bool { cancel(); return true })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	started := make(chan struct{})
	var once sync.Once
	result := make(chan error)
	go func() {
		_, err := g.Generate(context.Background(), Request{Tokens: []int32{1}, N: 1000, MaxTokens: 500, Temperature: 1}, func(int, int32) bool {
			once.Do(func() { close(started) })
			return true
		})
		result <- err
	}()
	<-started
	g.Close()
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("closed while at work: %v", err)
	}
	if _, err := g.Generate(context.Background(), Request{Tokens: []int32{1}}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed before: %v", err)
	}
}

// The blocks of the cache all come back.
func TestCacheIsReturned(t *testing.T) {
	b := newBatch(decoderOf(t, load(t, "tiny-llama"), WeightsF32), GeneratorOptions{MaxBatch: 4, Prefill: 7})
	defer b.close()
	for i := range 5 {
		b.jobs = append(b.jobs, newJob(Request{Tokens: make([]int32, 1+i*11), N: 3, MaxTokens: 4 + i, Temperature: 1, TopP: 1, Seed: uint64(i)}))
	}
	for steps := 0; len(b.jobs) > 0; steps++ {
		b.step()
		if steps == 3 {
			b.jobs[1].abandoned.Store(true)
		}
		if steps > 500 {
			t.Fatal("the batch does not end")
		}
		b.sweep()
	}
	if len(b.pool.uses) != 0 || len(b.samples) != 0 || len(b.pool.free) == 0 {
		t.Errorf("%d blocks are in use, %d samples are under way", len(b.pool.uses), len(b.samples))
	}
}

func BenchmarkGenerate(b *testing.B) {
	demo := Config{
		Architecture: "LlamaForCausalLM", VocabSize: 100, HiddenSize: 128, IntermediateSize: 384, NumHiddenLayers: 4,
		NumAttentionHeads: 4, NumKeyValueHeads: 4, HeadDim: 32, RMSNormEps: 1e-5, RopeTheta: 1e4, MaxPositionEmbeddings: 128, TieWordEmbeddings: true,
	}
	smol := Config{
		Architecture: "LlamaForCausalLM", VocabSize: 49152, HiddenSize: 576, IntermediateSize: 1536, NumHiddenLayers: 30,
		NumAttentionHeads: 9, NumKeyValueHeads: 3, HeadDim: 64, RMSNormEps: 1e-5, RopeTheta: 1e5, MaxPositionEmbeddings: 8192, TieWordEmbeddings: true,
	}
	for _, bench := range []struct {
		name    string
		config  Config
		n, most int
	}{{"demo/64", demo, 64, 40}, {"demo/1", demo, 1, 40}, {"SmolLM2-135M/1", smol, 1, 8}, {"SmolLM2-135M/8", smol, 8, 8}} {
		b.Run(bench.name, func(b *testing.B) {
			m := New(bench.config, 1, 0.02)
			for _, p := range m.Params { // as in a bf16 checkpoint
				for i, x := range p.Data {
					p.Data[i] = math.Float32frombits(uint32(hub.ToBF16(x)) << 16)
				}
			}
			g := NewGenerator(m, GeneratorOptions{})
			defer g.Close()
			for b.Loop() {
				if _, err := g.Generate(context.Background(), Request{Tokens: make([]int32, 20), N: bench.n, MaxTokens: bench.most, Temperature: 1, Seed: 1}, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(bench.n*bench.most*b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}
