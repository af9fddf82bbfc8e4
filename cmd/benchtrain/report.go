package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"stillhouse/internal/bench"
	"stillhouse/internal/kernel"
	"stillhouse/internal/machine"
)

type pair = bench.Pair[measurement]

// A report is all that was measured.
type report struct {
	Began   time.Time
	Machine machine.Description
	Steps   int
	Pairs   bench.Pairs[measurement]
}

// Billions of parameters: those of the products of the layers, and those of the head, which is tied.
const (
	smollm2Layers, smollm2Head = 0.106169, 0.028312
	qwen3Layers, qwen3Head     = 0.440402, 0.155582
)

// gflops is the rate of a training's products in whole updates, in GFLOP/s: 6 FLOPs a parameter and token, and for the
// head 6 a parameter and trained token. With LoRA it is 4, as frozen weights have no gradient.
func gflops(m measurement, qwen3, lora bool) float64 {
	layers, head, times := smollm2Layers, smollm2Head, 6.0
	if qwen3 {
		layers, head = qwen3Layers, qwen3Head
	}
	if lora {
		times = 4
	}
	return times * (layers*float64(m.Tokens) + head*float64(m.Labels)) / m.Wall
}

// object is the benchmark's last line.
func (r report) object() bench.Object {
	out := bench.Object{"machine": r.Machine, "date": r.Began.Format(time.DateOnly), "threads": threads, "updates": r.Steps}
	for _, c := range cases {
		lora := strings.Contains(c.keys, "peft")
		out.Set("tokens_per_s_"+c.name, r.Pairs.Median(c.name, func(p pair) float64 { return p.Ours.TokensPerS }), 1)
		out.Set("peak_mib_"+c.name, r.Pairs.Median(c.name, func(p pair) float64 { return float64(p.Ours.PeakMiB) }), 0)
		out.Set("gemm_share_"+c.name, r.Pairs.Median(c.name, func(p pair) float64 { return gflops(p.Ours, c.qwen3, lora) / p.Ours.BLAS }), 3)
		out.Set("product_share_"+c.name, r.Pairs.Median(c.name, func(p pair) float64 { return gflops(p.Ours, c.qwen3, lora) / p.Ours.GEMM }), 3)
		out.Set("planned_mib_"+c.name, r.Pairs.Median(c.name, func(p pair) float64 { return float64(p.Ours.PlannedMiB) }), 0)
		out.Set("planned_s_"+c.name, r.Pairs.Median(c.name, func(p pair) float64 { return p.Ours.PlannedS }), 1)
		out.Set("seconds_"+c.name, r.Pairs.Median(c.name, func(p pair) float64 { return p.Ours.Seconds }), 1)
		for _, peer := range c.peers {
			out.Set("ratio_"+peer, r.Pairs.Median(c.name, func(p pair) float64 { return p.Ours.TokensPerS / p.Peers[peer].TokensPerS }), 2)
			out.Set("ratio_cpu_"+peer, r.Pairs.Median(c.name, func(p pair) float64 { return perCPU(p.Ours) / perCPU(p.Peers[peer]) }), 2)
			out.Set("peer_tokens_per_s_"+peer, r.Pairs.Median(c.name, func(p pair) float64 { return p.Peers[peer].TokensPerS }), 1)
			out.Set("peer_peak_mib_"+peer, r.Pairs.Median(c.name, func(p pair) float64 { return float64(p.Peers[peer].PeakMiB) }), 0)
		}
	}
	for short, long := range map[string]string{"full": "full_bs1x8", "lora": "lora_bs1x8"} {
		for _, kind := range []string{"gemm_share_", "product_share_", "peak_mib_", "peer_peak_mib_"} {
			if v, ok := out[kind+long]; ok {
				out[kind+short] = v
			}
		}
	}
	return out
}

func perCPU(m measurement) float64 { return float64(m.Tokens) / m.CPU }

// rate is the mean over all of ours.
func (r report) rate(of func(measurement) float64) (mean float64) {
	for _, p := range r.Pairs {
		mean += of(p.Ours) / float64(len(r.Pairs))
	}
	return mean
}

// page is the benchmark's page.
func (r report) page(o bench.Object) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Training beside Python, %s\n\n", r.Began.Format(time.DateOnly))
	fmt.Fprintf(&b, "Made by `make bench-train`. %s\n", bench.Machine(r.Machine, threads))
	fmt.Fprintf(&b, "SmolLM2-135M, the first 32 rows of GSM8K, loss on the completion, fp32; %d updates after one that is not counted. Runs of a pair follow each\n", r.Steps)
	b.WriteString("other, who goes first alternates; the ratio is the median of the pairs'. Tokens are those that are not padding. A processor-second is one of all\nthreads together: where other programs run, the ratio by it is the steadier one.\n\n")
	b.WriteString("| case | peer | pairs | ours, tokens/s | peer | ratio | ratio by processor time | ours, MiB | peer |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range cases {
		for _, peer := range c.peers {
			if o["ratio_"+peer] == nil {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %d | %v | %v | %v | %v | %v | %v |\n", c.name, peer, r.Pairs.Count(c.name), o["tokens_per_s_"+c.name], o["peer_tokens_per_s_"+peer],
				o["ratio_"+peer], o["ratio_cpu_"+peer], o["peak_mib_"+c.name], o["peer_peak_mib_"+peer])
		}
	}
	fmt.Fprintf(&b, "\nWhat the planner said, and the rate of the products of whole updates (6 FLOPs a parameter and token, the head's by trained token; 4 with LoRA) as a share of\n"+
		"what bare fp32 products reach by OpenBLAS (%.0f GFLOP/s) and by the kernels that the training has (%s, %.0f GFLOP/s), measured before and after:\n\n",
		r.rate(func(m measurement) float64 { return m.BLAS }), kernel.Products(), r.rate(func(m measurement) float64 { return m.GEMM }))
	b.WriteString("| case | tokens/s | share of OpenBLAS's | share of ours | peak, MiB | planned | whole training, s | planned |\n|---|---|---|---|---|---|---|---|\n")
	for _, c := range cases {
		if o["tokens_per_s_"+c.name] != nil {
			fmt.Fprintf(&b, "| %s | %v | %v | %v | %v | %v | %v | %v |\n", c.name, o["tokens_per_s_"+c.name], o["gemm_share_"+c.name], o["product_share_"+c.name], o["peak_mib_"+c.name], o["planned_mib_"+c.name],
				o["seconds_"+c.name], o["planned_s_"+c.name])
		}
	}
	b.WriteString("\nThe pairs:\n\n| case | who | tokens/s | tokens a processor-second | MiB |\n|---|---|---|---|---|\n")
	for _, p := range r.Pairs {
		fmt.Fprintf(&b, "| %s | ours | %.1f | %.1f | %d |\n", p.Case, p.Ours.TokensPerS, perCPU(p.Ours), p.Ours.PeakMiB)
		for _, name := range slices.Sorted(maps.Keys(p.Peers)) {
			m := p.Peers[name]
			fmt.Fprintf(&b, "| %s | %s | %.1f | %.1f | %d |\n", p.Case, name, m.TokensPerS, perCPU(m), m.PeakMiB)
		}
	}
	return b.String()
}
