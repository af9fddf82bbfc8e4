package pipelines

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stillhouse/train"
)

// planned is a plan of a config, and its text.
func planned[T Planned](t *testing.T, config string) (plan T, text string) {
	t.Helper()
	dir := t.TempDir()
	p, err := PlanFile(t.Context(), writeConfig(t, config), PlanOptions{Runs: dir})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := p.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v was left, %v", left, err)
	}
	return p.(T), b.String()
}

// A run's plan says what the trainings of its arms take at most: every prompt with as many rows as the selection allows,
// each as long as the teacher's longest answer.
func TestPlanOfARun(t *testing.T) {
	rows := filepath.Join(t.TempDir(), "rows.jsonl")
	var b strings.Builder
	for i := range 6 {
		fmt.Fprintf(&b, "{\"prompt\": \"What is %d+%d?\", \"answer\": \"%d\"}\n", i, i, 2*i)
	}
	if err := os.WriteFile(rows, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	config := func(best int, arms string) string {
		return fmt.Sprintf(`
name: planned
prompts: {path: %[1]q, reference: answer}
distill: {endpoint: "http://127.0.0.1:9/v1", model: m, samples: 3, max_tokens: 20, store: %[2]q}
curate: {rewards: [math], select: {best: %[3]d}}
train: {student: %[4]q, num_train_epochs: 2, per_device_train_batch_size: 4}
eval: {path: %[1]q, reference: answer, samples: 1, arms: [%[5]s]}
`, rows, filepath.Join(t.TempDir(), "store"), best, goldens+"models/tiny-llama", arms)
	}
	one, text := planned[*Plan](t, config(1, "curated, base"))
	p := one.Training
	if len(p.Arms) != 1 || p.Each.Rows != 6 || one.Updates != 4 || p.Each.TrainedTokens != 2*6*24 || p.Seconds != p.Each.Seconds || p.Seconds <= 0 || p.Each.PeakMiB <= 0 {
		t.Errorf("%+v", p)
	}
	for _, part := range []string{"Train " + goldens + "models/tiny-llama: 4 updates at most, if every prompt yields its rows and every answer is as long as may be: 6 rows", "\nmemory: ", "\ntime: about ", "updates (4) "} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
	// More than are sampled cannot be kept.
	both, text := planned[*Plan](t, config(5, "curated, uncurated"))
	p = both.Training
	if len(p.Arms) != 2 || p.Each.Rows != 18 || p.Seconds != 2*p.Each.Seconds {
		t.Errorf("%+v", p)
	}
	if !strings.Contains(text, " for each of 2 arms, ") || !strings.Contains(text, "\n  for all arms ") {
		t.Error(text)
	}
	if raw, err := json.Marshal(both); err != nil || !strings.Contains(string(raw), `"training":{"arms":["curated","uncurated"],"each":{"rows":18,`) {
		t.Errorf("%s, %v", raw, err)
	}
	if none, text := planned[*Plan](t, strings.NewReplacer("train:", "# train:", "eval:", "# eval:").Replace(config(1, "base"))); none.Training != nil || strings.Contains(text, "memory") {
		t.Errorf("nothing is trained: %+v, %s", none.Training, text)
	}
}

// A bound that does not fit is told, and no error: what comes may be shorter.
func TestPlanOfARunThatMayNotFit(t *testing.T) {
	var b strings.Builder
	writeArms(&b, "s", &ArmsPlan{Arms: []string{curatedArm}, Each: train.Forecast{PeakMiB: 9000, AvailableMiB: 8000}})
	if !strings.Contains(b.String(), "they would not fit: lower max_length or distill.max_tokens") {
		t.Error(b.String())
	}
}

// A training's plan says memory and time by their parts.
func TestPlanOfATraining(t *testing.T) {
	p, text := planned[TrainingPlan](t, fmt.Sprintf("name: planned\ntrain: {student: %[1]smodels/tiny-llama, data: {path: %[1]ssft/data/pc-20.jsonl}, max_steps: 4, save_steps: 3, max_length: 64}\n", goldens))
	if p.Updates != 4 || p.Checkpoints != 1 || p.Seconds != p.Times.Sum() {
		t.Errorf("%+v", p)
	}
	for _, part := range []string{"planned: 4 updates on ", "are cut to max_length", "are dropped: nothing of them is trained", "\nmemory: ", " MiB that are there\n  model ", ", optimiser ", ", activations of ",
		"\ntime: about ", "\n  reading, loading and measuring ", ", updates (4) ", ", checkpoints (1 of ", ", writing the student ("} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}
