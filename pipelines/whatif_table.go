package pipelines

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/jedib0t/go-pretty/v6/table"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/internal/rundir"
	"stillhouse/train"
)

// selectText is a selection as the config has it, on one line, without what is null.
func selectText(s curate.Select) (string, error) {
	var n yaml.Node
	if err := n.Encode(s); err != nil {
		return "", err
	}
	for i := 0; i+1 < len(n.Content); {
		if n.Content[i+1].Tag == "!!null" {
			n.Content = slices.Delete(n.Content, i, i+2)
			continue
		}
		i += 2
	}
	n.Style = yaml.FlowStyle
	text, err := yaml.Marshal(&n)
	return strings.Join(strings.Fields(string(text)), " "), err
}

// A trainingPace is how long a training takes on this machine, by its tokens.
type trainingPace struct {
	options  train.Options
	fixed    float64 // seconds, whatever is trained on
	perToken float64 // seconds
}

// pacePrompts are so many prompts whose rows are planned to measure the pace with.
const pacePrompts = 64

// pace measures by the planner of trainings how long the run's student takes for a token; nil when the run trains nothing. Rows are taken
// to be as long as the mean of all selections.
func (c *Config) pace(ctx context.Context, d *rundir.Dir, trials []*curate.Trial) (*trainingPace, error) {
	if c.Train == nil {
		return nil, nil
	}
	var rows, tokens int64
	for _, t := range trials {
		if o := t.Outcome(); t.Select.Policy != curate.PolicyPairs {
			rows += int64(o.Rows)
			tokens += o.CompletionTokens
		}
	}
	if rows == 0 {
		return nil, nil
	}
	src, err := d.Source("prompts")
	if err != nil {
		return nil, err
	}
	batch, err := src.Read(ctx, 0, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	prompts, err := stillhouse.Prompts(batch)
	batch.Release()
	if err != nil {
		return nil, err
	}
	o := train.PlanOptions{Answers: 1, Answer: int(tokens/rows) + 1}
	for _, p := range prompts[:min(len(prompts), pacePrompts)] {
		row := train.Row{Name: fmt.Sprintf("prompt %q", p.ID)}
		if row.Prompt, err = json.Marshal(p.Prompt); err != nil {
			return nil, err
		}
		if p.Tools != nil {
			row.Tools = json.RawMessage(*p.Tools)
		}
		o.Prompts = append(o.Prompts, row)
	}
	if len(o.Prompts) == 0 {
		return nil, nil
	}
	f, err := train.PlanTraining(ctx, *c.Train, o)
	if err != nil {
		return nil, err
	}
	return &trainingPace{options: *c.Train, fixed: f.Times.Start + f.Times.Saving, perToken: f.Times.Updates / float64(max(1, f.Tokens))}, nil
}

// seconds is about how long a training on what a selection keeps takes: its rows as the teacher counts their tokens, over the epochs that the
// config asks for. Evaluations and checkpoints are not in it.
func (p *trainingPace) seconds(t Tried, s curate.Select) float64 {
	if p == nil || s.Policy == curate.PolicyPairs || t.Rows == 0 {
		return 0
	}
	plan, err := p.options.Plan(t.Rows)
	if err != nil { // too few rows for a batch
		return 0
	}
	epochs := float64(plan.Updates) / float64(plan.UpdatesPerEpoch)
	return p.fixed + p.perToken*epochs*float64(t.PromptTokens+t.CompletionTokens)
}

// WriteText writes what selections would keep for people: a row for each, and one for what the candidates are.
func (w *WhatIf) WriteText(out io.Writer) error {
	fmt.Fprintf(out, "%s: %d candidates for %d prompts\n", w.Run, w.Candidates, w.Prompts)
	ks := map[int]bool{}
	for _, t := range w.Tries {
		for k := range t.PassAt {
			ks[k] = true
		}
	}
	tab := newTable(out)
	head := table.Row{"select", "prompts kept", "rows", "mean reward", "right", "tokens", "tokens a row: 10 % / 50 % / 90 % / max"}
	for _, k := range slices.Sorted(maps.Keys(ks)) {
		head = append(head, fmt.Sprintf("pass@%d", k))
	}
	if w.pace != nil {
		head = append(head, "training")
	}
	tab.AppendHeader(head)
	for _, t := range w.Tries {
		l := t.Lengths
		tokens, lengths := fmt.Sprint(t.CompletionTokens), fmt.Sprintf("%d / %d / %d / %d", l.P10, l.P50, l.P90, l.Max)
		if t.Rows > 0 && l.Max == 0 { // of files that count none
			tokens, lengths = "unknown", "unknown"
		}
		row := table.Row{t.Select, t.KeptPrompts, t.Rows, fmt.Sprintf("%.4f", t.MeanReward), percent(t.Right), tokens, lengths}
		for _, k := range slices.Sorted(maps.Keys(ks)) {
			if p, ok := t.PassAt[k]; ok {
				row = append(row, percent(p))
			} else {
				row = append(row, "")
			}
		}
		if w.pace != nil {
			if t.TrainingSeconds > 0 {
				row = append(row, train.Duration(t.TrainingSeconds))
			} else {
				row = append(row, "")
			}
		}
		tab.AppendRow(row)
	}
	tab.Render()
	if w.Note != "" {
		fmt.Fprintln(out, w.Note)
	}
	_, err := fmt.Fprintln(out, "pass@k is that of the teacher on the prompts that are kept: how hard they are for it. Filters, which come later, may drop rows.")
	return err
}
