package pipelines

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"stillhouse"
	"stillhouse/distill/prompts"
	"stillhouse/train"
)

// An ArmsPlan is what training the students of a run would take at most: as if every prompt yielded the rows that the
// selection allows, each with the longest answer, and no filter dropped one. How many there will be, and how long, is
// known only when the teacher has answered. The arms have as many rows; one is trained after the other.
type ArmsPlan struct {
	Arms    []string       `json:"arms"`
	Each    train.Forecast `json:"each"`
	Seconds float64        `json:"seconds"` // of all arms
}

// planArms plans the trainings of a run of n prompts, each with so many rows; nil when it trains nothing. Prompts that are
// yet to be grown are taken to be like those that there are.
func (c *Config) planArms(ctx context.Context, n, rows int, runs string) (*ArmsPlan, error) {
	return c.planTrainings(ctx, n, train.PlanOptions{Dir: filepath.Join(runs, c.Name, "student"), Answers: rows, Answer: c.Distill.MaxTokens}, func(visit func(stillhouse.Prompt) error) error {
		_, err := c.scan(ctx, prompts.Sink{Prompt: visit})
		return err
	})
}

// planTrainings plans the trainings of a run of n prompts, which each visits.
func (c *Config) planTrainings(ctx context.Context, n int, o train.PlanOptions, each func(func(stillhouse.Prompt) error) error) (*ArmsPlan, error) {
	if c.Train == nil || n == 0 {
		return nil, nil
	}
	p := &ArmsPlan{Arms: []string{curatedArm}}
	if c.Eval != nil && slices.Contains(c.Eval.Arms, uncuratedArm) {
		p.Arms = append(p.Arms, uncuratedArm)
	}
	if err := each(func(prompt stillhouse.Prompt) error {
		row := train.Row{Name: fmt.Sprintf("prompt %q", prompt.ID)}
		var err error
		if row.Prompt, err = json.Marshal(prompt.Prompt); err != nil {
			return err
		}
		if prompt.Tools != nil {
			row.Tools = json.RawMessage(*prompt.Tools)
		}
		o.Prompts = append(o.Prompts, row)
		return nil
	}); err != nil {
		return nil, err
	}
	for there := len(o.Prompts); there > 0 && len(o.Prompts) < n; {
		o.Prompts = append(o.Prompts, o.Prompts[len(o.Prompts)%there])
	}
	if o.Prompts = o.Prompts[:min(n, len(o.Prompts))]; len(o.Prompts) == 0 {
		return nil, nil
	}
	var err error
	if p.Each, err = train.PlanTraining(ctx, *c.Train, o); err != nil {
		return nil, err
	}
	p.Seconds = float64(len(p.Arms)) * p.Each.Seconds
	return p, nil
}

// writeArms writes the plan of a run's trainings for people.
func writeArms(w io.Writer, student string, p *ArmsPlan) {
	f := p.Each
	fmt.Fprintf(w, "Train %s: %d updates at most", student, f.Updates)
	if len(p.Arms) > 1 {
		fmt.Fprintf(w, " for each of %d arms", len(p.Arms))
	}
	fmt.Fprintf(w, ", if every prompt yields its rows and every answer is as long as may be: %d rows, %d tokens, the longest row has %d.\n", f.Rows, f.Tokens, f.Longest)
	writeTraining(w, f)
	if f.AvailableMiB > 0 && f.PeakMiB > f.AvailableMiB {
		fmt.Fprintf(w, "  should the rows be so long, they would not fit: lower max_length or distill.max_tokens, or free memory\n")
	}
	if len(p.Arms) > 1 {
		fmt.Fprintf(w, "  for all arms %s\n", train.Duration(p.Seconds))
	}
}
