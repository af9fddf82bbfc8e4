package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stillhouse/internal/rundir"
	"stillhouse/internal/testkit"
)

// A listener calls a function when a word is written to it.
type listener struct {
	bytes.Buffer
	word string
	call func()
}

func (l *listener) Write(p []byte) (int, error) {
	n, err := l.Buffer.Write(p)
	if l.word != "" && strings.Contains(l.String(), l.word) {
		l.call()
	}
	return n, err
}

// TestInterrupted interrupts a run in a step after the other: each time it ends with its own exit code, and in the end
// it has made what a run left alone makes, and asked for nothing twice.
func TestInterrupted(t *testing.T) {
	inProject(t)
	alone, dir := t.TempDir(), t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	config := smallRun(t, alone, teacher.URL())
	if code, _, stderr := cli(t, "run", config, "--runs", alone); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	once := teacher.Requests()

	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, word := range []string{"prompts ", "step 2/", "evals/curated/answer ", "evals/base/answer "} {
		ctx, cancel := context.WithCancel(t.Context())
		var stdout bytes.Buffer
		stderr := &listener{word: word, call: cancel}
		code := execute(ctx, []string{"run", config, "--runs", dir}, &stdout, stderr)
		cancel()
		if code != exitInterrupted || stdout.Len() > 0 || !strings.Contains(stderr.String(), "interrupted") {
			t.Errorf("interrupted after %q: exit code %d, %q, %s", word, code, stdout.String(), stderr)
		}
		// The training that was stopped went on from where it was.
		if trained := strings.Contains(stderr.String(), "going on after step 2"); trained != (word == "evals/curated/answer ") {
			t.Errorf("interrupted after %q: a training went on: %t: %s", word, trained, stderr)
		}
	}
	if code, _, stderr := cli(t, "run", config, "--runs", dir); code != 0 {
		t.Errorf("going on: exit code %d: %s", code, stderr)
	}
	want, got := shards(t, filepath.Join(alone, "small")), shards(t, filepath.Join(dir, "small"))
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s is not what a run left alone makes", name)
		}
	}
	if n := teacher.Requests() - once; n != once {
		t.Errorf("%d requests, a run left alone needs %d", n, once)
	}
}

// trainingAlone is a config for `stillhouse train` with the given name.
func trainingAlone(t *testing.T, dir, name string) string {
	t.Helper()
	rows := write(t, dir, "rows.jsonl", strings.Repeat(`{"prompt": "What is 1+1?", "completion": "2"}`+"\n", 8))
	return write(t, dir, name+".yaml", "train: {student: testdata/parity/train/models/tiny-llama, data: {path: "+rows+"}, logging_steps: 1}\n")
}

// TestTrainingStandsAside trains where another process does so, and where a run lies: neither is touched.
func TestTrainingStandsAside(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	config := trainingAlone(t, dir, "busy")
	lock, err := rundir.Lock(filepath.Join(dir, "busy"))
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := cli(t, "train", config, "--runs", dir); code != exitInput || !strings.Contains(stderr, "in use by another process") {
		t.Errorf("beside another training: exit code %d: %s", code, stderr)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := cli(t, "train", config, "--runs", dir); code != 0 {
		t.Errorf("after it: exit code %d: %s", code, stderr)
	}
	if code, stdout, stderr := cli(t, "report", filepath.Join(dir, "busy")); code != 0 || !strings.Contains(stdout, "Training: ") {
		t.Errorf("the report of a training alone: exit code %d: %s%s", code, stdout, stderr)
	}

	config = trainingAlone(t, dir, "small")
	if err := os.Mkdir(filepath.Join(dir, "small"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "small"), rundir.ConfigFile, "name: small\n")
	if code, _, stderr := cli(t, "train", config, "--runs", dir); code != exitInput || !strings.Contains(stderr, "another name") {
		t.Errorf("over a run: exit code %d: %s", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "small", "student")); err == nil {
		t.Error("the run has another student now")
	}
}

// full is a disk, or a pipe, that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestOutputIsLost(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	config := write(t, dir, "short.yaml", `
prompts: {path: `+problems(t, dir, "prompts.jsonl", 10, 6)+`, prompt: q, reference: a}
distill: {endpoint: "`+teacher.URL()+`", model: scripted, samples: 2}
curate: {rewards: [math], select: {min_reward: 1}}
`)
	for _, args := range [][]string{{"run", config, "--runs", dir}, {"report", filepath.Join(dir, "short")}, {"report", filepath.Join(dir, "short"), "--json"}, {"inspect", filepath.Join(dir, "short")}, {"plan", config}, {"version"}, {"run", "--help"}} {
		var stderr bytes.Buffer
		if code := execute(t.Context(), args, full{}, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%v: exit code %d: %s", args, code, &stderr)
		}
	}
}

// TestVocabularies asks a model that has another vocabulary than its tokenizer.
func TestVocabularies(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		from := "testdata/models/demo-base"
		if strings.HasPrefix(name, "tokenizer") {
			from = "testdata/parity/train/models/tiny-llama"
		}
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, string(data))
	}
	for _, args := range [][]string{{"ask", dir, "hello"}, {"serve", dir, "--port", "0"}} {
		if code, _, stderr := cli(t, args...); code != exitInput || !strings.Contains(stderr, "do not belong together") {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
}
