package train

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"stillhouse/internal/student"
)

// A Line is one line of log.jsonl. The means are TRL's: of the updates' losses, and of the micro-batches' accuracies and
// entropies whatever their size, since the line before.
type Line struct {
	Step              int     `json:"step"`
	Epoch             float64 `json:"epoch"`
	Loss              float64 `json:"loss"`          // nats a trained token
	GradNorm          float64 `json:"grad_norm"`     // of this update, before clipping
	LearningRate      float64 `json:"learning_rate"` // that this update used
	NumTokens         int64   `json:"num_tokens"`    // seen so far, trained or not
	NumTrainedTokens  int64   `json:"num_trained_tokens"`
	MeanTokenAccuracy float64 `json:"mean_token_accuracy"`
	Entropy           float64 `json:"entropy"` // nats
	Pace

	Steps int           `json:"-"` // of the whole training
	Left  time.Duration `json:"-"` // until its end, at the pace so far
}

// String is the line for people.
func (l Line) String() string {
	return fmt.Sprintf("step %d/%d  epoch %.2f  loss %.4f  grad norm %.3g  lr %.3g  accuracy %.1f %%  %s  %s left",
		l.Step, l.Steps, l.Epoch, l.Loss, l.GradNorm, l.LearningRate, 100*l.MeanTokenAccuracy, l.Pace, l.Left.Round(time.Second))
}

// writeLine appends a line to log.jsonl.
func writeLine(w io.Writer, step int, line any) error {
	text, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("log: step %d: %w", step, err)
	}
	if _, err := w.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("log: step %d: %w", step, err)
	}
	return nil
}

// A tally is what has been seen since the last line.
type tally struct {
	Updates    int     `json:"updates"`
	Batches    int     `json:"batches"`
	Loss       float64 `json:"loss"` // of the updates, summed
	Accuracies float64 `json:"accuracies"`
	Entropies  float64 `json:"entropies"`
	Tokens     int64   `json:"tokens"`
	Labels     int64   `json:"labels"` // of the tokens, those that are trained
	since      time.Time
}

// add takes in a micro-batch. One without labels counts as 0, as in TRL.
func (t *tally) add(s student.Stats) {
	t.Batches++
	if s.Labels > 0 {
		t.Accuracies += float64(s.Correct) / float64(s.Labels)
		t.Entropies += s.Entropy / float64(s.Labels)
	}
}

// line fills in what the tally knows.
func (t *tally) line(l *Line) {
	l.Loss = t.Loss / float64(t.Updates)
	l.MeanTokenAccuracy = t.Accuracies / float64(t.Batches)
	l.Entropy = t.Entropies / float64(t.Batches)
}
