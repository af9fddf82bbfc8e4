//go:build interop

package pipelines

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"stillhouse/internal/metrics"
)

// A curve is what TensorBoard shows under a tag: value by step.
type curve map[int]float64

// tensorboard is what TensorBoard's own reader, through scripts/tensorboard_scalars.py, finds in a folder.
func tensorboard(t *testing.T, dir string) (curves map[string]curve, texts []string) {
	t.Helper()
	python := os.Getenv("STILLHOUSE_INTEROP_PYTHON")
	if python == "" {
		t.Fatal("STILLHOUSE_INTEROP_PYTHON is not set: run this by make test-interop, which installs what it needs")
	}
	var said strings.Builder
	cmd := exec.Command(python, "../scripts/tensorboard_scalars.py", dir)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scripts/tensorboard_scalars.py: %v\n%s", err, said.String())
	}
	var found struct {
		Scalars map[string][][2]float64
		Texts   []string
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	curves = map[string]curve{}
	for tag, list := range found.Scalars {
		curves[tag] = curve{}
		for _, p := range list {
			if v, twice := curves[tag][int(p[0])]; twice && v != p[1] { // evaluations tell train/epoch too, as transformers' do
				t.Errorf("%s has two values at step %v", tag, p[0])
			}
			curves[tag][int(p[0])] = p[1]
		}
	}
	return curves, found.Texts
}

// same holds a curve against values in double precision: event files have singles.
func (c curve) same(want curve) bool {
	if len(c) != len(want) {
		return false
	}
	for step, v := range want {
		got, ok := c[step]
		if !ok || math.Abs(got-v) > 1e-6*math.Abs(v)+1e-12 {
			return false
		}
	}
	return true
}

// TensorBoard reads the event files of a training: each number of its log.jsonl at its step, the arguments as a text.
func TestInteropTensorBoard(t *testing.T) {
	runs := t.TempDir()
	c, err := LoadTraining(writeConfig(t, fmt.Sprintf(`
name: curves
train: {student: %[1]smodels/tiny-llama, data: {path: %[1]ssft/data/pc-20.jsonl}, eval_data: {path: %[1]ssft/data/pc-eval.jsonl}, eval_strategy: steps, eval_steps: 2,
  max_steps: 5, logging_steps: 1, per_device_train_batch_size: 4, learning_rate: 1.0e-3, report_to: tensorboard}
`, goldens)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Train(context.Background(), c, RunOptions{Runs: runs}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(runs, "curves", "student", "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]curve{}
	for line := range strings.Lines(string(text)) {
		var l map[string]float64
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		for key, v := range l {
			tag := "train/" + key
			if name, ok := strings.CutPrefix(key, "eval_"); ok {
				tag = "eval/" + name
			}
			if key == "step" {
				continue
			}
			if want[tag] == nil {
				want[tag] = curve{}
			}
			want[tag][int(l["step"])] = v
		}
	}
	got, texts := tensorboard(t, filepath.Join(runs, "curves", "tensorboard"))
	if len(want["train/loss"]) != 5 || len(want["eval/loss"]) != 3 {
		t.Fatalf("the log has %v", want)
	}
	for tag, values := range want {
		if !got[tag].same(values) {
			t.Errorf("%s: TensorBoard reads %v, the log has %v", tag, got[tag], values)
		}
	}
	if !slices.Contains(texts, "args/text_summary") {
		t.Errorf("the texts are %q", texts)
	}
	if want["train/loss"][3] *= 1 + 1e-4; got["train/loss"].same(want["train/loss"]) {
		t.Error("another curve passes for the same")
	}
}

// A training that goes on from step 3 writes a new file; what the first said of later steps is forgotten.
func TestInteropTensorBoardResumed(t *testing.T) {
	dir, at := t.TempDir(), time.Unix(1_700_000_000, 0)
	for _, part := range []struct {
		after, last int
		add         float64
	}{{0, 6, 0}, {3, 8, 100}} {
		e, err := metrics.CreateEvents(dir, at, part.after)
		if err != nil {
			t.Fatal(err)
		}
		for step := part.after + 1; step <= part.last; step++ {
			at = at.Add(time.Second)
			if err := e.Scalars(step, at, []metrics.Scalar{{Name: "train/loss", Value: float64(step) + part.add}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := tensorboard(t, dir)
	if want := (curve{1: 1, 2: 2, 3: 3, 4: 104, 5: 105, 6: 106, 7: 107, 8: 108}); !got["train/loss"].same(want) {
		t.Errorf("TensorBoard reads %v", got["train/loss"])
	}
}
