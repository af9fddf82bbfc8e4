package train

import (
	"fmt"
	"math"
	"slices"
	"time"

	"stillhouse/internal/student"
)

// A Pace is how fast a training is and what it takes: what differs from one run of it to the next.
type Pace struct {
	TokensPerS        float64 `json:"tokens_per_s"`
	TrainedTokensPerS float64 `json:"trained_tokens_per_s"`
	GEMMPercent       float64 `json:"gemm_percent,omitempty"`    // of the machine's rate of bare products, which its matrix products have reached; 0 where that is not measured
	MemoryMiB         int64   `json:"memory_mib,omitempty"`      // that the process holds
	PeakMemoryMiB     int64   `json:"peak_memory_mib,omitempty"` // the most that it has held
}

// String is the pace for people.
func (p Pace) String() string {
	text := fmt.Sprintf("%.0f tokens/s (%.0f trained)", p.TokensPerS, p.TrainedTokensPerS)
	if p.GEMMPercent > 0 {
		text += fmt.Sprintf("  %.0f %% of GEMM", p.GEMMPercent)
	}
	if p.MemoryMiB > 0 {
		text += fmt.Sprintf("  %.2f GiB", float64(p.MemoryMiB)/1024)
	}
	return text
}

// work is what a training's matrix products cost, in floating-point operations: two for each element of a matrix
// forward, two for the gradient of what goes in, and two for its own where it is trained. The head's are for each trained
// token, all others for each token; attention's own products are not counted.
type work struct{ token, trained float64 }

func newWork(m *student.Model, trainable []*student.Param) work {
	var w work
	all := slices.Clone(m.Params)
	for _, p := range trainable {
		if !slices.Contains(all, p) { // an adapter
			all = append(all, p)
		}
	}
	for _, p := range all {
		if len(p.Shape) != 2 {
			continue
		}
		cost := 4 * float64(p.Size())
		if slices.Contains(trainable, p) {
			cost += 2 * float64(p.Size())
		}
		switch {
		case p.Name == "lm_head.weight", p.Name == "model.embed_tokens.weight" && m.Config.TieWordEmbeddings:
			w.trained += cost
		case p.Name != "model.embed_tokens.weight": // which is looked up
			w.token += cost
		}
	}
	return w
}

// pace is how fast what the tally has seen was computed.
func (t *trainer) pace(seen tally, now time.Time) Pace {
	took := now.Sub(seen.since)
	p := Pace{TokensPerS: rate(seen.Tokens, took), TrainedTokensPerS: rate(seen.Labels, took)}
	if took > 0 && t.hooks.GEMM > 0 {
		done := t.work.token*float64(seen.Tokens) + t.work.trained*float64(seen.Labels)
		p.GEMMPercent = math.Round(10*100*done/took.Seconds()/(t.hooks.GEMM*1e9)) / 10
	}
	if resident, peak := t.hooks.Memory(); resident > 0 {
		p.MemoryMiB, p.PeakMemoryMiB = resident>>20, peak>>20
	}
	return p
}

// rate is tokens a second, 0 when no time has passed.
func rate(tokens int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return math.Round(10*float64(tokens)/d.Seconds()) / 10
}
