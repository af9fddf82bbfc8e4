package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"stillhouse/internal/bench"
	"stillhouse/internal/chat"
	"stillhouse/internal/kernel"
	"stillhouse/internal/student"
)

// questions are those of the course, asked one by one and, eight of them, together.
var questions = []string{"Give me an 1-sentence introduction of LLM.", "Calculate 1+1-1", "What's the difference between thread and process?"}

// measureOurs generates as the peers do: always `fresh` new tokens, greedily, with the chat template.
func (b settings) measureOurs(ctx context.Context, weights student.Weights, out io.Writer) error {
	dir, fresh := b.smollm2, b.fresh
	m, err := student.Load(dir)
	if err != nil {
		return err
	}
	tok, err := chat.Load(dir)
	if err != nil {
		return err
	}
	defer tok.Close()
	g := student.NewGenerator(m, student.GeneratorOptions{Weights: weights, Prefill: 512})
	defer g.Close()
	memory, err := kernel.ReadBandwidth(512<<20, 3)
	if err != nil {
		return err
	}
	var prompts [][]int32
	for _, q := range questions {
		ids, _, err := tok.EncodeChat([]chat.Message{{Role: "user", Content: q}}, chat.RenderOptions{AddGenerationPrompt: true})
		if err != nil {
			return err
		}
		prompts = append(prompts, ids)
	}
	ask := func(prompt []int32, n int) error {
		_, err := g.Generate(ctx, student.Request{Tokens: prompt, MaxTokens: n}, nil)
		return err
	}
	together := func(n int) error {
		all, _ := errgroup.WithContext(ctx)
		for i := range 8 {
			all.Go(func() error { return ask(prompts[i%len(prompts)], n) })
		}
		return all.Wait()
	}
	if err := ask(prompts[0], 4); err != nil {
		return err
	}
	say := json.NewEncoder(out)
	for _, what := range []string{"one-by-one", "batch-8"} {
		n, run := len(prompts), func(n int) error {
			for _, p := range prompts {
				if err := ask(p, n); err != nil {
					return err
				}
			}
			return nil
		}
		if what == "batch-8" {
			n, run = 8, together
		}
		first, _, err := timed(func() error { return run(1) })
		if err != nil {
			return err
		}
		whole, cpu, err := timed(func() error { return run(fresh) })
		if err != nil {
			return err
		}
		line := measurement{Engine: "stillhouse", Type: string(weights), What: what, Tokens: n * fresh, CPUS: cpu, TokS: float64(n*fresh) / whole, DecodeTokS: float64(n*(fresh-1)) / (whole - first)}
		if what == "one-by-one" {
			after, err := kernel.ReadBandwidth(512<<20, 3)
			if err != nil {
				return err
			}
			line.MemoryS, line.BytesS = max(memory, after), line.DecodeTokS*float64(g.WeightBytes())
		}
		if err := say.Encode(line); err != nil {
			return err
		}
	}
	long := make([]int32, 512)
	for i := range long {
		long[i] = int32(3 + i*7919%(m.Config.VocabSize-3))
	}
	wall, cpu, err := timed(func() error { return ask(long, 1) })
	if err != nil {
		return err
	}
	if err := say.Encode(measurement{Engine: "stillhouse", Type: string(weights), What: "prefill-512", Tokens: len(long), CPUS: cpu, TokS: float64(len(long)) / wall}); err != nil {
		return err
	}
	line, err := b.loss(ctx, m, tok, weights)
	if err != nil {
		return err
	}
	return say.Encode(line)
}

// loss measures the mean loss of the rows, every token of which is scored.
func (b settings) loss(ctx context.Context, m *student.Model, tok *chat.Tokenizer, weights student.Weights) (measurement, error) {
	out := measurement{Engine: "stillhouse", Type: string(weights), What: "nll"}
	questions, err := b.questions()
	if err != nil {
		return out, err
	}
	var rows []student.Labelled
	for _, q := range questions {
		ids := tok.Encode(q.Question + "\n" + q.Answer)
		rows = append(rows, student.Labelled{Tokens: ids, Labels: ids})
		out.Tokens += len(ids)
	}
	s, err := student.NewScorer(m, student.ScorerOptions{Weights: weights})
	if err != nil {
		return out, err
	}
	defer s.Close()
	var sum student.NLL
	wall, cpu, err := timed(func() error {
		for r, err := range s.NLL(ctx, func(yield func(student.Labelled, error) bool) {
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
		}) {
			if err != nil {
				return err
			}
			sum.Labels, sum.Sum = sum.Labels+r.Labels, sum.Sum+r.Sum
		}
		return nil
	})
	out.TokS, out.CPUS, out.Loss = float64(out.Tokens)/wall, cpu, sum.Mean()
	return out, err
}

// timed returns the seconds that passed and those that all threads worked.
func timed(run func() error) (wall, cpu float64, err error) {
	begun, worked := time.Now(), bench.ProcessorTime(os.Getpid())
	err = run()
	return time.Since(begun).Seconds(), bench.ProcessorTime(os.Getpid()) - worked, err
}
