package pipelines

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/curate/reward"
	"stillhouse/distill/prompts"
	"stillhouse/internal/accuracy"
	"stillhouse/internal/options"
	"stillhouse/internal/rundir"
	"stillhouse/internal/student"
)

// The arms of an evaluation: students that differ in what they were trained on, and in nothing else.
const (
	curatedArm   = "curated"   // the kept rows
	uncuratedArm = "uncurated" // as many rows, drawn from the candidates with the seed
	baseArm      = "base"      // nothing
)

var allArms = []string{curatedArm, uncuratedArm, baseArm}

// EvalOptions say which held-out problems the students are asked, and how.
type EvalOptions struct {
	prompts.Rows `yaml:",inline"`

	Reward      string   `yaml:"reward" json:"reward" doc:"The reward that says whether an answer is right."`
	Samples     int      `yaml:"samples" json:"samples" doc:"Answers drawn for each problem, beside the greedy one."`
	Temperature *float64 `yaml:"temperature" json:"temperature" doc:"The temperature that answers are drawn at."`
	MaxTokens   int      `yaml:"max_tokens" json:"max_tokens" doc:"New tokens of an answer at most."`
	Seed        uint64   `yaml:"seed" json:"seed" doc:"The seed of the drawn answers."`
	Weights     string   `yaml:"weights" json:"weights" doc:"How the students' weights are held when they are asked: f32 as they are, bf16, or q8_0."`
	Arms        []string `yaml:"arms" json:"arms" doc:"Students to compare: curated (trained on the kept rows), uncurated (on as many rows drawn from the candidates), base (not trained)."`
}

// EnsureDefaults fills in every default.
func (o *EvalOptions) EnsureDefaults() {
	o.Section = "eval"
	o.Rows.EnsureDefaults()
	if o.Reward == "" {
		o.Reward = "math"
	}
	if o.Samples == 0 {
		o.Samples = 4
	}
	if o.Temperature == nil {
		one := 1.0
		o.Temperature = &one
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = 100
	}
	if o.Weights == "" {
		o.Weights = string(student.WeightsF32)
	}
	if len(o.Arms) == 0 {
		o.Arms = []string{curatedArm, baseArm}
	}
}

// Validate names the first key whose value cannot be.
func (o *EvalOptions) Validate() error {
	if err := o.Rows.Validate(); err != nil {
		return err
	}
	if o.Reference == "" {
		return options.Wrongf("reference", "is missing: name the column with the right answers")
	}
	if o.Samples < 1 || o.Samples > 1000 {
		return options.Wrongf("samples", "is %d: it must be from 1 to 1000", o.Samples)
	}
	if *o.Temperature <= 0 {
		return options.Wrongf("temperature", "is %g: it must be above 0; the greedy answer is asked for in any case", *o.Temperature)
	}
	if o.MaxTokens < 1 {
		return options.Wrongf("max_tokens", "is %d: it must be 1 or more", o.MaxTokens)
	}
	if err := student.Weights(o.Weights).Validate(); err != nil {
		return options.Wrongf("weights", "is %q: it can be f32, bf16 or q8_0", o.Weights)
	}
	for i, arm := range o.Arms {
		key := fmt.Sprintf("arms[%d]", i)
		if !slices.Contains(allArms, arm) {
			return options.Wrongf(key, "%q is not an arm: %s", arm, options.Nearest(arm, allArms))
		}
		if slices.Contains(o.Arms[:i], arm) {
			return options.Wrongf(key, "%q is there twice: take one out", arm)
		}
	}
	entry := reward.Entry{Kind: o.Reward}
	entry.EnsureDefaults()
	if ps := options.ProblemsOf(entry.Validate()); ps != nil && ps[0].Key != "" {
		return options.Wrongf("reward", "is %q, which needs options, and here it has none", o.Reward)
	} else if ps != nil {
		return options.Under("reward", ps)
	}
	return nil
}

// score is the stage that says which answers are right.
func (o *EvalOptions) score() *curate.Score {
	s := &curate.Score{Rewards: []reward.Entry{{Kind: o.Reward}}}
	s.EnsureDefaults()
	return s
}

// Arm is what one student can do.
type Arm struct {
	N        int     `json:"n"`        // problems
	Samples  int     `json:"samples"`  // answers drawn for each
	Accuracy float64 `json:"accuracy"` // mean over the problems of the share of right samples
	Low      float64 `json:"low"`      // of the 95 % interval
	High     float64 `json:"high"`
	Greedy   float64 `json:"greedy"` // share of problems whose greedy answer is right
}

// Evaluation is what the students can do.
type Evaluation struct {
	Arms       map[string]Arm     `json:"arms"`
	Difference *accuracy.Estimate `json:"difference,omitempty"` // curated minus uncurated, on the same problems
}

// evaluate asks an arm's model every problem and scores the answers: evals/ARM/candidates, evals/ARM/scored.
func (r *run) evaluate(ctx context.Context, arm, model string) error {
	o, folder := r.config.Eval, path.Join("evals", arm)
	problems, err := r.dir.Source("evals/prompts")
	if err != nil {
		return err
	}
	rows, err := r.kept("evals/prompts")
	if err != nil {
		return err
	}
	m, err := loadModel(ctx, model, student.Weights(o.Weights))
	if err != nil {
		return err
	}
	defer m.Close()
	ask := &Answer{Samples: o.Samples, Temperature: *o.Temperature, TopP: 1, MaxTokens: o.MaxTokens, Seed: o.Seed, Model: arm,
		AskKwargs: r.config.Train.AskKwargs, model: m}
	if _, err := r.step(ctx, problems, rows*ask.Fanout(), ask, folder+"/candidates", folder+"/answer"); err != nil {
		return err
	}
	return r.scoring(ctx, folder+"/candidates", o.score(), folder+"/scored", folder+"/score")
}

// evaluation computes what the arms can do from their scored answers; nil when there are none.
func evaluation(ctx context.Context, d *rundir.Dir) (*Evaluation, error) {
	e := &Evaluation{Arms: map[string]Arm{}}
	tallies := map[string][]accuracy.Tally{}
	for _, arm := range allArms {
		rows, err := scoredRows(ctx, d, path.Join("evals", arm, "scored"))
		if err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			continue
		}
		if e.Arms[arm], tallies[arm], err = measure(rows); err != nil {
			return nil, fmt.Errorf("evals/%s: %w", arm, err)
		}
	}
	if len(e.Arms) == 0 {
		return nil, nil
	}
	if c, u := tallies[curatedArm], tallies[uncuratedArm]; len(c) > 0 && len(u) > 0 {
		d, err := accuracy.Difference(c, u)
		if err != nil {
			return nil, err
		}
		e.Difference = &d
	}
	return e, nil
}

// measure counts an arm's scored answers, which stand in the order of the problems.
func measure(rows []stillhouse.Scored) (Arm, []accuracy.Tally, error) {
	var tallies []accuracy.Tally
	greedy := 0
	for i, row := range rows {
		if i == 0 || rows[i-1].ID != row.ID {
			tallies = append(tallies, accuracy.Tally{})
		}
		t := &tallies[len(tallies)-1]
		right := 0
		if row.Scores[0].Verdict == stillhouse.Right {
			right = 1
		}
		if row.Sample == greedySample {
			greedy += right
		} else {
			t.Samples++
			t.Right += right
		}
	}
	e, err := accuracy.Of(tallies)
	return Arm{N: len(tallies), Samples: tallies[0].Samples, Accuracy: e.Value, Low: e.Low, High: e.High, Greedy: float64(greedy) / float64(len(tallies))}, tallies, err
}

func (e *Evaluation) writeText(w io.Writer) {
	t := newTable(w)
	t.AppendHeader(table.Row{"student", "problems", "samples", "right when sampled", "95 % interval", "right when greedy"})
	for _, name := range allArms {
		a, ok := e.Arms[name]
		if !ok {
			continue
		}
		t.AppendRow(table.Row{name, a.N, a.Samples, percent(a.Accuracy), percent(a.Low) + " to " + percent(a.High), percent(a.Greedy)})
	}
	t.Render()
	d := e.Difference
	if d == nil {
		return
	}
	fmt.Fprintf(w, "Curated minus uncurated, on the same problems: %+.1f points (95 %% interval %+.1f to %+.1f). ", 100*d.Value, 100*d.Low, 100*d.High)
	switch {
	case d.Low > 0:
		fmt.Fprintln(w, "Curation helped.")
	case d.High < 0:
		fmt.Fprintln(w, "Curation hurt.")
	default:
		fmt.Fprintln(w, "Curation did not help: the interval holds 0.")
	}
}

func percent(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }
