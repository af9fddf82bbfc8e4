package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/distill"
	"stillhouse/internal/rundir"
	"stillhouse/internal/student"
)

// question asks a server for a greedy answer of 12 tokens.
func question(t *testing.T, url, model, text string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"model": model, "temperature": 0, "max_tokens": 12, "messages": []map[string]string{{"role": "user", "content": text}},
		"chat_template_kwargs": map[string]any{"enable_thinking": false}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(url+"/chat/completions", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	said, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(said, &answer)
	}
	if err != nil || len(answer.Choices) != 1 {
		t.Fatalf("%s: %v", said, err)
	}
	return answer.Choices[0].Message.Content
}

// asked is what `ask` says.
func asked(t *testing.T, model, text string) string {
	t.Helper()
	out, err := Ask(t.Context(), model, []string{text}, AskOptions{MaxTokens: 12, TopP: 1})
	if err != nil {
		t.Fatal(err)
	}
	return out[0].Answer
}

// A server over an adapter directory says what the merged model says, and not what the base does.
func TestServeAdapter(t *testing.T) {
	for run, base := range map[string]string{"g-dora": "tiny-llama", "m-qwen3-lora": "tiny-qwen3"} {
		dir := adapterStudent(t, run, base)
		read, write := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			err := Serve(ctx, dir, ServeOptions{Host: "127.0.0.1", UI: UI{Out: write}})
			ended <- errors.Join(err, write.Close())
		}()
		line := make([]byte, 1000)
		n, err := read.Read(line)
		if err != nil {
			t.Fatalf("%v, %v", err, <-ended)
		}
		said := string(line[:n])
		url := regexp.MustCompile(`http://\S+/v1`).FindString(said)
		if !strings.HasPrefix(said, "Serving student at ") || url == "" {
			t.Errorf("%q", said)
		}
		const text = "How are you?"
		if got, want := question(t, url, "student", text), asked(t, dir, text); got != want || got == asked(t, goldens+"models/"+base, text) {
			t.Errorf("%s: the server says %q, ask %q, the base %q", run, got, want, asked(t, goldens+"models/"+base, text))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// An embedded teacher that is an adapter directory teaches what the merged model says.
func TestTeacherAdapter(t *testing.T) {
	dir := adapterStudent(t, "m-qwen3-lora", "tiny-qwen3")
	o := distill.Options{Endpoint: distill.Embedded, Model: dir}
	teacher, err := serveTeacher(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	defer teacher.Close()
	const text = "How are you?"
	if got, want := question(t, o.Endpoint, dir, text), asked(t, dir, text); got != want {
		t.Errorf("the teacher says %q, ask %q", got, want)
	}
	if with, err := fingerprint(filepath.Join(dir, "tiny-qwen3"), dir); err != nil || o.Identity != with {
		t.Errorf("its identity is %s, not %s, %v", o.Identity, with, err)
	}
}

// Teachers are told apart by what they are also where they are single files.
func TestIdentityOfFiles(t *testing.T) {
	seen := map[string]string{}
	for _, file := range []string{"tiny-llama.F32.gguf", "tiny-llama.Q8_0.gguf", "tiny-llama.F16.gguf"} {
		id, err := fingerprint(goldens + "gguf/" + file)
		if err != nil || seen[id] != "" {
			t.Errorf("%s is taken for %s, %v", file, seen[id], err)
		}
		seen[id] = file
	}
	if _, err := fingerprint(t.TempDir()); err == nil || stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Errorf("a directory without a model has an identity: %v", err)
	}
}

// candidates reads the rows that a stage laid down.
func candidatesOf(t *testing.T, dir string) (all []stillhouse.Candidate) {
	t.Helper()
	src, err := rundir.ReadShards(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range src.Shards() {
		batch, err := src.Read(t.Context(), i, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := stillhouse.Candidates(batch)
		batch.Release()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rows...)
	}
	return all
}

// A run whose students are adapters evaluates them as they are asked: the base with the adapter merged.
func TestRunWithAdapters(t *testing.T) {
	dir := t.TempDir()
	var rows strings.Builder
	for i := range 8 {
		fmt.Fprintf(&rows, "{\"prompt\": \"What is %d+%d?\", \"answer\": \"%d\"}\n", i, i, 2*i)
	}
	problems := filepath.Join(dir, "rows.jsonl")
	if err := os.WriteFile(problems, []byte(rows.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	base := goldens + "models/tiny-llama"
	c, err := Load(writeConfig(t, fmt.Sprintf(`
name: adapters
prompts: {path: %[1]q, reference: answer}
distill: {endpoint: embedded, model: %[2]q, samples: 2, max_tokens: 12, store: %[3]q}
curate: {rewards: [{length: {max_tokens: 40}}], select: {best: 1}}
filter: []
train: {student: %[4]q, num_train_epochs: 2, per_device_train_batch_size: 2, learning_rate: 0.05, peft: {r: 4, init_lora_weights: false, target_modules: all-linear}}
eval: {path: %[1]q, reference: answer, samples: 1, max_tokens: 12, arms: [curated, uncurated, base]}
`, problems, adapterStudent(t, "g-lora", "tiny-llama"), filepath.Join(dir, "store"), base)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), c, RunOptions{Runs: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Eval.Arms) != 3 {
		t.Errorf("%+v", r.Eval)
	}
	greedy := map[string]string{}
	for arm, model := range map[string]string{curatedArm: "student", uncuratedArm: "arms/uncurated/student", baseArm: ""} {
		at := base
		if model != "" {
			at = filepath.Join(dir, "adapters", model)
			if !student.IsAdapter(at) || student.IsModel(at) {
				t.Errorf("%s is no adapter directory", at)
			}
		}
		for _, row := range candidatesOf(t, filepath.Join(dir, "adapters", "evals", arm, "candidates")) {
			if row.Sample != greedySample {
				continue
			}
			got := row.Completion[0].Content
			if want := asked(t, at, row.Prompt.Prompt[0].Content); got != want {
				t.Errorf("%s: %q was evaluated as %q, and ask says %q", arm, row.ID, got, want)
			}
			greedy[arm] += got
		}
	}
	if greedy[curatedArm] == greedy[baseArm] || greedy[uncuratedArm] == greedy[baseArm] {
		t.Errorf("the adapters change nothing: %q", greedy)
	}
}
