package train

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A plan says by parts what a training takes, without its weights.
func TestPlanTraining(t *testing.T) {
	runs := t.TempDir()
	o := pasted(t, "{data: {path: "+golden+"sft/data/pc-20.jsonl}, max_steps: 3, save_steps: 2, questions: ['Who?'], peft: {merge: true}, eval_strategy: steps, eval_steps: 2, eval_split: 0.2}")
	o.Student = tiny
	f, err := PlanTraining(context.Background(), o, PlanOptions{Dir: filepath.Join(runs, "a", "b")})
	if err != nil {
		t.Fatal(err)
	}
	if f.Updates != 3 || f.Checkpoints != 1 || f.Evaluations != 2 || f.Rows >= 20 {
		t.Errorf("%+v", f)
	}
	for _, v := range []float64{f.Times.Start, f.Times.Updates, f.Times.Evaluations, f.Times.Checkpoints, f.Times.Saving, f.Times.Questions} {
		if !(v > 0) {
			t.Errorf("%+v", f.Times)
		}
	}
	for _, part := range []string{"updates (3) ", "evaluations (2) ", "checkpoints (1 of ", "writing the student", "questions, if every answer", "reading, loading"} {
		if !strings.Contains(f.Parts(), part) {
			t.Errorf("%q is not in %q", part, f.Parts())
		}
	}
	for _, part := range []string{"model ", "for the questions"} {
		if !strings.Contains(f.String(), part) {
			t.Errorf("%q is not in %q", part, f)
		}
	}
	if left, err := os.ReadDir(runs); err != nil || len(left) > 0 {
		t.Errorf("%v was left, %v", left, err)
	}
	o.FromScratch, o.PEFT, o.Student = true, nil, t.TempDir()
	if err := os.CopyFS(o.Student, os.DirFS(tiny)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(o.Student, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	if _, err := PlanTraining(context.Background(), o, PlanOptions{}); err != nil {
		t.Errorf("from scratch: %v", err)
	}
	o.FromScratch = false
	if _, err := PlanTraining(context.Background(), o, PlanOptions{}); err == nil || !strings.Contains(err.Error(), "no weights") {
		t.Errorf("without weights: %v", err)
	}
	file := filepath.Join(runs, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o.Student = tiny
	if _, err := PlanTraining(context.Background(), o, PlanOptions{Dir: filepath.Join(file, "x")}); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("below a file: %v", err)
	}
}

// Rows whose answers are not there yet are as long as these may become.
func TestPlanOfPrompts(t *testing.T) {
	ask := func(text string) Row {
		return Row{Name: text, Prompt: json.RawMessage(`[{"role": "user", "content": "` + text + `"}]`)}
	}
	plan := func(options string, answers, answer int, prompts ...Row) (Forecast, error) {
		o := pasted(t, options)
		o.Student = tiny
		return PlanTraining(context.Background(), o, PlanOptions{Prompts: prompts, Answers: answers, Answer: answer})
	}
	short, err := plan("{num_train_epochs: 1}", 2, 10, ask("a"), ask("b"))
	if err != nil {
		t.Fatal(err)
	}
	if short.Rows != 4 || short.TrainedTokens != 4*14 || short.Tokens != 4*int64(short.Longest) {
		t.Errorf("%+v", short)
	}
	full, err := plan("{num_train_epochs: 1, max_length: 64}", 1, 0, ask("a"))
	if err != nil || full.Longest != 64 || full.TrainedTokens >= 64 {
		t.Errorf("%+v, %v", full, err)
	}
	open, err := plan("{num_train_epochs: 1, max_length: null}", 1, 0, ask("a"))
	if err != nil || open.Longest != 512 { // the student's positions
		t.Errorf("%+v, %v", open, err)
	}
	if open.AvailableMiB == 0 || open.PeakMiB == 0 {
		t.Errorf("%+v", open)
	}
	if _, err = plan("{max_length: 2}", 1, 10, ask("a")); err == nil || !strings.Contains(err.Error(), "raise max_length") {
		t.Errorf("no room: %v", err)
	}
}
