// Benchtrain measures how fast stillhouse trains beside Python on the same rows, in alternating pairs: make bench-train.
// It writes a page for docs/benchmarks and, as the last line of its output, one JSON object.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"stillhouse/internal/bench"
	"stillhouse/internal/machine"
)

// settings are the benchmark's flags.
type settings struct {
	program, python, smollm2, qwen3, rows, work, out string
	pairs, steps                                     int
	only                                             string
	plans                                            bool
}

func main() {
	log.SetFlags(log.Ltime)
	b := settings{}
	flag.StringVar(&b.program, "program", "bin/stillhouse", "our program")
	flag.StringVar(&b.python, "python", "python3", "a Python with the peers of bench/requirements-train.txt")
	flag.StringVar(&b.smollm2, "smollm2", "", "a directory with SmolLM2-135M (bench/smollm2.py makes one)")
	flag.StringVar(&b.qwen3, "qwen3-tokenizer", "testdata/qwen3_tokenizer", "the tokenizer of Qwen3, gzipped")
	flag.StringVar(&b.rows, "rows", "testdata/gsm8k/first32.jsonl", "rows with a question and an answer")
	flag.StringVar(&b.work, "work", "", "a folder for what the trainings write; by default one that is removed at the end")
	flag.StringVar(&b.out, "out", "docs/benchmarks", "the folder that the page is written to")
	flag.IntVar(&b.pairs, "pairs", 3, "pairs of runs, peer and ours")
	flag.IntVar(&b.steps, "steps", 3, "measured updates of a run, after one that is not")
	flag.BoolVar(&b.plans, "plans", false, "hold what trainings take against what `stillhouse plan` says of them, in place of peers")
	flag.StringVar(&b.only, "only", "", "names of the cases to run, by commas; all when empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx); err != nil {
		stop()
		log.Fatal("benchtrain: ", err)
	}
}

// run runs the cases that are wanted and writes what came out. What was measured before one failed is written too.
func (b settings) run(ctx context.Context) error {
	if b.smollm2 == "" {
		return fmt.Errorf("-smollm2 is missing: name a directory with SmolLM2-135M, which bench/smollm2.py makes")
	}
	if b.work == "" {
		dir, err := os.MkdirTemp("", "stillhouse-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.work = dir
	}
	if err := b.prepare(); err != nil {
		return err
	}
	if b.plans {
		return b.plan(ctx)
	}
	r := report{Began: time.Now(), Machine: machine.Describe(), Steps: b.steps}
	var failed error
	r.Pairs, failed = bench.Run(ctx, b.cases(), b.pairs, func(c, who string, m measurement) {
		log.Printf("%-14s %-12s %7.1f tokens/s  %6.1f tokens a processor-second  %6d MiB", c, who, m.TokensPerS, perCPU(m), m.PeakMiB)
	})
	if len(r.Pairs) == 0 {
		return failed
	}
	o := r.object()
	return errors.Join(failed, bench.Publish(b.out, "train", r.Began, o, r.page(o), os.Stdout))
}

// cases are those that are wanted, each with its peers.
func (b settings) cases() (out []bench.Case[measurement]) {
	for _, c := range b.chosen() {
		d := bench.Case[measurement]{Name: c.name, Ours: func(ctx context.Context) (measurement, error) { return b.ours(ctx, c) }}
		for _, name := range c.peers {
			d.Peers = append(d.Peers, bench.Runner[measurement]{Name: name, Run: func(ctx context.Context) (measurement, error) { return b.peer(ctx, name) }})
		}
		out = append(out, d)
	}
	return out
}

// chosen are the cases that are wanted, of those that are to be run.
func (b settings) chosen() (out []benchCase) {
	all := cases
	if b.plans {
		all = planCases
	}
	for _, c := range all {
		if bench.Wanted(b.only, c.name) {
			out = append(out, c)
		}
	}
	return out
}
