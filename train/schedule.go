package train

import "math"

// A Schedule is the learning rate of every update of a training.
//
// The shapes are those of transformers 5.23 (optimization.py), computed as there in float64: a linear rise over the
// warm-up from 0, then constant, or falling to 0 linearly or along half a cosine.
type Schedule struct {
	Kind   string // linear, cosine, constant or constant_with_warmup
	Rate   float64
	Warmup int // updates
	Total  int // updates
}

// Schedule is the schedule of o over so many updates. constant has no warm-up, as in transformers.
func (o Options) Schedule(updates int) Schedule {
	s := Schedule{Kind: o.LRSchedulerType, Rate: *o.LearningRate, Total: updates, Warmup: o.warmup(updates)}
	if s.Kind == "constant" {
		s.Warmup = 0
	}
	return s
}

// warmup is the number of updates of the warm-up: a count from 1 on, below 1 a share of all updates, rounded up.
func (o Options) warmup(updates int) int {
	if o.WarmupSteps >= 1 {
		return int(o.WarmupSteps)
	}
	share := o.WarmupSteps
	if share == 0 {
		share = o.WarmupRatio
	}
	return int(math.Ceil(float64(updates) * share))
}

// At is the learning rate of an update, counted from 0.
func (s Schedule) At(update int) float64 {
	if update < s.Warmup {
		return s.Rate * (float64(update) / float64(max(1, s.Warmup)))
	}
	left := float64(max(1, s.Total-s.Warmup))
	switch s.Kind {
	case "linear":
		return s.Rate * max(0, float64(s.Total-update)/left)
	case "cosine":
		return s.Rate * max(0, 0.5*(1+math.Cos(math.Pi*0.5*2*(float64(update-s.Warmup)/left))))
	default:
		return s.Rate
	}
}
