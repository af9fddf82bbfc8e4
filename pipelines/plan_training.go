package pipelines

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"stillhouse/train"
)

// Planned is what a plan can be asked for: a run's, or a training's.
type Planned interface {
	WriteText(w io.Writer) error
}

// PlanOptions say how a plan is made.
type PlanOptions struct {
	Runs string // the folder that the run would lie in, whose disk is measured
}

// PlanFile says what the config in a file would do, whether it is a run's or that of training alone: a run has prompts or candidates.
func PlanFile(ctx context.Context, path string, o PlanOptions) (Planned, error) {
	if o.Runs == "" {
		o.Runs = "runs"
	}
	if !trainsAlone(path) {
		c, err := Load(path)
		if err != nil {
			return nil, err
		}
		if c.Candidates != nil {
			p, err := planCuration(ctx, c, o)
			if err != nil {
				return nil, err
			}
			return p, nil
		}
		p, err := MakePlan(ctx, c, o)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	c, err := LoadTraining(path)
	if err != nil {
		return nil, err
	}
	f, err := train.PlanTraining(ctx, c.Train, train.PlanOptions{Dir: filepath.Join(o.Runs, c.Name, "student")})
	if err != nil {
		return nil, err
	}
	return TrainingPlan{c.Name, f}, nil
}

// A TrainingPlan is what a training alone would do.
type TrainingPlan struct {
	Run string `json:"run"`
	train.Forecast
}

// WriteText writes a plan for people.
func (p TrainingPlan) WriteText(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %d updates on %d rows, %d tokens, %d of them trained; the longest row has %d tokens\n", p.Run, p.Updates, p.Rows, p.Tokens, p.TrainedTokens, p.Longest)
	if p.Truncated > 0 {
		fmt.Fprintf(&text, "%d rows are cut to max_length, %d tokens in all\n", p.Truncated, p.Cut)
	}
	if p.Dropped > 0 {
		fmt.Fprintf(&text, "%d rows are dropped: nothing of them is trained\n", p.Dropped)
	}
	writeTraining(&text, p.Forecast)
	_, err := io.WriteString(w, text.String())
	return err
}

// writeTraining writes the memory and the time of a training, each with its parts.
func writeTraining(w io.Writer, f train.Forecast) {
	fmt.Fprintf(w, "memory: %d MiB at most", f.PeakMiB)
	if f.AvailableMiB > 0 {
		fmt.Fprintf(w, ", of %d MiB that are there", f.AvailableMiB)
	}
	fmt.Fprintf(w, "\n  %s\n", f.Memory())
	fmt.Fprintf(w, "time: about %s on this machine, whose products run at %.0f GFLOP/s%s\n  %s\n", train.Duration(f.Seconds), f.GEMM, f.Unsteady(), f.Parts())
}

// trainsAlone says whether the file is a config of training alone. What cannot be read is a run's: reading it will say why.
func trainsAlone(path string) bool {
	text, err := os.ReadFile(path)
	var keys map[string]yaml.Node
	return err == nil && yaml.Unmarshal(text, &keys) == nil && keys["train"].Kind != 0 && keys["prompts"].Kind == 0 && keys["distill"].Kind == 0 && keys["candidates"].Kind == 0
}
