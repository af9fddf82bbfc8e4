package pipelines

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"stillhouse/train"
)

// Planned is what a plan can be asked for: a run's, or a training's.
type Planned interface {
	WriteText(w io.Writer) error
}

// PlanFile says what the config in a file would do, whether it is a run's or that of training alone: a run has prompts.
func PlanFile(ctx context.Context, path string) (Planned, error) {
	if !trainsAlone(path) {
		c, err := Load(path)
		if err != nil {
			return nil, err
		}
		p, err := MakePlan(ctx, c)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	c, err := LoadTraining(path)
	if err != nil {
		return nil, err
	}
	f, err := train.PlanTraining(ctx, c.Train, nil)
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
	fmt.Fprintf(&text, "memory: %d MiB at most, of %d MiB that are there\n", p.PeakMiB, p.AvailableMiB)
	fmt.Fprintf(&text, "  model %d, gradients %d, optimiser %d, activations of %d tokens at once %d\n", p.ModelMiB, p.GradientsMiB, p.OptimiserMiB, p.PassTokens, p.ActivationsMiB)
	fmt.Fprintf(&text, "time: about %s on this machine, whose products run at %.0f GFLOP/s\n", time.Duration(p.Seconds*float64(time.Second)).Round(100*time.Millisecond), p.GEMM)
	_, err := io.WriteString(w, text.String())
	return err
}

// trainsAlone says whether the file is a config of training alone. What cannot be read is a run's: reading it will say why.
func trainsAlone(path string) bool {
	text, err := os.ReadFile(path)
	var keys map[string]yaml.Node
	return err == nil && yaml.Unmarshal(text, &keys) == nil && keys["train"].Kind != 0 && keys["prompts"].Kind == 0 && keys["distill"].Kind == 0
}
