package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"stillhouse/internal/bench"
	"stillhouse/internal/machine"
)

// A report is all that was measured.
type report struct {
	Began   time.Time
	Machine machine.Description
	Prompts int
	Pairs   bench.Pairs[result]
}

const us = "ours"

// median is the middle of a figure of an engine over the rounds of a run; NaN when there was none.
func (r report) median(name, engine string, figure func(result) float64) float64 {
	return r.Pairs.Median(name, func(p bench.Pair[result]) float64 {
		if engine == us {
			return figure(p.Ours)
		}
		return figure(p.Peers[engine])
	})
}

// peers are those of a run, in their order.
func (r report) peers(name string) (out []string) {
	for _, p := range r.Pairs {
		if p.Case == name {
			for _, one := range peerNames {
				if _, ok := p.Peers[one]; ok {
					out = append(out, one)
				}
			}
			return out
		}
	}
	return nil
}

// ideal is how long a run takes at least from its first request on, in seconds: the requests in full lines, or what the
// rate lets through after the burst.
func ideal(c benchCase, prompts int) float64 {
	if c.mock.Rate > 0 {
		return (float64(prompts) - c.mock.Burst) / c.mock.Rate
	}
	return float64(prompts) / float64(c.concurrency) * c.mock.Latency.Seconds()
}

// object is the benchmark's last line.
func (r report) object() bench.Object {
	o := bench.Object{"machine": r.Machine, "date": r.Began.Format(time.DateOnly), "prompts": r.Prompts}
	mine, best := r.median("A", us, result.perS), math.NaN()
	for _, e := range r.peers("A") {
		if v := r.median("A", e, result.perS); math.IsNaN(best) || v > best {
			best = v
		}
	}
	o.Set("requests_per_s", mine, 1)
	o.Set("best_peer_requests_per_s", best, 1)
	o.Set("ratio_best_peer", mine/best, 2)
	o.Set("start_s", r.median("A", us, func(m result) float64 { return m.StartS }), 3)
	o.Set("peak_mib", r.median("A", us, func(m result) float64 { return float64(m.Peak) }), 0)
	for _, c := range cases {
		of := func(figure func(result) float64) float64 { return r.median(c.name, us, figure) }
		suffix := strings.TrimPrefix(c.name, "D")
		if suffix != "" {
			suffix = "_" + strings.ToLower(suffix)
		}
		switch {
		case c.name == "B":
			o.Set("latency_vs_ideal", of(func(m result) float64 { return m.Window / ideal(c, r.Prompts) }), 3)
		case c.mock.Rate > 0:
			o.Set("requests_per_answer_429"+suffix, of(result.perAnswer), 4)
			o.Set("share_of_rate_429"+suffix, of(func(m result) float64 { return ideal(c, r.Prompts) / m.Window }), 3)
		case len(c.mock.Faults) > 0:
			o.Set("lost_faults", of(func(m result) float64 { return float64(m.Lost) }), 0)
			o.Set("cut_as_whole_faults", of(func(m result) float64 { return float64(m.Cut) }), 0)
		case c.kill:
			o.Set("asked_again_after_kill", of(func(m result) float64 { return float64(m.Stats.Resent) }), 0)
		}
	}
	return o
}

func (r report) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Asking a teacher, beside other engines, %s\n\n", r.Began.Format(time.DateOnly))
	fmt.Fprintf(&b, "Made by `make bench-distill`. %s, %d cores, %d MiB of memory. The teacher is a mock on the same machine (internal/mockteacher),\n", r.Machine.CPU, r.Machine.Cores, r.Machine.MemoryMiB)
	fmt.Fprintf(&b, "the prompts are %d questions of GSM8K, one answer each of about 200 words. Each engine is a process of its own; in run A they take turns, and\na figure is the median. The window is the time from the first request to the last whole answer, as the mock sees it.\n", r.Prompts)
	for _, c := range cases {
		if r.Pairs.Count(c.name) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s: %s\n\n", c.name, c.title)
		if v := ideal(c, r.Prompts); v > 0 {
			fmt.Fprintf(&b, "The shortest possible window is %.2f s.\n\n", v)
		}
		b.WriteString("| engine | runs | window, s | answers/s | requests an answer | lost | cut, as whole | asked again after an answer | start, s | wall, s | processor, s | peak, MiB | end |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
		for _, e := range append([]string{us}, r.peers(c.name)...) {
			b.WriteString(r.row(c.name, e))
		}
	}
	b.WriteString("\nLost are prompts that have neither an answer nor a reason why not.\n")
	return b.String()
}

func (r report) row(name, engine string) string {
	mid := func(figure func(result) float64) float64 { return r.median(name, engine, figure) }
	end := ""
	for _, p := range r.Pairs {
		if m := p.Peers[engine]; p.Case == name && m.End != "" {
			end = m.End
		}
	}
	title := engine
	if engine == us {
		title = "stillhouse"
	}
	return fmt.Sprintf("| %s | %d | %.2f | %.0f | %.3f | %.0f | %.0f | %.0f | %.2f | %.2f | %.2f | %.0f | %s |\n", title, r.Pairs.Count(name),
		mid(func(m result) float64 { return m.Window }), mid(result.perS), mid(result.perAnswer),
		mid(func(m result) float64 { return float64(m.Lost) }), mid(func(m result) float64 { return float64(m.Cut) }),
		mid(func(m result) float64 { return float64(m.Stats.Resent) }), mid(func(m result) float64 { return m.StartS }),
		mid(func(m result) float64 { return m.WallS }), mid(func(m result) float64 { return m.CPUS }),
		mid(func(m result) float64 { return float64(m.Peak) }), end)
}
