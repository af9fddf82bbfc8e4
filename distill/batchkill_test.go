package distill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/testkit"
)

var errStopped = errors.New("stopped")

// stopAt ends a process the nth time that it comes to a step.
func stopAt(step string, n int) func(string) error {
	var mu sync.Mutex
	return func(at string) error {
		mu.Lock()
		defer mu.Unlock()
		if at == step {
			n--
		}
		if n <= 0 {
			return errStopped
		}
		return nil
	}
}

// A process may end after each step. The next one goes on there: no file is lost, no batch is made twice, and nothing that
// was answered is asked again.
func TestBatchGoesOn(t *testing.T) {
	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(40))
	for step, times := range map[string]int{"upload": 3, "create": 3, "poll": 4, "store": 40, "fetch": 3} {
		for at := 1; at <= times; at += 1 + times/8 {
			t.Run(fmt.Sprintf("%s %d", step, at), func(t *testing.T) {
				teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Polls: 2}})
				three := func(d *Distill) { d.Batch.MaxRequests = 15 }
				d := newStage(t, teacher, inBatches, three)
				require.NoError(t, d.Open(context.Background()))
				d.asker.batch.stop = stopAt(step, at)
				_, err := filled(context.Background(), d, questions(40))
				require.ErrorIs(t, err, errStopped)
				require.NoError(t, d.Close())

				next := newStage(t, teacher, inBatches, three, inStore(d.Store))
				assert.Empty(t, cmp.Diff(want, mustFill(t, next, questions(40))))
				assert.Equal(t, []int{15, 15, 10}, teacher.BatchLines())
				assert.Equal(t, 3, teacher.FileCount())
				assert.Zero(t, teacher.Resent())
				if step == "store" {
					assert.Less(t, next.Requests().Asked, int64(160), "what was stored is not stored again")
				}
			})
		}
	}
}

// A run that needs some of what another has in batches waits for those, and makes one of the rest.
func TestTwoRunsShareBatches(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Polls: 5}})
	store := filepath.Join(t.TempDir(), "shared.db")
	var results [3]result
	var wg sync.WaitGroup
	for i := range results {
		d := newStage(t, teacher, inBatches, inStore(store))
		wg.Go(func() {
			var err error
			results[i], err = filled(context.Background(), d, questions(60)[10*i:40+10*i])
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	for i, r := range results {
		assert.Len(t, r.Rows, 160)
		assert.Empty(t, cmp.Diff(mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(60)[10*i:40+10*i]), r))
	}
	assert.Zero(t, teacher.Resent(), "each request is in one batch")
	lines := 0
	for _, n := range teacher.BatchLines() {
		lines += n
	}
	assert.Equal(t, 60, lines)
}

// TestBatchKilled runs the stage in processes of its own. Each is killed without warning at a request to the Batch API, before
// the endpoint does it or after.
func TestBatchKilled(t *testing.T) {
	if dir := os.Getenv("STILLHOUSE_TEST_BATCH_CHILD"); dir != "" {
		batchChild(t, dir)
		return
	}
	const prompts = 60
	target := func(d *Distill) { d.Target.Accepted = 30; d.Join(quarter) } // in several waves
	for name, change := range map[string]func(*Distill){"all prompts": func(*Distill) {}, "up to a target": target} {
		t.Run(name, func(t *testing.T) {
			want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{}), change), questions(prompts))
			wantJSON, err := json.Marshal(want)
			require.NoError(t, err)
			got, teacher, kills := killBatches(t, change)
			assert.GreaterOrEqual(t, kills, 16, "at the lists, the uploads, the making, the looks and the files of three batches")
			assert.Equal(t, string(wantJSON), got, "the rows are those of a run left alone, byte for byte")
			assert.Zero(t, teacher.Resent())
			if name == "all prompts" {
				assert.Equal(t, []int{25, 25, 10}, teacher.BatchLines(), "no batch is made twice")
			}
		})
	}
}

// killBatches runs the stage until a process gets through, and returns its result and how many did not.
func killBatches(t *testing.T, change func(*Distill)) (got string, teacher *testkit.Teacher, kills int) {
	started := make(chan *os.Process, 1)
	killed := map[string]bool{}
	var mu sync.Mutex
	dead := false
	teacher = testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Polls: 2, Refuse: func(r *http.Request, before bool) *testkit.BatchFault {
		mu.Lock()
		defer mu.Unlock()
		if key := fmt.Sprint(r.Method, r.URL.Path, before); !dead && !killed[key] {
			killed[key], dead = true, true
			kills++
			assert.NoError(t, (<-started).Kill())
		}
		return nil
	}}})
	dir := t.TempDir()
	d := newStage(t, teacher, inBatches, inStore(filepath.Join(dir, "responses.db")), func(d *Distill) { d.Batch.MaxRequests = 25; d.Batch.Poll = 1 }, change)
	options, err := json.Marshal(d)
	require.NoError(t, err)
	out := filepath.Join(dir, "rows.json")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "options.json"), options, 0o600))
	for runs := 1; ; runs++ {
		require.LessOrEqual(t, runs, 60)
		cmd := exec.Command(os.Args[0], "-test.run=^TestBatchKilled$")
		cmd.Env = append(os.Environ(), "STILLHOUSE_TEST_BATCH_CHILD="+dir)
		require.NoError(t, cmd.Start())
		started <- cmd.Process
		_ = cmd.Wait()
		if _, err := os.Stat(out); err == nil {
			break
		}
		mu.Lock()
		require.True(t, dead, "the program ended by itself, without its rows")
		dead = false
		mu.Unlock()
	}
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	return string(data), teacher, kills
}

// batchChild is one run of TestBatchKilled.
func batchChild(t *testing.T, dir string) {
	var d Distill
	data, err := os.ReadFile(filepath.Join(dir, "options.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &d))
	d.clock, d.draw = newLeap(), func() float64 { return 0.5 }
	if d.Target.Accepted > 0 {
		d.Join(quarter)
	}
	r, err := filled(context.Background(), &d, questions(60))
	require.NoError(t, err)
	data, err = json.Marshal(r)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.tmp"), data, 0o600))
	require.NoError(t, os.Rename(filepath.Join(dir, "rows.tmp"), filepath.Join(dir, "rows.json")))
	require.NoError(t, d.Close())
}
