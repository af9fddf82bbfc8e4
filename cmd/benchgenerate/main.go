// Benchgenerate measures how fast stillhouse generates beside transformers and llama.cpp, in alternating pairs: make
// bench-generate. It writes a page for docs/benchmarks and, as the last line of its output, one JSON object.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"stillhouse/internal/bench"
	"stillhouse/internal/kernel"
	"stillhouse/internal/machine"
	"stillhouse/internal/student"
)

// A measurement is one line of what ours or a peer prints.
type measurement struct {
	Engine string  `json:"engine"`
	Type   string  `json:"dtype"`
	What   string  `json:"what"` // one-by-one, batch-8, prefill-512, nll or server-8
	TokS   float64 `json:"tok_s"`
	// DecodeTokS leaves out the time to the first token.
	DecodeTokS float64 `json:"decode_tok_s,omitempty"`
	Tokens     int     `json:"tokens"`
	CPUS       float64 `json:"cpu_s"` // processor time of all threads for these tokens
	// BytesS is what tokens one by one read of the weights in a second, MemoryS what a plain reading of memory gave on all
	// threads right before and after.
	BytesS  float64 `json:"bytes_s,omitempty"`
	MemoryS float64 `json:"memory_bytes_s,omitempty"`
	// Loss is the mean loss of the rows of nll, nats.
	Loss float64 `json:"loss,omitempty"`
}

func (m measurement) perCPU() float64 { return float64(m.Tokens) / m.CPUS }

// A duel is what of ours is held against what of a peer.
type duel struct {
	peer, dtype string // transformers or llama.cpp, and its type of weights
	weights     student.Weights
	what        []string
}

var duels = []duel{
	{"transformers", "f32", student.WeightsF32, []string{"one-by-one", "batch-8", "prefill-512", "nll"}},
	{"llama.cpp", "F32", student.WeightsF32, []string{"one-by-one", "prefill-512"}},
	{"llama.cpp", "F16", student.WeightsBF16, []string{"one-by-one", "prefill-512"}},
	{"llama.cpp", "Q8_0", student.WeightsQ8, []string{"one-by-one", "prefill-512"}},
	{"llama.cpp", "Q4_1", student.WeightsQ8, []string{"server-8"}},
}

// String names a duel, as -only takes it.
func (d duel) String() string { return d.peer + "/" + d.dtype }

func (d duel) name(what string) string {
	return strings.ToLower(strings.NewReplacer("-", "_", ".", "").Replace(d.peer + "_" + d.dtype + "_" + what))
}

// settings are the benchmark's flags.
type settings struct {
	program, python, llamaPython, smollm2, gguf, rows, out, only string
	pairs, fresh                                                 int
}

func main() {
	log.SetFlags(log.Ltime)
	b := settings{}
	ours := flag.String("ours", "", "measure only ours, with weights of this type, and print lines of JSON: what the benchmark runs")
	flag.StringVar(&b.program, "program", "bin/stillhouse", "our program")
	flag.StringVar(&b.python, "python", "python3", "a Python with the peers of bench/requirements-train.txt")
	flag.StringVar(&b.llamaPython, "llama-python", "", "a Python with the peers of bench/requirements-generate.txt; by default that of -python")
	flag.StringVar(&b.smollm2, "smollm2", "", "a directory with SmolLM2-135M (bench/smollm2.py makes one)")
	flag.StringVar(&b.gguf, "gguf", "", "a folder with smollm2-TYPE.gguf (bench/smollm2_gguf.py makes them)")
	flag.StringVar(&b.rows, "rows", "testdata/gsm8k/first32.jsonl", "rows whose questions the servers are asked, and whose loss is computed")
	flag.StringVar(&b.out, "out", "docs/benchmarks", "the folder that the page is written to")
	flag.IntVar(&b.pairs, "pairs", 3, "pairs of runs, peer and ours")
	flag.IntVar(&b.fresh, "new", 100, "new tokens of an answer")
	flag.StringVar(&b.only, "only", "", "what to hold against each other, by commas, as transformers/f32 or llama.cpp/Q8_0; all when empty")
	flag.Parse()
	if b.llamaPython == "" {
		b.llamaPython = b.python
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := error(nil)
	if *ours != "" {
		err = b.measureOurs(ctx, student.Weights(*ours), os.Stdout)
	} else {
		err = b.run(ctx)
	}
	if err != nil {
		stop()
		log.Fatal("benchgenerate: ", err)
	}
}

func (b settings) run(ctx context.Context) error {
	for _, f := range []struct{ flag, value string }{{"smollm2", b.smollm2}, {"gguf", b.gguf}} {
		if f.value == "" {
			return fmt.Errorf("-%s is missing: make bench-generate gives it", f.flag)
		}
	}
	r := report{Began: time.Now(), Machine: machine.Describe(), Fresh: b.fresh}
	var failed error
	r.Pairs, failed = bench.Run(ctx, b.cases(), b.pairs, func(duel, who string, m measurements) {
		for _, what := range slices.Sorted(maps.Keys(m)) {
			l := m[what]
			log.Printf("%-18s %-12s %-12s %7.1f tokens/s  %7.1f tokens a processor-second", duel, who, l.What, l.TokS, l.perCPU())
		}
	})
	if len(r.Pairs) == 0 {
		return failed
	}
	o := r.object()
	return errors.Join(failed, bench.Publish(b.out, "generate", r.Began, o, r.page(o), os.Stdout))
}

// measurements are those of one run, by what was measured.
type measurements map[string]measurement

// cases are the duels that are wanted.
func (b settings) cases() (out []bench.Case[measurements]) {
	for _, d := range duels {
		if bench.Wanted(b.only, d.String()) {
			out = append(out, bench.Case[measurements]{Name: d.String(),
				Ours:  func(ctx context.Context) (measurements, error) { return d.whole(b.ours(ctx, d)) },
				Peers: []bench.Runner[measurements]{{Name: d.peer, Run: func(ctx context.Context) (measurements, error) { return d.whole(b.peer(ctx, d)) }}}})
		}
	}
	return out
}

// whole is an error when a run did not measure all that is to be held against the other side.
func (d duel) whole(m measurements, err error) (measurements, error) {
	for _, what := range d.what {
		if err == nil && m[what].TokS == 0 {
			err = fmt.Errorf("%s was not measured", what)
		}
	}
	return m, err
}

func (b settings) ours(ctx context.Context, d duel) (measurements, error) {
	if d.what[0] == "server-8" {
		return b.serve(ctx, measurement{Engine: "stillhouse", Type: string(d.weights), What: d.what[0]},
			b.program, "serve", b.smollm2, "--port", "0", "--weights", string(d.weights))
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return lines(ctx, self, "-ours", string(d.weights), "-smollm2", b.smollm2, "-rows", b.rows, "-new", strconv.Itoa(b.fresh))
}

func (b settings) peer(ctx context.Context, d duel) (measurements, error) {
	threads := strconv.Itoa(kernel.Threads())
	file := filepath.Join(b.gguf, "smollm2-"+d.dtype+".gguf")
	switch {
	case d.what[0] == "server-8":
		return b.serve(ctx, measurement{Engine: d.peer, Type: d.dtype, What: d.what[0]}, b.llamaPython, "bench/peer_server.py", file, "--threads", threads)
	case d.peer == "transformers":
		return lines(ctx, b.python, "bench/peer_generate.py", "--engine", d.peer, "--model", b.smollm2, "--rows", b.rows, "--new", strconv.Itoa(b.fresh), "--threads", threads)
	}
	return lines(ctx, b.llamaPython, "bench/peer_generate.py", "--engine", d.peer, "--model", file, "--dtype", d.dtype, "--new", strconv.Itoa(b.fresh), "--threads", threads)
}

func (b settings) serve(ctx context.Context, m measurement, command ...string) (measurements, error) {
	rows, err := b.questions()
	if err != nil {
		return nil, err
	}
	var prompts []string
	for _, r := range rows[:min(24, len(rows))] {
		prompts = append(prompts, r.Question)
	}
	m, err = measureServer(ctx, m, prompts, b.fresh, 8, command...)
	return measurements{m.What: m}, err
}

type question struct{ Question, Answer string }

func (b settings) questions() (out []question, err error) {
	text, err := os.ReadFile(b.rows)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		var q question
		if err := json.Unmarshal([]byte(line), &q); err != nil {
			return nil, fmt.Errorf("%s: %w", b.rows, err)
		}
		out = append(out, q)
	}
	return out, nil
}

// lines runs a command that prints measurements.
func lines(ctx context.Context, command ...string) (measurements, error) {
	end, err := bench.Command{Args: command}.Run(ctx)
	if err != nil {
		return nil, err
	}
	all := measurements{}
	for line := range strings.Lines(end.Out) {
		var m measurement
		if json.Unmarshal([]byte(line), &m) == nil && m.What != "" { // libraries print lines of their own
			all[m.What] = m
		}
	}
	return all, nil
}
