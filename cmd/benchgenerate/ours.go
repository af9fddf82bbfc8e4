package main

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"stillhouse/internal/chat"
	"stillhouse/internal/kernel"
	"stillhouse/internal/student"
)

// questions are those of the course, asked one by one and, eight of them, together.
var questions = []string{"Give me an 1-sentence introduction of LLM.", "Calculate 1+1-1", "What's the difference between thread and process?"}

// A measurement is one line of what ours or a peer prints.
type measurement struct {
	Engine string  `json:"engine"`
	Type   string  `json:"dtype"`
	What   string  `json:"what"` // one-by-one, batch-8 or prefill-512
	TokS   float64 `json:"tok_s"`
	// DecodeTokS leaves out the time to the first token.
	DecodeTokS float64 `json:"decode_tok_s,omitempty"`
	// BytesS is tokens/s one by one times what a token reads of the weights.
	BytesS float64 `json:"bytes_s,omitempty"`
	// MemoryS is what a plain reading of memory gave on all threads, right before.
	MemoryS float64 `json:"memory_bytes_s,omitempty"`
}

// measureOurs generates as the peers do: always `fresh` new tokens, greedily, with the chat template.
func measureOurs(ctx context.Context, dir string, weights student.Weights, fresh int, out io.Writer) error {
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
		first, err := timed(func() error { return run(1) })
		if err != nil {
			return err
		}
		whole, err := timed(func() error { return run(fresh) })
		if err != nil {
			return err
		}
		line := measurement{Engine: "stillhouse", Type: string(weights), What: what, TokS: float64(n*fresh) / whole, DecodeTokS: float64(n*(fresh-1)) / (whole - first)}
		if n == len(prompts) {
			line.MemoryS, line.BytesS = memory, line.DecodeTokS*float64(g.WeightBytes())
		}
		if err := say.Encode(line); err != nil {
			return err
		}
	}
	long := make([]int32, 512)
	for i := range long {
		long[i] = int32(3 + i*7919%(m.Config.VocabSize-3))
	}
	seconds, err := timed(func() error { return ask(long, 1) })
	if err != nil {
		return err
	}
	return say.Encode(measurement{Engine: "stillhouse", Type: string(weights), What: "prefill-512", TokS: float64(len(long)) / seconds})
}

func timed(run func() error) (float64, error) {
	begun := time.Now()
	err := run()
	return time.Since(begun).Seconds(), err
}
