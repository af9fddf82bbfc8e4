// Benchgenerate measures how fast stillhouse generates beside transformers and llama.cpp, in alternating pairs: make
// bench-generate. It writes a page for docs/benchmarks and, as the last line of its output, one JSON object.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

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

func (d duel) name(what string) string {
	return strings.ToLower(strings.NewReplacer("-", "_", ".", "").Replace(d.peer + "_" + d.dtype + "_" + what))
}

// A bench is the benchmark's settings.
type bench struct {
	program, python, llamaPython, smollm2, gguf, rows, out, only string
	pairs, fresh                                                 int
}

func main() {
	log.SetFlags(log.Ltime)
	b := bench{}
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

// A pair is one run of ours and one of a peer, next to each other in time, with what both measured.
type pair struct {
	duel
	Ours, Peer map[string]measurement
}

func (b bench) run(ctx context.Context) error {
	for _, f := range []struct{ flag, value string }{{"smollm2", b.smollm2}, {"gguf", b.gguf}} {
		if f.value == "" {
			return fmt.Errorf("-%s is missing: make bench-generate gives it", f.flag)
		}
	}
	r := report{Began: time.Now(), Machine: machine.Describe(), Fresh: b.fresh}
	for _, d := range duels {
		if b.only != "" && !slices.Contains(strings.Split(b.only, ","), d.peer+"/"+d.dtype) {
			continue
		}
		for i := range b.pairs {
			p, err := b.pair(ctx, d, i)
			if err != nil {
				return fmt.Errorf("%s %s: %w", d.peer, d.dtype, err)
			}
			r.Pairs = append(r.Pairs, p)
		}
	}
	text, err := json.Marshal(r.object())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	page := filepath.Join(b.out, r.Began.Format(time.DateOnly)+"-generate.md")
	if err := os.WriteFile(page, []byte(r.page(string(text))), 0o644); err != nil {
		return err
	}
	log.Print("the page is ", page)
	fmt.Println(string(text))
	return nil
}

// pair runs a duel once. Who goes first alternates.
func (b bench) pair(ctx context.Context, d duel, number int) (pair, error) {
	p := pair{duel: d}
	runs := []func() error{
		func() (err error) { p.Ours, err = b.ours(ctx, d); return err },
		func() (err error) { p.Peer, err = b.peer(ctx, d); return err },
	}
	if number%2 == 1 {
		slices.Reverse(runs)
	}
	for _, run := range runs {
		if err := run(); err != nil {
			return p, err
		}
	}
	for _, what := range d.what {
		o, q := p.Ours[what], p.Peer[what]
		if o.TokS == 0 || q.TokS == 0 {
			return p, fmt.Errorf("%s was not measured on both sides", what)
		}
		log.Printf("%-12s %-5s %-12s %7.1f tokens/s, ours %7.1f: %5.2f; by processor time %5.2f", d.peer, d.dtype, what, q.TokS, o.TokS, o.TokS/q.TokS, o.perCPU()/q.perCPU())
	}
	return p, nil
}

func (b bench) ours(ctx context.Context, d duel) (map[string]measurement, error) {
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

func (b bench) peer(ctx context.Context, d duel) (map[string]measurement, error) {
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

func (b bench) serve(ctx context.Context, m measurement, command ...string) (map[string]measurement, error) {
	rows, err := b.questions()
	if err != nil {
		return nil, err
	}
	var prompts []string
	for _, r := range rows[:min(24, len(rows))] {
		prompts = append(prompts, r.Question)
	}
	m, err = measureServer(ctx, m, prompts, b.fresh, 8, command...)
	return map[string]measurement{m.What: m}, err
}

type question struct{ Question, Answer string }

func (b bench) questions() (out []question, err error) {
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
func lines(ctx context.Context, command ...string) (map[string]measurement, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, wrong.Bytes())
	}
	all := map[string]measurement{}
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		var m measurement
		if json.Unmarshal(s.Bytes(), &m) == nil && m.What != "" { // libraries print lines of their own
			all[m.What] = m
		}
	}
	return all, nil
}
