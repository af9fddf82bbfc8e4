// Benchtrain measures how fast stillhouse trains beside Python on the same rows, in alternating pairs: make bench-train.
// It writes a page for docs/benchmarks and, as the last line of its output, one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"stillhouse/internal/machine"
)

// A bench is the benchmark's settings.
type bench struct {
	program, python, smollm2, qwen3, rows, work, out string
	pairs, steps                                     int
	only                                             string
}

func main() {
	log.SetFlags(log.Ltime)
	b := bench{}
	flag.StringVar(&b.program, "program", "bin/stillhouse", "our program")
	flag.StringVar(&b.python, "python", "python3", "a Python with the peers of bench/requirements-train.txt")
	flag.StringVar(&b.smollm2, "smollm2", "", "a directory with SmolLM2-135M (bench/smollm2.py makes one)")
	flag.StringVar(&b.qwen3, "qwen3-tokenizer", "testdata/qwen3_tokenizer", "the tokenizer of Qwen3, gzipped")
	flag.StringVar(&b.rows, "rows", "testdata/gsm8k/first32.jsonl", "rows with a question and an answer")
	flag.StringVar(&b.work, "work", "", "a folder for what the trainings write; by default one that is removed at the end")
	flag.StringVar(&b.out, "out", "docs/benchmarks", "the folder that the page is written to")
	flag.IntVar(&b.pairs, "pairs", 3, "pairs of runs, peer and ours")
	flag.IntVar(&b.steps, "steps", 3, "measured updates of a run, after one that is not")
	flag.StringVar(&b.only, "only", "", "names of the cases to run, by commas; all when empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx); err != nil {
		stop()
		log.Fatal("benchtrain: ", err)
	}
}

// run runs the cases that are wanted and writes what came out.
func (b bench) run(ctx context.Context) error {
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
	r := report{Began: time.Now(), Machine: machine.Describe(), Steps: b.steps}
	failed := b.measure(ctx, &r)
	if len(r.Pairs) == 0 {
		return failed
	}
	text, err := json.Marshal(r.object())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	page := filepath.Join(b.out, r.Began.Format(time.DateOnly)+"-train.md")
	if err := os.WriteFile(page, []byte(r.page(string(text))), 0o644); err != nil {
		return err
	}
	log.Print("the page is ", page)
	fmt.Println(string(text))
	return failed
}

// measure runs the cases that are wanted. What was measured before one failed is in the report.
func (b bench) measure(ctx context.Context, r *report) error {
	for _, c := range cases {
		if !b.wanted(c.name) {
			continue
		}
		pairs := b.pairs
		if c.peers == nil {
			pairs = 1
		}
		for i := range pairs {
			p, err := b.pair(ctx, c, i)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			r.Pairs = append(r.Pairs, p)
		}
	}
	return nil
}

// wanted says whether a case is to be run.
func (b bench) wanted(name string) bool {
	return b.only == "" || slices.Contains(strings.Split(b.only, ","), name)
}

// A pair is one run of ours and one of each peer, next to each other in time.
type pair struct {
	Case  string
	Ours  measurement
	Peers map[string]measurement
}

// pair runs a case once. Who goes first alternates.
func (b bench) pair(ctx context.Context, c benchCase, number int) (pair, error) {
	p := pair{Case: c.name, Peers: map[string]measurement{}}
	runs := []string{""}
	runs = append(runs, c.peers...)
	if number%2 == 1 {
		slices.Reverse(runs)
	}
	for _, name := range runs {
		var m measurement
		var err error
		if name == "" {
			m, err = b.ours(ctx, c)
			p.Ours = m
		} else {
			m, err = b.peer(ctx, name)
			p.Peers[name] = m
		}
		if err != nil {
			return p, err
		}
		log.Printf("%-14s %-12s %7.1f tokens/s  %6.1f tokens a processor-second  %6d MiB", c.name, orOurs(name), m.TokensPerS, float64(m.Tokens)/m.CPU, m.PeakMiB)
	}
	return p, nil
}

func orOurs(name string) string {
	if name == "" {
		return "ours"
	}
	return name
}
