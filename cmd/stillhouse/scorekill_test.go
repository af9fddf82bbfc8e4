package main

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/mattn/go-sqlite3"

	"stillhouse/distill"
	"stillhouse/internal/testkit"
)

// TestScoringIsKilled kills a run several times in the middle of scoring, and begins it again each time: what was scored is
// not scored again, and the shards are those of a run left alone.
//
// So that a kill is in the middle whatever the machine does, the store itself holds the run up: at a certain number of
// scores a trigger never ends.
func TestScoringIsKilled(t *testing.T) {
	const prompts = 400 // in two shards
	inProject(t)
	dir := t.TempDir()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: sums})
	file := problems(t, dir, "prompts.jsonl", 0, prompts)
	config := func(store string) string {
		return write(t, t.TempDir(), "scored.yaml", fmt.Sprintf(`
prompts: {path: %s, prompt: q, reference: a}
distill: {endpoint: %q, identity: scripted, model: scripted, samples: 3, max_tokens: 40, store: %s}
curate: {rewards: [{math: {cache: true}}, {length: {max_tokens: 40, weight: 0.1}}, {majority: {cache: true, weight: 0.5}}], select: {min_reward: 0}}
`, file, teacher.URL(), store))
	}
	alone := filepath.Join(dir, "alone.db")
	if code, _, stderr := cli(t, "run", config(alone), "--runs", filepath.Join(dir, "alone")); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}

	path := filepath.Join(dir, "responses.db")
	s, err := distill.OpenStore(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=30000")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	do := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	number := func(query string) (n int) {
		t.Helper()
		if err := db.QueryRow(query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	do(`CREATE TABLE tries (reward TEXT)`)
	do(`CREATE TRIGGER count_tries BEFORE INSERT ON scores BEGIN INSERT INTO tries VALUES (new.reward); END`)
	run := config(path)
	kills := []int{1, 100, 101, 500, 900, 1300}
	for _, n := range kills {
		do(fmt.Sprintf(`CREATE TRIGGER hold_up BEFORE INSERT ON scores WHEN (SELECT count(*) FROM scores) >= %d
			BEGIN SELECT count(*) FROM (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x FROM c); END`, n))
		cmd, said := begun(t, "run", run, "--runs", filepath.Join(dir, "killed"))
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for number(`SELECT count(*) FROM scores`) < n {
			select {
			case err := <-ended:
				t.Fatalf("it ended by itself: %v: %s", err, said)
			default:
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-ended
		do(`DROP TRIGGER hold_up`)
		if now := number(`SELECT count(*) FROM scores`); now != n {
			t.Errorf("%d scores at the kill, want %d", now, n)
		}
	}
	cmd, said := begun(t, "run", run, "--runs", filepath.Join(dir, "killed"))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	// The votes of a prompt that were being kept at a kill are counted once more, for the sake of the one that wasn't kept.
	for reward, again := range map[string]int{"math": 0, "majority": len(kills) * runtime.GOMAXPROCS(0) * 2} {
		tried, scored := number(`SELECT count(*) FROM tries WHERE reward = '`+reward+`'`), number(`SELECT count(*) FROM scores WHERE reward = '`+reward+`'`)
		if tried < scored || tried > scored+again || scored <= prompts {
			t.Errorf("%d scores of %s were made %d times", scored, reward, tried)
		}
	}
	want, got := shards(t, filepath.Join(dir, "alone", "scored")), shards(t, filepath.Join(dir, "killed", "scored"))
	if len(want) < 8 || cmp.Diff(want, got) != "" {
		t.Errorf("of %d files, some are not those of a run left alone", len(want))
	}
}
