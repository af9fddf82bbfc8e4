package train

import (
	"slices"
	"time"
)

// A state is what a training has come to besides its weights and its optimiser's means: what a checkpoint keeps of it.
type state struct {
	Result Result        `json:"result"` // Steps are the updates that were made
	Epoch  float64       `json:"epoch"`
	Logged bool          `json:"logged"` // there was a line
	Tally  tally         `json:"tally"`  // of what came since the last line
	Line   time.Duration `json:"line"`   // since the last line, when the checkpoint was written
	Took   time.Duration `json:"took"`   // all in all by then
	Best   *best         `json:"best"`   // nil before the first evaluation
	Worse  int           `json:"worse"`  // evaluations in a row that were not better
	Norms  []float64     `json:"norms"`  // of the last gradients, the latest last
}

// A best is the best evaluation so far.
type best struct {
	Step   int     `json:"step"`
	Metric float64 `json:"metric"`
}

// snapshot is the state as a checkpoint keeps it.
func (t *trainer) snapshot() state {
	now := t.hooks.Now()
	s := t.state
	s.Norms = slices.Clone(s.Norms)
	s.Line, s.Took = now.Sub(t.Tally.since), now.Sub(t.began)
	return s
}

// restore goes on from a state. The rows that were cut are counted anew.
func (t *trainer) restore(s state) {
	now := t.hooks.Now()
	s.Result.Rows, s.Result.Truncated, s.Result.Cut = t.Result.Rows, t.Result.Truncated, t.Result.Cut
	t.state = s
	t.began, t.Tally.since = now.Add(-s.Took), now.Add(-s.Line)
	t.saved = s.Result.Steps
}

// judge compares an evaluation with the best one so far, which it may take the place of, as transformers 5.23 does
// (EarlyStoppingCallback.check_metric_value, then Trainer._determine_best_metric). It says whether it is better, and
// whether the training ends. The evaluation before the first update does not count.
func (t *trainer) judge(l EvalLine) (better, stop bool) {
	if l.Step == 0 {
		return false, false
	}
	value := map[string]float64{"loss": l.Loss, "mean_token_accuracy": l.MeanTokenAccuracy, "entropy": l.Entropy}[t.options.MetricForBestModel]
	by := 0.0 // by how much it is better
	if t.Best != nil {
		if by = t.Best.Metric - value; *t.options.GreaterIsBetter {
			by = -by
		}
	}
	if t.Worse++; t.Best == nil || by > t.options.EarlyStoppingThreshold {
		t.Worse = 0
	}
	if better = t.Best == nil || by > 0; better {
		t.Best = &best{l.Step, value}
	}
	patience := t.options.EarlyStoppingPatience
	return better, patience > 0 && t.Worse >= patience
}
