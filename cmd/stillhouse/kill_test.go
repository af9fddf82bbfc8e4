package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"stillhouse/distill"
	"stillhouse/internal/testkit"
)

// asking is a config that asks and takes what comes, with a response store of its own.
func asking(t *testing.T, dir, name, url, prompts, store string, more string) string {
	t.Helper()
	return write(t, dir, name+".yaml", fmt.Sprintf(`
prompts: {path: %s, prompt: q, reference: a}
distill: {endpoint: %q, identity: scripted, model: scripted, samples: 2, max_tokens: 40, store: %s%s}
curate: {rewards: [{length: {max_tokens: 40}}], select: {min_reward: 0}}
`, prompts, url, store, more))
}

// begun starts this program as a process of its own.
func begun(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &said
}

// requestsIn are the bodies of the requests whose answers are in a store, which must be whole.
func requestsIn(t *testing.T, path string) map[string]bool {
	t.Helper()
	r, err := distill.ReadStore(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	v, err := r.Verify(t.Context())
	if err != nil || !v.Whole() {
		t.Fatalf("%v: %+v", err, v)
	}
	var packed bytes.Buffer
	if _, err := r.Export(t.Context(), &packed, distill.Selection{}, func(d distill.Damage) { t.Error(d) }); err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(&packed)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	bodies := map[string]bool{}
	for lines := bufio.NewReader(z); ; {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return bodies
		}
		var l struct{ Request string }
		if err != nil || json.Unmarshal(line, &l) != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if l.Request != "" {
			bodies[l.Request] = true
		}
	}
}

// TestDistillationIsKilled kills a run of 2,000 requests at 20 random moments and begins it again each time. What was
// answered is in the store but for what was on its way, and nothing of that is sent again; the shards are those of a run
// left alone.
func TestDistillationIsKilled(t *testing.T) {
	const requests, kills, concurrency = 2000, 20, 16
	inProject(t)
	dir := t.TempDir()
	draw := rand.New(rand.NewPCG(20, 26))
	var moments []int // a request's number each
	for i := range kills {
		moments = append(moments, i*requests/kills+draw.IntN(requests/kills))
	}
	var mu sync.Mutex
	var running *exec.Cmd
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums, Fault: func(c testkit.Call) *testkit.Fault {
		mu.Lock()
		defer mu.Unlock()
		if running != nil && len(moments) > 0 && c.Number >= moments[0] {
			moments = moments[1:]
			if err := running.Process.Kill(); err != nil {
				t.Error(err)
			}
			running = nil
		}
		return nil
	}})
	store, prompts := filepath.Join(dir, "responses.db"), problems(t, dir, "prompts.jsonl", 0, requests)
	config := asking(t, dir, "run", teacher.URL(), prompts, store, fmt.Sprintf(", concurrency: %d", concurrency))
	sent := map[string]int{}     // how often the requests were sent whose answers were in the store at the last kill
	answered := map[string]int{} // how often requests had been answered at the last kill
	lost, runs := 0, 0
	for again := true; again; runs++ {
		if runs > kills {
			t.Fatal("it does not come to its end")
		}
		mu.Lock()
		cmd, said := begun(t, "run", config, "--runs", dir)
		running = cmd
		mu.Unlock()
		err := cmd.Wait()
		mu.Lock()
		again = running == nil
		running = nil
		mu.Unlock()
		if !again && err != nil {
			t.Fatalf("it ended by itself: %v: %s", err, said)
		}
		stored, books := requestsIn(t, store), teacher.Books()
		for body, n := range sent {
			if books[body].Requests != n {
				t.Errorf("run %d: sent again, though its answer was in the store: %s", runs, body)
			}
		}
		for body, book := range books {
			if stored[body] {
				sent[body] = book.Requests
			} else if book.Answered > answered[body] {
				lost++
			}
			answered[body] = book.Answered
		}
		// The endpoint may notice late that it has answered a dead process: so this holds for all kills together.
		if lost > (runs+1)*concurrency {
			t.Errorf("run %d: until now %d requests were answered and are not in the store, %d may have been on their way at each kill", runs, lost, concurrency)
		}
	}
	if len(moments) > 0 || runs != kills+1 {
		t.Errorf("%d kills are left, %d runs", len(moments), runs)
	}
	if n := teacher.Resent(); n > kills*concurrency {
		t.Errorf("%d requests were sent again after their answer, at most %d were on their way at a kill", n, kills*concurrency)
	}
	t.Logf("%d requests for %d answers, %d on their way at %d kills", teacher.Requests(), requests, lost, kills)

	alone := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	cmd, said := begun(t, "run", asking(t, t.TempDir(), "run", alone.URL(), prompts, filepath.Join(t.TempDir(), "alone.db"), ""), "--runs", filepath.Join(dir, "alone"))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	want, got := shards(t, filepath.Join(dir, "alone", "run")), shards(t, filepath.Join(dir, "run"))
	if len(want) < 3 || cmp.Diff(want, got) != "" {
		t.Errorf("of %d shards, some are not those of a run left alone", len(want))
	}
}

// TestRunsShareAStore has three processes ask on one store at the same time: two for the same prompts, one for half of
// them and others. The endpoint never answers the same twice, so that two runs which end the same have shared answers.
func TestRunsShareAStore(t *testing.T) {
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: func(c testkit.Call) testkit.Choice {
		return testkit.Choice{Content: fmt.Sprintf("answer %d/%d to %s", c.Number, c.Sample, c.Prompt())}
	}})
	const n = 600
	store := filepath.Join(dir, "responses.db")
	all, half := problems(t, dir, "all.jsonl", 0, n), problems(t, dir, "half.jsonl", n/2, n)
	var processes []*exec.Cmd
	var texts []*bytes.Buffer
	for name, prompts := range map[string]string{"one": all, "two": all, "three": half} {
		cmd, said := begun(t, "run", asking(t, dir, name, teacher.URL(), prompts, store, ", concurrency: 8"), "--runs", dir)
		processes, texts = append(processes, cmd), append(texts, said)
	}
	for i, cmd := range processes {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, texts[i])
		}
	}
	twice := 0
	for body, book := range teacher.Books() {
		if book.Requests > 3 {
			t.Errorf("sent %d times by 3 runs: %s", book.Requests, body)
		}
		twice += book.Requests - 1
	}
	if books := teacher.Books(); len(books) != n+n/2 {
		t.Errorf("%d requests, want %d", len(books), n+n/2)
	}
	t.Logf("%d requests of %d were sent by more than one run", twice, n+n/2)
	one, two := shards(t, filepath.Join(dir, "one")), shards(t, filepath.Join(dir, "two"))
	if d := cmp.Diff(one, two); d != "" || len(one) == 0 {
		t.Error("two runs for the same prompts ended with other shards")
	}
	rows := func(run string) map[string]string {
		code, stdout, stderr := cli(t, "inspect", filepath.Join(dir, run), "--rows", "candidates", "--limit", fmt.Sprint(2*n), "--json")
		var in struct {
			Rows []struct {
				Key        string `json:"request_key"`
				Completion json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(stdout), &in); err != nil || code != 0 || len(in.Rows) != 2*n {
			t.Fatalf("exit code %d: %v: %d rows: %s", code, err, len(in.Rows), stderr)
		}
		out := map[string]string{}
		for _, r := range in.Rows {
			out[r.Key] = string(r.Completion)
		}
		return out
	}
	shared, own := 0, rows("one")
	for key, completion := range rows("three") {
		if text, ok := own[key]; ok {
			shared++
			if text != completion {
				t.Errorf("key %s has two answers: %s and %s", key, text, completion)
			}
		}
	}
	if shared != n {
		t.Errorf("%d shared answers, want %d", shared, n)
	}
	asked := teacher.Requests()
	if code, _, stderr := cli(t, "run", asking(t, dir, "one", teacher.URL(), all, store, ""), "--runs", filepath.Join(dir, "again")); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if d := cmp.Diff(one, shards(t, filepath.Join(dir, "again", "one"))); d != "" || teacher.Requests() != asked {
		t.Errorf("a run on what is stored ended with other shards, or sent %d requests", teacher.Requests()-asked)
	}
}
