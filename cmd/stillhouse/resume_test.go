package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// longer is a config for `stillhouse train` of 24 updates with a line each.
func longer(t *testing.T, dir, more string) string {
	t.Helper()
	data := "testdata/parity/train/sft/data/"
	return write(t, dir, "longer.yaml", "train: {student: testdata/parity/train/models/tiny-llama, data: {path: "+data+"pc.jsonl, limit: 32}, per_device_train_batch_size: 2, "+
		"gradient_accumulation_steps: 2, num_train_epochs: 3, learning_rate: 1e-3, logging_steps: 1, eval_strategy: steps, eval_steps: 5, eval_data: {path: "+data+"pc-eval.jsonl}"+more+"}\n")
}

// signalled starts this program as a process of its own, sends it a signal when its text for people holds a word, and
// returns all the text and how the process ended.
func signalled(t *testing.T, word string, sig os.Signal, args ...string) (text string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(stderr)
	for sent := false; lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if !sent && word != "" && strings.Contains(lines.Text(), word) {
			sent = true
			if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
	}
	_, _ = io.Copy(io.Discard, stderr)
	return said.String(), cmd.Wait()
}

// studentIn reads what a training left: the weights, and the log but for what the clock says and the machine has.
func studentIn(t *testing.T, run string) (weights string, log []map[string]any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(run, "student", "model.safetensors"))
	if errors.Is(err, os.ErrNotExist) {
		data, err = os.ReadFile(filepath.Join(run, "student", "adapter_model.safetensors"))
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(run, "student", "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for key := range l {
			if strings.HasSuffix(key, "_per_s") || strings.HasSuffix(key, "_per_second") || strings.HasSuffix(key, "_runtime") ||
				key == "gemm_percent" || strings.HasSuffix(key, "memory_mib") {
				delete(l, key)
			}
		}
		log = append(log, l)
	}
	return string(data), log
}

// TestTrainingIsKilled kills a training with SIGKILL at random steps, time and again, until it gets to its end: its
// weights are those of a training left alone, to the bit, and so is its log.
func TestTrainingIsKilled(t *testing.T) {
	inProject(t)
	random := rand.New(rand.NewPCG(5, 5))
	for _, c := range [][2]string{
		{"", ", save_steps: 1"},
		{", packing: true, max_length: 200", ", save_steps: 3, save_total_limit: 2"},
		{", peft: {lora_dropout: 0.1, target_modules: all-linear}", ", save_steps: 2"},
	} {
		alone := t.TempDir()
		if code, _, stderr := cli(t, "train", longer(t, alone, c[0]), "--runs", alone); code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		weights, log := studentIn(t, filepath.Join(alone, "longer"))
		last := int(log[len(log)-1]["step"].(float64))
		more := c[0] + c[1]
		dir := t.TempDir()
		config := longer(t, dir, more)
		killed, resumed := 0, 0
		for at := 0; at < last; {
			at += 1 + random.IntN(6)
			text, err := signalled(t, fmt.Sprintf("step %d/%d", at, last), os.Kill, "train", config, "--runs", dir)
			if strings.Contains(text, "going on after step") {
				resumed++
			}
			if err == nil {
				break
			}
			killed++
		}
		if _, err := signalled(t, "", nil, "train", config, "--runs", dir); err != nil {
			t.Fatal(err)
		}
		if killed < 3 || resumed < 2 {
			t.Errorf("killed %d times, resumed %d times", killed, resumed)
		}
		got, gotLog := studentIn(t, filepath.Join(dir, "longer"))
		if got != weights {
			t.Errorf("%s: the weights are not those of a training left alone", more)
		}
		if d := cmp.Diff(log, gotLog); d != "" {
			t.Errorf("%s: another log: %s", more, d)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "longer", "[^.]*")); len(left) != 1 {
			t.Errorf("%v was left", left)
		}
	}
}

// TestSignals asks a training for a checkpoint with SIGUSR1, and ends it with Ctrl-C, which loses nothing.
func TestSignals(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	config := longer(t, dir, ", save_strategy: 'no'")
	text, err := signalled(t, "step 4/24", syscall.SIGUSR1, "train", config, "--runs", dir)
	if err != nil || strings.Count(text, "checkpoint of step ") != 1 {
		t.Fatalf("SIGUSR1: %v: %s", err, text)
	}
	weights, log := studentIn(t, filepath.Join(dir, "longer"))

	dir = t.TempDir()
	text, err = signalled(t, "step 4/24", os.Interrupt, "train", config, "--runs", dir)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted || strings.Count(text, "checkpoint of step ") != 1 || !strings.Contains(text, "interrupted. The same command goes on") {
		t.Fatalf("Ctrl-C: %v: %s", err, text)
	}
	code, _, stderr := cli(t, "train", config, "--runs", dir)
	if code != 0 || !strings.Contains(stderr, "going on after step ") || strings.Contains(stderr, "step 4/24") {
		t.Errorf("going on: exit code %d: %s", code, stderr)
	}
	got, gotLog := studentIn(t, filepath.Join(dir, "longer"))
	if got != weights || cmp.Diff(log, gotLog) != "" {
		t.Errorf("another student, or another log: %s", cmp.Diff(log, gotLog))
	}
}

// TestResumedAsAnother changes the config of a training that was stopped: it is refused by its keys, and the checkpoint
// stays.
func TestResumedAsAnother(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	if _, err := signalled(t, "step 4/24", os.Interrupt, "train", longer(t, dir, ""), "--runs", dir); err == nil {
		t.Fatal("not interrupted")
	}
	code, _, stderr := cli(t, "train", longer(t, dir, ", weight_decay: 0.1"), "--runs", dir)
	if code != exitInput || !strings.Contains(stderr, "train.weight_decay: it has 0, the config has 0.1") || !strings.Contains(stderr, "resume_from_checkpoint to false") {
		t.Errorf("another config: exit code %d: %s", code, stderr)
	}
	if code, _, stderr := cli(t, "train", longer(t, dir, ""), "--runs", dir); code != 0 || !strings.Contains(stderr, "going on after step ") {
		t.Errorf("the same config: exit code %d: %s", code, stderr)
	}
}
