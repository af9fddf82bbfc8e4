package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stillhouse/internal/testkit"
)

// TestMain lets a test start this program as a process of its own, which it can kill.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

const asProgram = "STILLHOUSE_TEST_AS_PROGRAM"

// sums answers about two in three additions rightly: which, follows from the seed.
func sums(c testkit.Call) testkit.Choice {
	var a, b int
	if _, err := fmt.Sscanf(c.Prompt(), "What is %d+%d?", &a, &b); err != nil {
		return testkit.Prose(c)
	}
	seed := int64(0)
	if c.Seed != nil {
		seed = *c.Seed
	}
	sum := a + b
	if r := rand.New(rand.NewPCG(uint64(seed), uint64(c.Sample))); r.IntN(3) == 0 {
		sum++
	}
	return testkit.Choice{Content: fmt.Sprintf("%d+%d=%d. #### %d", a, b, sum, sum)}
}

// problems writes n additions from the number first on.
func problems(t *testing.T, dir, name string, first, n int) string {
	t.Helper()
	var b strings.Builder
	for i := first; i < first+n; i++ {
		fmt.Fprintf(&b, `{"q": "What is %d+%d?", "a": "%d"}`+"\n", i, 7*i%50, i+7*i%50)
	}
	return write(t, dir, name, b.String())
}

// smallRun is a config that goes through every step in about a second.
func smallRun(t *testing.T, dir, url string) string {
	t.Helper()
	return write(t, dir, "small.yaml", `
name: small
prompts: {path: `+problems(t, dir, "prompts.jsonl", 10, 24)+`, prompt: q, reference: a}
distill: {endpoint: "`+url+`", model: scripted, samples: 4, max_tokens: 40, concurrency: 4}
curate: {rewards: [math, {length: {max_tokens: 40, weight: 0.1}}], select: {min_reward: 1}}
filter: [truncated, refusal, exact, {minhash: {threshold: 0.8}}]
train: {student: testdata/parity/train/models/tiny-llama, num_train_epochs: 1, per_device_train_batch_size: 4, logging_steps: 2, learning_rate: 1e-3, save_steps: 1}
eval: {path: `+problems(t, dir, "problems.jsonl", 100, 6)+`, prompt: q, reference: a, samples: 2, max_tokens: 12, arms: [curated, uncurated, base]}
`)
}

func TestRun(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	config := smallRun(t, dir, teacher.URL())

	code, stdout, stderr := cli(t, "run", config, "--runs", dir, "--json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var report struct {
		Ledger map[string]struct {
			In, Kept        int64
			Dropped, Failed map[string]int64
			Balanced        bool
		}
		Train struct {
			Steps    int
			Tokens   int64
			LossLast float64 `json:"loss_last"`
		}
		Eval struct {
			Arms map[string]struct {
				N, Samples                  int
				Accuracy, Low, High, Greedy float64
			}
			Difference *struct{ Value, Low, High float64 }
		}
	}
	decode(t, stdout, &report)
	for _, step := range []string{"prompts", "distill", "curate", "filter", "train"} {
		if b := report.Ledger[step]; !b.Balanced || b.In == 0 || b.Dropped == nil || b.Failed == nil {
			t.Errorf("%s: %+v", step, b)
		}
	}
	l := report.Ledger
	if l["distill"].In != 24*4 || l["curate"].In != l["distill"].Kept || l["filter"].In != l["curate"].Kept || l["train"].In != l["filter"].Kept {
		t.Errorf("the steps do not follow each other: %+v", l)
	}
	if report.Train.Steps == 0 || report.Train.Tokens == 0 || report.Train.LossLast <= 0 {
		t.Errorf("train: %+v", report.Train)
	}
	for _, arm := range []string{"curated", "uncurated", "base"} {
		if a := report.Eval.Arms[arm]; a.N != 6 || a.Samples != 2 || a.Low > a.Accuracy || a.Accuracy > a.High {
			t.Errorf("%s: %+v", arm, a)
		}
	}
	if report.Eval.Difference == nil {
		t.Error("no difference")
	}

	// The same command again has nothing to do and asks nothing.
	asked := teacher.Requests()
	if code, again, stderr := cli(t, "run", config, "--runs", dir, "--json"); code != 0 || again != stdout {
		t.Errorf("again: exit code %d, %s\n%s", code, stderr, cmp.Diff(stdout, again))
	}
	// A step again on what the earlier ones left makes the same.
	before := shards(t, filepath.Join(dir, "small"))
	if code, _, stderr := cli(t, "run", config, "--runs", dir, "--from", "curate"); code != 0 {
		t.Errorf("--from curate: exit code %d: %s", code, stderr)
	}
	if d := cmp.Diff(before, shards(t, filepath.Join(dir, "small"))); d != "" {
		t.Errorf("--from curate made something else: %s", d)
	}
	if n := teacher.Requests(); n != asked {
		t.Errorf("%d requests were sent again", n-asked)
	}

	// Another config for the same run is refused by its keys.
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	other := write(t, dir, "other.yaml", strings.Replace(string(text), "max_tokens: 40, concurrency: 4", "max_tokens: 50, concurrency: 2", 1))
	code, _, stderr = cli(t, "run", other, "--runs", dir)
	if code != exitInput || !strings.Contains(stderr, "distill.max_tokens") || strings.Contains(stderr, "concurrency") {
		t.Errorf("another config: exit code %d: %s", code, stderr)
	}

	// What a run left can be looked at, exported and asked.
	run := filepath.Join(dir, "small")
	for _, args := range [][]string{
		{"report", run}, {"inspect", run}, {"inspect", run, "--rows", "dropped/curate"}, {"inspect", run, "--rows", "kept", "--json"},
		{"export", run, filepath.Join(dir, "exported")}, {"ask", filepath.Join(run, "student"), "What is 1+1?", "--max-tokens", "3"}, {"plan", config}, {"validate", config},
	} {
		if code, _, stderr := cli(t, args...); code != 0 {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
	if code, _, _ := cli(t, "export", run, filepath.Join(dir, "exported")); code != exitInput {
		t.Errorf("exported over what was there: exit code %d", code)
	}
}

// TestUnbalanced tampers with a shard: the report says so with an exit code of its own.
func TestUnbalanced(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	config := write(t, dir, "small.yaml", `
prompts: {path: `+problems(t, dir, "prompts.jsonl", 10, 6)+`, prompt: q, reference: a}
distill: {endpoint: "`+teacher.URL()+`", model: scripted, samples: 2}
curate: {rewards: [math], select: {min_reward: 1}}
`)
	if code, _, stderr := cli(t, "run", config, "--runs", dir); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if err := os.Remove(filepath.Join(dir, "small", "dropped", "curate", "part-00000.parquet")); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := cli(t, "report", filepath.Join(dir, "small")); code != exitUnbalanced {
		t.Errorf("exit code %d, not %d: %s", code, exitUnbalanced, stderr)
	}
}

// kills is how often the run of TestKill is killed.
const kills = 12

// TestKill kills a run at random moments, in whatever step it is then, and starts it again: in the end its shards are
// those of a run left alone, byte for byte, and no request was sent again whose answer was in the store.
func TestKill(t *testing.T) {
	inProject(t)
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	alone, killed := t.TempDir(), t.TempDir()
	config := smallRun(t, alone, teacher.URL())

	start := time.Now()
	if err := program(t.Context(), t.TempDir(), "run", config, "--runs", alone); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(start)
	requests := teacher.Requests()

	cache := t.TempDir()
	random := rand.New(rand.NewPCG(7, 7))
	reached := map[string]int{}
	for range kills {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration((0.05+0.5*random.Float64())*float64(whole)))
		err := program(ctx, cache, "run", config, "--runs", killed)
		if ctx.Err() == nil && err != nil {
			t.Fatal(err)
		}
		cancel()
		reached[furthest(filepath.Join(killed, "small"))]++
		if err == nil { // it got to its end: begin anew, with what the store has
			if err := os.RemoveAll(filepath.Join(killed, "small")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := program(t.Context(), cache, "run", config, "--runs", killed); err != nil {
		t.Fatal(err)
	}
	t.Logf("killed after %v", reached)
	if d := cmp.Diff(shards(t, filepath.Join(alone, "small")), shards(t, filepath.Join(killed, "small"))); d != "" {
		t.Errorf("the killed run left something else: %s", d)
	}
	// What was on its way when a run was killed may be asked once more, 4 at a time; nothing else.
	if again := teacher.Requests() - 2*requests; again < 0 || again > kills*4 {
		t.Errorf("%d requests were sent again after %d kills", again, kills)
	}
}

// program runs this program as a process of its own with a cache directory, until ctx kills it.
func program(ctx context.Context, cache string, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "XDG_CACHE_HOME="+cache)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, out)
	}
	return nil
}

// furthest is the last folder that a run has begun.
func furthest(run string) string {
	last := "nothing"
	for _, name := range []string{"prompts", "candidates", "scored", "samples", "kept", "student", "arms/uncurated/student", "evals/curated", "evals/uncurated", "evals/base"} {
		if _, err := os.Stat(filepath.Join(run, name)); err == nil {
			last = name
		}
	}
	return last
}

// shards reads all Parquet files and the students' weights of a run.
func shards(t *testing.T, run string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(run, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if ext := filepath.Ext(path); ext != ".parquet" && ext != ".safetensors" && e.Name() != "ledger.json" {
			return nil
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(run, path)
		files[name] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}
