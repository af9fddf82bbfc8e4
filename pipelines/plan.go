package pipelines

import (
	"context"
	"fmt"
	"io"

	"stillhouse/distill"
	"stillhouse/distill/prompts"
)

// A Plan is what a run would do at most: how much of it is asked and trained depends on what the teacher says.
type Plan struct {
	Run       string `json:"run"`
	Prompts   int    `json:"prompts"`
	Grown     int    `json:"grown_prompts_max,omitempty"` // of these, when growth reaches its target
	Skipped   int64  `json:"skipped_prompts"`
	Endpoint  string `json:"endpoint"`
	Model     string `json:"model"`
	Samples   int    `json:"samples"`
	Answers   int    `json:"answers"`                         // to be had from the teacher or the response store
	Tokens    int    `json:"completion_tokens_max,omitempty"` // 0 when the config sets no limit
	Student   string `json:"student,omitempty"`
	Updates   int    `json:"updates_max,omitempty"` // when every prompt yields the rows that the selection allows
	Problems  int    `json:"eval_problems,omitempty"`
	EvalAsked int    `json:"eval_answers,omitempty"`

	Distill  distill.Forecast `json:"distill"`
	Training *ArmsPlan        `json:"training,omitempty"`

	options distill.Options
}

// MakePlan checks a config as a run would and says what the run would do. Nothing is asked of the teacher.
func MakePlan(ctx context.Context, c *Config, o PlanOptions) (*Plan, error) {
	if err := c.Check(ctx); err != nil {
		return nil, err
	}
	forecast, read, err := c.forecast(ctx)
	if err != nil {
		return nil, err
	}
	n := int(read.Account.Kept)
	grown := 0
	if g := c.Prompts.Grow; g != nil {
		if grown = g.Target; !*g.KeepSeeds {
			n = 0
		}
		n += grown
	}
	p := &Plan{Run: c.Name, Prompts: n, Grown: grown, Skipped: count(read.Account.Dropped), Endpoint: c.Distill.Endpoint, Model: c.Distill.Model,
		Samples: c.Distill.Samples.Max, Answers: n * c.Distill.Samples.Max}
	p.Tokens, p.options, p.Distill = p.Answers*c.Distill.MaxTokens, c.Distill, forecast
	if p.Training, err = c.planArms(ctx, n, c.Curate.Select.Most(p.Samples), o.Runs); err != nil {
		return nil, err
	}
	if t := p.Training; t != nil {
		p.Student, p.Updates = c.Train.Student, t.Each.Updates
	}
	if e := c.Eval; e != nil {
		problems, err := prompts.Scan(ctx, prompts.Options{Rows: e.Rows}, prompts.Sink{})
		if err != nil {
			return nil, err
		}
		p.Problems = int(problems.Account.Kept)
		p.EvalAsked = p.Problems * (e.Samples + 1) * len(e.Arms)
	}
	return p, nil
}

// WriteText writes a plan for people.
func (p *Plan) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s: %d prompts", p.Run, p.Prompts)
	if p.Grown > 0 {
		fmt.Fprintf(w, " (%d of them to be grown)", p.Grown)
	}
	if p.Skipped > 0 {
		fmt.Fprintf(w, " (%d rows skipped)", p.Skipped)
	}
	fmt.Fprintf(w, " × %s samples", p.options.Samples)
	if p.Tokens > 0 {
		fmt.Fprintf(w, ", %d completion tokens at most", p.Tokens)
	}
	fmt.Fprintln(w, ".")
	writeForecast(w, p.Distill, p.options)
	if p.Training != nil {
		writeArms(w, p.Student, p.Training)
	}
	if p.Problems > 0 {
		fmt.Fprintf(w, "Ask %d held-out problems: %d answers of the students.\n", p.Problems, p.EvalAsked)
	}
	return nil
}
