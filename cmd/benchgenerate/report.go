package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"stillhouse/internal/bench"
	"stillhouse/internal/kernel"
	"stillhouse/internal/machine"
)

type pair = bench.Pair[measurements]

// A report is all that was measured.
type report struct {
	Began   time.Time
	Machine machine.Description
	Fresh   int
	Pairs   bench.Pairs[measurements]
}

// object is the benchmark's last line.
func (r report) object() bench.Object {
	out := bench.Object{"machine": r.Machine, "date": r.Began.Format(time.DateOnly), "threads": kernel.Threads(), "new_tokens": r.Fresh}
	for _, d := range duels {
		for _, what := range d.what {
			name := d.name(what)
			out.Set("ratio_"+name, r.Pairs.Median(d.String(), func(p pair) float64 { return p.Ours[what].TokS / p.Peers[d.peer][what].TokS }), 2)
			out.Set("ratio_cpu_"+name, r.Pairs.Median(d.String(), func(p pair) float64 { return p.Ours[what].perCPU() / p.Peers[d.peer][what].perCPU() }), 2)
			out.Set("tokens_per_s_"+name, r.Pairs.Median(d.String(), func(p pair) float64 { return p.Ours[what].TokS }), 2)
			out.Set("peer_tokens_per_s_"+name, r.Pairs.Median(d.String(), func(p pair) float64 { return p.Peers[d.peer][what].TokS }), 2)
		}
		if d.what[0] == "one-by-one" {
			out.Set("bandwidth_share_"+string(d.weights), r.Pairs.Median(d.String(), func(p pair) float64 { return p.Ours["one-by-one"].BytesS / p.Ours["one-by-one"].MemoryS }), 2)
			out.Set("memory_gb_per_s_"+string(d.weights), r.Pairs.Median(d.String(), func(p pair) float64 { return p.Ours["one-by-one"].MemoryS / 1e9 }), 2)
		}
	}
	return out
}

// page is the benchmark's page.
func (r report) page(o bench.Object) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Generation beside transformers and llama.cpp, %s\n\n", r.Began.Format(time.DateOnly))
	fmt.Fprintf(&b, "Made by `make bench-generate`. %s\n", bench.Machine(r.Machine, kernel.Threads()))
	fmt.Fprintf(&b, "SmolLM2-135M, greedy, %d new tokens always. one-by-one: three questions, one after the other; batch-8: eight at once; prefill-512: a prompt of 512\ntokens to its first answer token; nll: the mean loss of 32 rows of GSM8K, transformers one by one; server-8: 24 questions of GSM8K over HTTP, eight at once. Runs of a pair follow each other, who goes first\nalternates; a ratio is the median of the pairs'. Processor time is of all threads together: where other programs run, the ratio by it is the\nsteadier one.\n\n", r.Fresh)
	b.WriteString("| peer | its type | ours | what | pairs | peer, tokens/s | ours | ratio | by processor time |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, d := range duels {
		for _, what := range d.what {
			if n := d.name(what); o["ratio_"+n] != nil {
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %d | %v | %v | %v | %v |\n", d.peer, d.dtype, d.weights, what, r.Pairs.Count(d.String()), o["peer_tokens_per_s_"+n], o["tokens_per_s_"+n], o["ratio_"+n], o["ratio_cpu_"+n])
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
		if o, q := p.Ours["nll"], p.Peers["transformers"]["nll"]; q.Loss != 0 {
			fmt.Fprintf(&b, "\nThe mean loss of nll: %.6f nats, ours %.6f.\n", q.Loss, o.Loss)
			break
		}
	}
	b.WriteString("\nThe pairs:\n\n| peer | its type | what | peer, tokens/s | ours | peer, tokens a processor-second | ours |\n|---|---|---|---|---|---|---|\n")
	for _, p := range r.Pairs {
		d := duels[slices.IndexFunc(duels, func(d duel) bool { return d.String() == p.Case })]
		for _, what := range d.what {
			o, q := p.Ours[what], p.Peers[d.peer][what]
			fmt.Fprintf(&b, "| %s | %s | %s | %.1f | %.1f | %.1f | %.1f |\n", d.peer, d.dtype, what, q.TokS, o.TokS, q.perCPU(), o.perCPU())
		}
	}
	return b.String()
}
