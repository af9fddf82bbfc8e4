package student

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"stillhouse"
)

func scorer(t testing.TB, m *Model, o ScorerOptions) *Scorer {
	t.Helper()
	s, err := NewScorer(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func each2(rows []Labelled) iter.Seq2[Labelled, error] {
	return func(yield func(Labelled, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func collect(results iter.Seq2[NLL, error]) (out []NLL, err error) {
	for r, e := range results {
		if e != nil {
			return out, e
		}
		out = append(out, r)
	}
	return out, nil
}

// labelledRows are rows of many lengths: scored from the start, from the middle, here and there, only at the first token,
// nowhere, and empty ones.
func labelledRows(vocabulary int32) (rows []Labelled) {
	for i := range 40 {
		var r Labelled
		for j := range i * 7 % 90 {
			token := (int32(i)*31 + int32(j)*17) % vocabulary
			label := token
			if i%5 == 1 && j < 30 || i%5 == 2 && j%3 > 0 || i%5 == 3 && j > 0 || i%5 == 4 {
				label = Ignored
			}
			r.Tokens, r.Labels = append(r.Tokens, token), append(r.Labels, label)
		}
		rows = append(rows, r)
	}
	return rows
}

// Sums over labels are those of the training graph's logits, whatever the architecture and the weights; the same bits
// however many rows are computed together.
func TestNLL(t *testing.T) {
	for _, model := range []string{"tiny-llama", "tiny-qwen2", "tiny-qwen3"} {
		m := load(t, model)
		rows := labelledRows(int32(m.Config.VocabSize))
		for _, w := range AllWeights {
			same, tolerance := held(t, m, w), 2e-5
			if w == WeightsQ8 {
				tolerance = 1e-3 // activations have 16 bits
			}
			var first []NLL
			for _, tokens := range []int{1, 50, 333, 100000} {
				got, err := collect(scorer(t, m, ScorerOptions{Weights: w, Tokens: tokens}).NLL(context.Background(), each2(rows)))
				if err != nil || len(got) != len(rows) {
					t.Fatalf("%s, %s: %d results, %v", model, w, len(got), err)
				}
				if first == nil {
					first = got
				}
				if !slices.Equal(first, got) {
					t.Errorf("%s, %s: passes of %d tokens give other bits", model, w, tokens)
				}
			}
			for i, r := range rows {
				want := nllOf(t, same, r)
				if got := first[i]; got.Labels != want.Labels || math.Abs(got.Sum-want.Sum) > tolerance*float64(1+want.Labels) {
					t.Errorf("%s, %s: row %d: %+v, not %+v", model, w, i, got, want)
				}
				if first[i].Labels == 0 && !math.IsNaN(first[i].Mean()) {
					t.Errorf("row %d: the mean over no labels is %v", i, first[i].Mean())
				}
			}
		}
	}
}

func nllOf(t *testing.T, m *Model, r Labelled) (out NLL) {
	t.Helper()
	logits, err := m.Logits(Batch{Tokens: r.Tokens, Lengths: []int{len(r.Tokens)}})
	if err != nil {
		t.Fatal(err)
	}
	v := m.Config.VocabSize
	for i := 1; i < len(r.Tokens); i++ {
		if r.Labels[i] != Ignored {
			out.Labels++
			out.Sum -= logProb(logits[(i-1)*v:i*v], r.Labels[i])
		}
	}
	return out
}

func TestNLLRefuses(t *testing.T) {
	m := load(t, "tiny-llama") // 512 positions
	good := Labelled{Tokens: []int32{1, 5, 9}, Labels: []int32{Ignored, 5, 9}}
	full := Labelled{Tokens: make([]int32, 512), Labels: make([]int32, 512)}
	s := scorer(t, m, ScorerOptions{})
	if out, err := collect(s.NLL(context.Background(), each2([]Labelled{full}))); err != nil || out[0].Labels != 511 {
		t.Errorf("a row as long as the model's positions: %+v, %v", out, err)
	}
	for name, tc := range map[string]struct {
		row  Labelled
		want string
	}{
		"long":       {Labelled{Tokens: make([]int32, 513), Labels: make([]int32, 513)}, "nll: row 2 has 513 tokens, the model has 512 positions (max_position_embeddings): cut the row or leave it out"},
		"labels":     {Labelled{Tokens: []int32{1, 2}, Labels: []int32{1}}, "nll: row 2 has 1 labels for 2 tokens"},
		"vocabulary": {Labelled{Tokens: []int32{1, 384}, Labels: []int32{1, 2}}, "nll: row 2: token 1 is 384"},
		"label":      {Labelled{Tokens: []int32{1, 2}, Labels: []int32{1, 384}}, "nll: row 2: label 1 is 384"},
		"negative":   {Labelled{Tokens: []int32{-1}, Labels: []int32{Ignored}}, "nll: row 2: token 0 is -1"},
	} {
		out, err := collect(s.NLL(context.Background(), each2([]Labelled{good, good, tc.row, good})))
		if err == nil || stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), tc.want) || len(out) != 2 {
			t.Errorf("%s: %d results, %v", name, len(out), err)
		}
	}
	if _, err := NewScorer(m, ScorerOptions{Weights: "q4"}); err == nil || stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Errorf("unknown weights: %v", err)
	}
	m.Params[5].Data[0] = float32(math.NaN())
	if _, err := collect(scorer(t, m, ScorerOptions{}).NLL(context.Background(), each2([]Labelled{good}))); err == nil || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("broken weights: %v", err)
	}
}

// Rows are read as they are needed: one pass ahead of what is asked for, none after the caller has had enough.
func TestNLLStreams(t *testing.T) {
	s := scorer(t, load(t, "tiny-llama"), ScorerOptions{Tokens: 20})
	read := 0
	endless := func(yield func(Labelled, error) bool) {
		for yield(Labelled{Tokens: []int32{1, 2, 3, 4, 5}, Labels: []int32{1, 2, 3, 4, 5}}, nil) {
			read++
		}
	}
	n := 0
	for _, err := range s.NLL(context.Background(), endless) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 12 {
			break
		}
		if read > n+6 {
			t.Fatalf("%d rows were read for %d results", read, n)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n = 0
	for _, err := range s.NLL(ctx, endless) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			break
		}
		if n++; n == 7 {
			cancel()
		}
		if n > 100 {
			t.Fatal("a cancelled scorer goes on")
		}
	}
	broken := fmt.Errorf("the file is cut short")
	out, err := collect(s.NLL(context.Background(), func(yield func(Labelled, error) bool) {
		_ = yield(Labelled{Tokens: []int32{1, 2}, Labels: []int32{1, 2}}, nil) && yield(Labelled{}, broken)
	}))
	if len(out) != 1 || !errors.Is(err, broken) {
		t.Errorf("%d results, %v", len(out), err)
	}
}

// Memory does not grow with the number of rows: the blocks of a pass are used again.
func TestNLLMemory(t *testing.T) {
	s := scorer(t, load(t, "tiny-llama"), ScorerOptions{Tokens: 200})
	for range 3 {
		if _, err := collect(s.NLL(context.Background(), each2(labelledRows(384)))); err != nil {
			t.Fatal(err)
		}
		if len(s.pool.uses) != 0 || len(s.pool.free) > 40 {
			t.Errorf("%d blocks are in use, %d are free", len(s.pool.uses), len(s.pool.free))
		}
	}
}

// A model with an adapter is scored with it.
func TestNLLOfAnAdapter(t *testing.T) {
	m := adaptedModel(t, func(*AdapterConfig) {})
	merged, err := m.Merged()
	if err != nil {
		t.Fatal(err)
	}
	var got [3][]NLL
	for i, m := range []*Model{m, merged, {Config: m.Config, Params: m.Params}} {
		s := scorer(t, m, ScorerOptions{})
		if got[i], err = collect(s.NLL(context.Background(), each2(labelledRows(int32(m.Config.VocabSize))))); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got[0], got[1]) || slices.Equal(got[0], got[2]) {
		t.Errorf("the adapter is not in the scores: %v, merged %v, base %v", got[0][:4], got[1][:4], got[2][:4])
	}
}
