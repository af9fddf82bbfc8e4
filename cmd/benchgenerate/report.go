package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"stillhouse/internal/kernel"
	"stillhouse/internal/machine"
)

// A report is all that was measured.
type report struct {
	Began   time.Time
	Machine machine.Description
	Fresh   int
	Pairs   []pair
}

// median is the middle of the values that of gives for the pairs of a duel; NaN when it was not fought.
func (r report) median(d duel, of func(pair) float64) float64 {
	var all []float64
	for _, p := range r.Pairs {
		if p.peer == d.peer && p.dtype == d.dtype {
			all = append(all, of(p))
		}
	}
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// object is the benchmark's last line.
func (r report) object() map[string]any {
	out := map[string]any{"machine": r.Machine, "date": r.Began.Format(time.DateOnly), "threads": kernel.Threads(), "new_tokens": r.Fresh}
	set := func(key string, v float64) {
		if !math.IsNaN(v) {
			out[key] = math.Round(v*100) / 100
		}
	}
	for _, d := range duels {
		for _, what := range d.what {
			name := d.name(what)
			set("ratio_"+name, r.median(d, func(p pair) float64 { return p.Ours[what].TokS / p.Peer[what].TokS }))
			set("ratio_cpu_"+name, r.median(d, func(p pair) float64 { return p.Ours[what].perCPU() / p.Peer[what].perCPU() }))
			set("tokens_per_s_"+name, r.median(d, func(p pair) float64 { return p.Ours[what].TokS }))
			set("peer_tokens_per_s_"+name, r.median(d, func(p pair) float64 { return p.Peer[what].TokS }))
		}
		if d.what[0] == "one-by-one" {
			set("bandwidth_share_"+string(d.weights), r.median(d, func(p pair) float64 { return p.Ours["one-by-one"].BytesS / p.Ours["one-by-one"].MemoryS }))
			set("memory_gb_per_s_"+string(d.weights), r.median(d, func(p pair) float64 { return p.Ours["one-by-one"].MemoryS / 1e9 }))
		}
	}
	return out
}

// page is the benchmark's page.
func (r report) page(object string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Generation beside transformers and llama.cpp, %s\n\n", r.Began.Format(time.DateOnly))
	fmt.Fprintf(&b, "Made by `make bench-generate`. %s, %d cores, %s, %d MiB of memory; %d threads; bare fp32 product %.0f GFLOP/s.\n", r.Machine.CPU, r.Machine.Cores,
		r.Machine.Instructions, r.Machine.MemoryMiB, kernel.Threads(), r.Machine.GEMM)
	fmt.Fprintf(&b, "SmolLM2-135M, greedy, %d new tokens always. one-by-one: three questions, one after the other; batch-8: eight at once; prefill-512: a prompt of 512\ntokens to its first answer token; nll: the mean loss of 32 rows of GSM8K, transformers one by one; server-8: 24 questions of GSM8K over HTTP, eight at once. Runs of a pair follow each other, who goes first\nalternates; a ratio is the median of the pairs'. Processor time is of all threads together: where other programs run, the ratio by it is the\nsteadier one.\n\n", r.Fresh)
	b.WriteString("| peer | its type | ours | what | pairs | peer, tokens/s | ours | ratio | by processor time |\n|---|---|---|---|---|---|---|---|---|\n")
	o := r.object()
	for _, d := range duels {
		for _, what := range d.what {
			if n := d.name(what); o["ratio_"+n] != nil {
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %v | %v | %v | %v |\n", d.peer, d.dtype, d.weights, what, r.count(d), o["peer_tokens_per_s_"+n], o["tokens_per_s_"+n], o["ratio_"+n], o["ratio_cpu_"+n])
			}
		}
	}
	b.WriteString("\nDecoding one by one reads all weights for each token. What it reads in a second, beside a plain reading of memory on all threads:\n\n| weights | share of the memory's rate | memory, GB/s |\n|---|---|---|\n")
	for _, w := range []string{"f32", "bf16", "q8_0"} {
		if o["bandwidth_share_"+w] != nil {
			fmt.Fprintf(&b, "| %s | %v | %v |\n", w, o["bandwidth_share_"+w], o["memory_gb_per_s_"+w])
		}
	}
	for _, p := range r.Pairs {
		if o, q := p.Ours["nll"], p.Peer["nll"]; q.Loss != 0 {
			fmt.Fprintf(&b, "\nThe mean loss of nll: %.6f nats, ours %.6f.\n", q.Loss, o.Loss)
			break
		}
	}
	b.WriteString("\nThe pairs:\n\n| peer | its type | what | peer, tokens/s | ours | peer, tokens a processor-second | ours |\n|---|---|---|---|---|---|---|\n")
	for _, p := range r.Pairs {
		for _, what := range p.what {
			fmt.Fprintf(&b, "| %s | %s | %s | %.1f | %.1f | %.1f | %.1f |\n", p.peer, p.dtype, what, p.Peer[what].TokS, p.Ours[what].TokS, p.Peer[what].perCPU(), p.Ours[what].perCPU())
		}
	}
	fmt.Fprintf(&b, "\nThe last line:\n\n```json\n%s\n```\n", object)
	return b.String()
}

// count is the number of pairs of a duel.
func (r report) count(d duel) (n int) {
	for _, p := range r.Pairs {
		if p.peer == d.peer && p.dtype == d.dtype {
			n++
		}
	}
	return n
}
