package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stillhouse"
)

// A tight disk is full after so many bytes.
type tight struct {
	file
	left *int
}

func (d tight) Write(p []byte) (int, error) {
	if *d.left -= len(p); *d.left < 0 {
		return 0, syscall.ENOSPC
	}
	return d.file.Write(p)
}

// roomFor lets checkpoints write so many bytes in all.
func roomFor(bytes int) func(*Training) {
	return func(g *Training) {
		g.Checkpoints.create = func(path string) (file, error) {
			f, err := createFile(path)
			return tight{f, &bytes}, err
		}
	}
}

func stepsIn(t *testing.T, dir string) string {
	t.Helper()
	steps, err := (&Checkpoints{Dir: dir}).steps()
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	return fmt.Sprint(steps)
}

// A disk that is full while a checkpoint is written leaves the older one whole. The training goes on, unless its result
// needs the checkpoint, or it is stopped.
func TestCheckpointOnFullDisk(t *testing.T) {
	options := "{" + twenty + ", save_steps: 2}"
	alone := newTrial(t, options).whole()
	one := newTrial(t, options)
	if err := one.run(2); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	size := 0
	for _, name := range []string{weightsFile, optimizerFile, stateFile, logFile} {
		info, err := os.Stat(filepath.Join(one.dir, "checkpoint-2", name))
		if err != nil {
			t.Fatal(err)
		}
		size += int(info.Size())
	}
	for _, room := range []int{size + 100, size + size/2, 2*size - 100} {
		r := newTrial(t, options)
		r.change = roomFor(room)
		r.whole().same(alone)
		if text := strings.Join(r.said, "\n"); strings.Count(text, "no space left on device") != 3 || !strings.Contains(text, "that of step 2 is whole, and the training goes on") || !strings.Contains(text, "free some space") {
			t.Errorf("room for %d: %s", room, text)
		}
		if got := stepsIn(t, r.dir); got != "[2]" {
			t.Errorf("room for %d: the checkpoints are %s", room, got)
		}
		// Stopped then, it says so, and goes on from the older one.
		r = newTrial(t, options)
		r.change = roomFor(room)
		if err := r.run(5); !errors.Is(err, context.Canceled) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(strings.Join(r.said, "\n"), "that of step 2 is whole") {
			t.Errorf("stopped: %v: %s", err, r.said)
		}
		r.change = nil
		r.whole().same(alone)
	}
	r := newTrial(t, "{"+twenty+", save_strategy: no, load_best_model_at_end: true, eval_strategy: epoch, eval_data: {path: "+golden+"sft/data/pc-eval.jsonl}}")
	r.change = roomFor(size / 2)
	if err := r.run(0); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "train: step 5: checkpoint of step 5") {
		t.Errorf("the best: %v", err)
	}
}

// A process that is killed in the middle of a checkpoint leaves the older one, and what it left is removed.
func TestCheckpointIsCutOff(t *testing.T) {
	options := "{" + twenty + ", save_steps: 2}"
	alone := newTrial(t, options).whole()
	for files := range 5 {
		r := newTrial(t, options)
		r.change = func(g *Training) {
			made := 0
			g.Checkpoints.create = func(path string) (file, error) {
				if made++; made > 4+files { // in the second one
					panic("killed")
				}
				return createFile(path)
			}
		}
		func() {
			defer func() {
				if why := recover(); why != "killed" {
					t.Fatalf("%v", why)
				}
			}()
			_ = r.run(0)
		}()
		if files < 4 {
			if left, _ := filepath.Glob(filepath.Join(r.dir, ".*")); len(left) != 1 {
				t.Errorf("killed in file %d: %v", files, left)
			}
		}
		r.change = nil
		r.whole().same(alone)
		stepsIn(t, r.dir)
	}
}

// How many checkpoints are kept, and which.
func TestCheckpointsKept(t *testing.T) {
	eval := ", eval_strategy: steps, eval_steps: 3, eval_data: {path: " + golden + "sft/data/pc-eval.jsonl}"
	for options, want := range map[string]string{
		"save_steps: 2":                                   "[8]",
		"save_steps: 2, save_total_limit: 2":              "[6 8]",
		"save_steps: 0.2, save_total_limit: 0":            "[2 4 6 8]",
		"save_strategy: epoch":                            "[5]",
		"save_strategy: no":                               "[]",
		"save_steps: 500":                                 "[]",
		"save_strategy: best, save_total_limit: 2" + eval: "[6 9]",
		"save_steps: 4, metric_for_best_model: entropy, greater_is_better: false, load_best_model_at_end: true" + eval: "[3 8]",
		"save_strategy: no, metric_for_best_model: eval_entropy, load_best_model_at_end: true" + eval:                  "[9]",
	} {
		r := newTrial(t, "{"+twenty+", "+options+"}").whole()
		if got := stepsIn(t, r.dir); got != want {
			t.Errorf("%s: the checkpoints are %s, not %s", options, got, want)
		}
	}
}

// SIGUSR1's channel makes a checkpoint after the update that is under way.
func TestCheckpointNow(t *testing.T) {
	r := newTrial(t, "{"+twenty+", save_strategy: no}")
	now := make(chan os.Signal, 1)
	r.change = func(g *Training) { g.Checkpoints.Now = now }
	now <- syscall.SIGUSR1
	if r.whole(); stepsIn(t, r.dir) != "[1]" || len(r.said) != 1 || !strings.Contains(r.said[0], "checkpoint of step 1: ") {
		t.Errorf("%s: %v", stepsIn(t, r.dir), r.said)
	}
}

// The student at the end is that of the best evaluation.
func TestBestAtEnd(t *testing.T) {
	options := "{" + twenty + ", save_strategy: no, save_total_limit: 0, eval_strategy: steps, eval_steps: 2, metric_for_best_model: entropy, greater_is_better: false, load_best_model_at_end: true, eval_data: {path: " + golden + "sft/data/pc-eval.jsonl}}"
	r := newTrial(t, options).whole()
	best := 0
	for i, l := range r.evals {
		if l.Entropy < r.evals[best].Entropy {
			best = i
		}
	}
	if step := r.evals[best].Step; step == 10 || r.result.Best != step || r.result.Steps != 10 {
		t.Fatalf("%+v: the best evaluation was at step %d", r.result, step)
	}
	o := r.options
	o.EvalOnStart, o.EvalStrategy, o.LoadBestModelAtEnd, o.MaxSteps = true, "no", false, 1
	var found []EvalLine
	eval, _ := encodedBy(t, r.student, o.evaluation(), readAll(t, o.EvalData))
	if _, err := (Training{Options: o, Model: r.student.Model, Rows: eval, Eval: eval, Hooks: Hooks{Eval: func(l EvalLine) error { found = append(found, l); return nil }}}).Fit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if far(found[0].Entropy, r.evals[best].Entropy, 1e-9) || far(found[0].Loss, r.evals[best].Loss, 1e-9) {
		t.Errorf("the student says %+v, not %+v", found[0], r.evals[best])
	}
	if _, err := (Training{Options: r.options, Model: r.student.Model, Rows: eval, Eval: eval}).Fit(context.Background()); err == nil || !strings.Contains(err.Error(), "needs a place for checkpoints") {
		t.Errorf("without checkpoints: %v", err)
	}
}

// The evaluation before the first update is never the best one: no student is that of step 0.
func TestBestIsAfterAnUpdate(t *testing.T) {
	r := newTrial(t, "{"+twenty+", eval_strategy: steps, eval_steps: 2, eval_on_start: true, load_best_model_at_end: true, metric_for_best_model: entropy, greater_is_better: false, early_stopping_patience: 1, "+
		"eval_data: {path: "+golden+"sft/data/pc-eval.jsonl}}").whole()
	if r.evals[0].Step != 0 || r.evals[0].Entropy >= r.evals[1].Entropy || r.result.Best != 2 || r.result.Steps != 4 {
		t.Errorf("%+v: %v", r.result, r.evals)
	}
}

// Early stopping counts as transformers' callback does.
func TestEarlyStopping(t *testing.T) {
	for _, c := range []struct {
		options string
		losses  []float64
		stop    int // the evaluation after which it stops; 0 never
	}{
		{"early_stopping_patience: 2", []float64{5, 4, 4, 4.5, 3}, 4},
		{"early_stopping_patience: 2", []float64{5, 4, 4.2, 3.9, 4}, 0},
		{"{early_stopping_patience: 2, early_stopping_threshold: 0.5}", []float64{5, 4.6, 4.4, 3}, 3},
		{"{early_stopping_patience: 1, greater_is_better: true}", []float64{1, 2, 2}, 3},
		{"early_stopping_patience: 0", []float64{1, 2, 3, 4}, 0},
	} {
		o := pasted(t, "{eval_strategy: epoch, eval_data: {path: x}, "+strings.Trim(c.options, "{}")+"}")
		r := &trainer{options: o}
		stopped := 0
		for i, loss := range c.losses {
			if _, stop := r.judge(EvalLine{Step: i + 1, Loss: loss}); stop {
				stopped = i + 1
				break
			}
		}
		if stopped != c.stop {
			t.Errorf("%s of %v: stops after %d, not %d", c.options, c.losses, stopped, c.stop)
		}
	}
	r := newTrial(t, "{"+twenty+", eval_strategy: steps, eval_steps: 1, early_stopping_patience: 1, early_stopping_threshold: 100, eval_data: {path: "+golden+"sft/data/pc-eval.jsonl}}").whole()
	if r.result.Steps != 2 || !strings.Contains(strings.Join(r.said, "\n"), "stopped early after step 2") {
		t.Errorf("%+v: %v", r.result, r.said)
	}
}

// A gradient norm that stands out ends the training with the rows named and a checkpoint before it, from which it goes
// on when the key is raised.
func TestGradNormSpike(t *testing.T) {
	options := "per_device_train_batch_size: 1, learning_rate: 1e-5, num_train_epochs: 1, save_strategy: no"
	r := newTrial(t, "{"+options+", max_grad_norm_spike: 1.2}")
	err := r.run(0)
	if err == nil || !strings.Contains(err.Error(), "times the median of the last") || !strings.Contains(err.Error(), "with the rows pc-20.jsonl line") || stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Fatalf("%v", err)
	}
	at := r.result.Steps
	if got := stepsIn(t, r.dir); at < guardLeast || got != fmt.Sprintf("[%d]", at) || !strings.Contains(err.Error(), fmt.Sprintf("train: step %d: ", at+1)) {
		t.Errorf("after %d steps the checkpoints are %s: %v", at, got, err)
	}
	r.options.MaxGradNormSpike = 0
	r.whole().same(newTrial(t, "{"+options+"}").whole())
}
