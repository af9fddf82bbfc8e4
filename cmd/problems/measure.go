package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"stillhouse"
	"stillhouse/internal/accuracy"
	"stillhouse/internal/chat"
	"stillhouse/internal/problems"
	"stillhouse/internal/student"
)

// measure prints how often a model is right on problems of the test split: the likeliest answer, and samples drawn at
// temperature 1. It is what the recipes of the demo's models were chosen by; the demo's own figures come from a run.
func measure(args []string, stdout io.Writer) error {
	var (
		flags   = flag.NewFlagSet("problems measure", flag.ContinueOnError)
		n       = flags.Int("n", 500, "number of problems")
		samples = flags.Int("samples", 4, "samples of each at temperature 1")
		seed    = flags.Uint64("seed", 3, "seed of the problems; 3 is testdata/demo/test.jsonl")
		split   = flags.String("split", string(problems.Test), "train or test")
	)
	if err := flags.Parse(args); err != nil {
		return stillhouse.Invalidf("problems: %w", err)
	}
	if flags.NArg() != 1 {
		return stillhouse.Invalidf("problems: measure needs the folder of one model, not %q", flags.Args())
	}
	rows, err := (&problems.Generator{Seed: *seed, Unique: true, Split: problems.Split(*split)}).Rows(*n)
	if err != nil {
		return err
	}
	greedy, err := answers(flags.Arg(0), rows, student.Request{N: 1})
	if err != nil {
		return err
	}
	drawn, err := answers(flags.Arg(0), rows, student.Request{N: *samples, Temperature: 1, Seed: 1})
	if err != nil {
		return err
	}
	none := 0
	for _, t := range drawn {
		if t.Right == 0 {
			none++
		}
	}
	for _, line := range []struct {
		what    string
		tallies []accuracy.Tally
	}{{"greedy", greedy}, {"sampled", drawn}} {
		e, err := accuracy.Of(line.tallies)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%-8s %5.1f %%  (95 %%: %.1f to %.1f)\n", line.what, 100*e.Value, 100*e.Low, 100*e.High)
	}
	fmt.Fprintf(stdout, "%d of %d problems have no right answer among %d samples\n", none, *n, *samples)
	return nil
}

// answers asks a model every question and counts its right answers.
func answers(dir string, rows []problems.Row, how student.Request) ([]accuracy.Tally, error) {
	model, err := student.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("problems: %w", err)
	}
	tokenizer, err := chat.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("problems: %w", err)
	}
	defer tokenizer.Close()
	generator := student.NewGenerator(model, student.GeneratorOptions{})
	defer generator.Close()
	how.MaxTokens = 40
	for _, id := range model.Config.EOSTokenIDs {
		how.Stop = append(how.Stop, int32(id))
	}
	tallies := make([]accuracy.Tally, len(rows))
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(64)
	for i, r := range rows {
		group.Go(func() error {
			request := how
			request.Seed += uint64(i) << 8
			var err error
			if request.Tokens, _, err = tokenizer.EncodeChat([]chat.Message{{Role: "user", Content: r.Question}}, chat.RenderOptions{AddGenerationPrompt: true}); err != nil {
				return err
			}
			said, err := generator.Generate(ctx, request, nil)
			if err != nil {
				return err
			}
			for _, c := range said {
				tallies[i].Samples++
				if _, number, _ := strings.Cut(tokenizer.Decode(c.Tokens, true), "#### "); number == strconv.Itoa(r.Result()) {
					tallies[i].Right++
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("problems: %s: %w", dir, err)
	}
	return tallies, nil
}
