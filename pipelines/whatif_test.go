package pipelines

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/internal/rundir"
)

// drawScored draws the scored candidates of a prompt: of all lengths, rewards and verdicts.
func drawScored(r *rand.Rand, prompt, k int) (rows []stillhouse.Scored) {
	id := fmt.Sprintf("prompt-%07d", prompt)
	ease := r.Float64()
	for s := range k {
		c := stillhouse.Candidate{Sample: int32(s), FinishReason: "stop", PromptTokens: 20 + int32(prompt%30), CompletionTokens: 20 + int32(r.IntN(300)), Model: "m", RequestKey: id}
		c.ID, c.Source = id, "drawn"
		c.Prompt.Prompt = []stillhouse.Message{{Role: "user", Content: "How many is that, in all?"}}
		answer, verdict := 7, stillhouse.Right
		if r.Float64() > ease {
			answer, verdict = r.IntN(5), stillhouse.Wrong
		}
		text := strings.Repeat("One step follows from another, and then there is the next. ", 1+r.IntN(4)) + fmt.Sprintf("#### %d", answer)
		c.Completion = []stillhouse.Message{{Role: "assistant", Content: text}}
		score := 0.0
		if verdict == stillhouse.Right {
			score = 1
		}
		reward := score + float64(r.IntN(4))/40
		if r.IntN(50) == 0 {
			verdict, reward = stillhouse.Timeout, math.NaN()
		}
		rows = append(rows, stillhouse.Scored{Candidate: c, Reward: reward, Scores: []stillhouse.Score{
			{Name: "math", Score: score, Verdict: verdict, Evidence: "read 7 from \"#### 7\", reference 7"}, {Name: "length", Score: 1, Verdict: stillhouse.Right, Evidence: "in range"}}})
	}
	return rows
}

// drawnRun lays down a run whose candidates are scored: so many prompts with k each.
func drawnRun(t testing.TB, n, k int) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "drawn.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
prompts: {path: rows.jsonl, reference: answer}
distill: {endpoint: "http://127.0.0.1:9/v1", model: m, samples: %d}
curate: {rewards: [math, {length: {max_tokens: 400, weight: 0.1}}], select: {min_reward: 1}}
`, k), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Load(config)
	if err != nil {
		t.Fatal(err)
	}
	resolved, err := c.Resolved()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "drawn")
	d, err := rundir.Open(path, resolved, rundir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r := rand.New(rand.NewPCG(1, 2))
	sink := d.Sink("scored", "score")
	for shard := 0; shard*shardPrompts < n; shard++ {
		var rows []stillhouse.Scored
		for p := shard * shardPrompts; p < min(n, (shard+1)*shardPrompts); p++ {
			rows = append(rows, drawScored(r, p, k)...)
		}
		batch := stillhouse.ScoredBatch(memory.DefaultAllocator, rows)
		sum := int64(len(rows))
		if err := sink.Write(context.Background(), shard, stillhouse.Shard{Kept: batch, Account: stillhouse.Account{In: sum, Kept: sum}}); err != nil {
			t.Fatal(err)
		}
		batch.Release()
	}
	if _, err := d.WriteLedger(); err != nil {
		t.Fatal(err)
	}
	return path
}

// What a table says of a selection is what the stage keeps.
func TestWhatIfIsWhatIsKept(t *testing.T) {
	dir := drawnRun(t, 300, 6) // two shards
	c, d, err := scoredRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	selects := append(Grid(c), curate.Select{Policy: curate.PolicyMajority, Best: 2}, curate.Select{Policy: curate.PolicyRightDistinct, Similarity: 0.5},
		curate.Select{Policy: curate.PolicyShortestRight, Right: "length"}, curate.Select{Policy: curate.PolicyPairs, Margin: 0.5, MaxLengthDifference: new(30)})
	if len(selects) < 14 {
		t.Errorf("%d selections", len(selects))
	}
	w, err := TryIf(t.Context(), dir, WhatIfOptions{Selects: selects})
	if err != nil {
		t.Fatal(err)
	}
	if w.Prompts != 300 || w.Candidates != 1800 || len(w.Tries) != len(selects) {
		t.Errorf("%d prompts, %d candidates, %d tries", w.Prompts, w.Candidates, len(w.Tries))
	}
	rows, err := scoredRows(t.Context(), d, "scored")
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range selects {
		var want curate.Outcome
		reward, rated := 0.0, 0
		for from := 0; from < len(rows); from += 6 {
			choice := s.Choose(rows[from : from+6])
			want.Rows += len(choice.Kept)
			want.KeptPrompts += min(1, len(choice.Kept))
			for _, at := range choice.Kept {
				want.CompletionTokens += int64(rows[from+at].CompletionTokens)
				if x := rows[from+at].Reward; !math.IsNaN(x) {
					reward, rated = reward+x, rated+1
				}
			}
			if choice.Rejected >= 0 {
				want.CompletionTokens += int64(rows[from+choice.Rejected].CompletionTokens)
			}
		}
		got := w.Tries[i]
		if got.Rows == 0 || got.Rows != want.Rows || got.KeptPrompts != want.KeptPrompts || got.CompletionTokens != want.CompletionTokens || math.Abs(got.MeanReward-reward/float64(rated)) > 1e-9 {
			t.Errorf("%s: %+v, not %+v", got.Select, got, want)
		}
		if got.Lengths.P10 > got.Lengths.P50 || got.Lengths.P50 > got.Lengths.P90 || got.Lengths.P90 > got.Lengths.Max || got.Lengths.Max < 100 {
			t.Errorf("%s: %+v", got.Select, got.Lengths)
		}
		harder := got.PassAt[1] > 0 && got.PassAt[1] < got.PassAt[2] && got.PassAt[2] < got.PassAt[4]
		if s.Right == "length" { // which all are
			harder = got.PassAt[1] == 1 && got.Right == 1
		}
		if !harder || len(got.PassAt) != 3 {
			t.Errorf("%s: %v", got.Select, got.PassAt)
		}
	}
	again, err := TryIf(t.Context(), dir, WhatIfOptions{Selects: selects})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w, again, cmp.AllowUnexported(WhatIf{})); d != "" {
		t.Error(d)
	}
	var b strings.Builder
	if err := w.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"1800 candidates for 300 prompts", "{policy: right_distinct, best: 4, band: [0.1, 0.9]}", strings.ToUpper("pass@4")} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("%q is not in\n%s", part, &b)
		}
	}
}

// A run that is not scored to its end, or holds damaged shards, is no table of zeros.
func TestWhatIfErrors(t *testing.T) {
	dir := drawnRun(t, 10, 2)
	for _, tc := range []struct {
		s    curate.Select
		want string
	}{
		{curate.Select{Band: []float64{0.6, 0.9}}, "of 2 samples no number of right ones is in it"},
		{curate.Select{Right: "maths"}, `did you mean "math"?`},
		{curate.Select{MinReward: new(2.0)}, "no candidate can have more than 1.1"},
	} {
		if _, err := TryIf(t.Context(), dir, WhatIfOptions{Selects: []curate.Select{tc.s}}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v", err)
		}
	}
	shard := filepath.Join(dir, "scored", "part-00000.parquet")
	data, err := os.ReadFile(shard)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(shard, data[:len(data)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := TryIf(t.Context(), dir, WhatIfOptions{}); err == nil || !strings.Contains(err.Error(), "part-00000.parquet is cut off, damaged") {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filepath.Join(dir, "ledger.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := TryIf(t.Context(), dir, WhatIfOptions{}); err == nil || !strings.Contains(err.Error(), "has not scored all its candidates yet") {
		t.Errorf("%v", err)
	}
}

const bigRun = "STILLHOUSE_TEST_BIG_RUN"

// TestMain makes the program what BenchmarkWhatIf measures, where it is started by that.
func TestMain(m *testing.M) {
	dir := os.Getenv(bigRun)
	if dir == "" {
		os.Exit(m.Run())
	}
	began := time.Now()
	w, err := TryIf(context.Background(), dir, WhatIfOptions{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Printf("WHATIF %d %d %f\n", w.Candidates, len(w.Tries), time.Since(began).Seconds())
}

// BenchmarkWhatIf tries the default grid on a million scored candidates and prints the time and the peak memory of a process that does only that.
func BenchmarkWhatIf(b *testing.B) {
	dir := drawnRun(b, 125_000, 8)
	for b.Loop() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), bigRun+"="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		var candidates, selections int
		var seconds float64
		_, line, _ := strings.Cut(string(out), "WHATIF ")
		if _, err := fmt.Sscanf(line, "%d %d %f", &candidates, &selections, &seconds); err != nil || candidates != 1_000_000 {
			b.Fatalf("%v: %s", err, out)
		}
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		b.ReportMetric(seconds, "s/table")
		b.ReportMetric(float64(selections), "selections")
		b.ReportMetric(float64(usage.Maxrss)/1024, "MiB")
		b.ReportMetric(cmd.ProcessState.UserTime().Seconds()+cmd.ProcessState.SystemTime().Seconds(), "cpu-s")
	}
}
