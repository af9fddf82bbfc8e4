package pipelines

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"stillhouse"
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

// planArms plans the trainings of a run; nil when it trains nothing.
func (c *Config) planArms(ctx context.Context, prompts []stillhouse.Prompt, rows int, runs string) (*ArmsPlan, error) {
	if c.Train == nil || len(prompts) == 0 {
		return nil, nil
	}
	p := &ArmsPlan{Arms: []string{curatedArm}}
	if c.Eval != nil && slices.Contains(c.Eval.Arms, uncuratedArm) {
		p.Arms = append(p.Arms, uncuratedArm)
	}
	o := train.PlanOptions{Dir: filepath.Join(runs, c.Name, "student"), Answers: rows, Answer: c.Distill.MaxTokens}
	for _, prompt := range prompts {
		row := train.Row{Name: fmt.Sprintf("prompt %q", prompt.ID)}
		var err error
		if row.Prompt, err = json.Marshal(prompt.Prompt); err != nil {
			return nil, err
		}
		if prompt.Tools != nil {
			row.Tools = json.RawMessage(*prompt.Tools)
		}
		o.Prompts = append(o.Prompts, row)
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
	if len(p.Arms) > 1 {
		fmt.Fprintf(w, "  for all arms %s\n", train.Duration(p.Seconds))
	}
}
