package distill

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/testkit"
)

// A cancelled run keeps what arrives after it was cancelled, and the next one asks for the rest only.
func TestCancelledRunGoesOn(t *testing.T) {
	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(60))
	for _, at := range []int{0, 1, 17, 40} {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		released := make(chan struct{})
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
			if c.Number == at {
				cancel()
				close(released)
			}
			if c.Number >= at && ctx.Err() != nil {
				return &testkit.Fault{Hold: released, Pass: true}
			}
			return nil
		}})
		d := newStage(t, teacher)
		_, err := run(ctx, d, questions(60))
		require.ErrorIs(t, err, context.Canceled)
		asked := teacher.Requests()
		require.Less(t, asked, 60)
		count, err := d.asker.store.Count(context.Background())
		require.NoError(t, err)
		assert.Equal(t, int64(4*asked), count, "what was in flight is stored")

		got := mustRun(t, newStage(t, teacher, inStore(d.Store)), questions(60))
		assert.Empty(t, cmp.Diff(want, got))
		assert.Equal(t, 60, teacher.Requests())
		assert.Zero(t, teacher.Resent())
	}
}

// A request that is not answered within the time to drain does not hold up a cancelled run.
func TestCancelledRunDoesNotWaitForEver(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(testkit.Call) *testkit.Fault {
		cancel()
		return &testkit.Fault{Hold: make(chan struct{})}
	}})
	d := newStage(t, teacher)
	require.NoError(t, d.Open(context.Background()))
	d.asker.pool.lanes[0].endpoint.drain = time.Millisecond
	_, err := run(ctx, d, questions(3))
	require.ErrorIs(t, err, context.Canceled)
}

func TestTwoStagesOnOneStore(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	store := filepath.Join(t.TempDir(), "shared.db")
	var results [3]result
	var wg sync.WaitGroup
	for i := range results {
		d := newStage(t, teacher, inStore(store))
		wg.Go(func() {
			var err error
			results[i], err = run(context.Background(), d, questions(100))
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.Empty(t, cmp.Diff(results[0], results[1]))
	assert.Empty(t, cmp.Diff(results[0], results[2]))
	for body, book := range teacher.Books() {
		assert.LessOrEqual(t, book.Requests, 3, "asked by each stage at most once: %s", body)
	}
}

// A prompt that is there twice under two ids is asked for once, also when both rows are in work at the same time.
func TestEqualPromptsAreAskedForOnce(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	prompts := questions(40)
	for i := range prompts {
		prompts[i].Prompt = questions(2)[i%2].Prompt
	}
	r := mustRun(t, newStage(t, teacher), prompts)
	assert.Len(t, r.Rows, 160)
	assert.Equal(t, 2, teacher.Requests())
}

// TestKilled runs the stage in processes of its own, which are killed without warning at twelve random moments.
func TestKilled(t *testing.T) {
	if path := os.Getenv("STILLHOUSE_TEST_CHILD"); path != "" {
		child(t, path)
		return
	}
	const prompts, kills, concurrency = 150, 12, 4
	for name, choices := range map[string]int{"n honoured": 0, "n ignored": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: choices})), questions(prompts))
			draw := rand.New(rand.NewPCG(7, uint64(choices)))
			started := make(chan *os.Process, 1)
			next := draw.IntN(20)
			var killed atomic.Int32
			var dead atomic.Bool
			teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: choices, Fault: func(c testkit.Call) *testkit.Fault {
				if c.Number >= next && killed.Load() < kills && !dead.Load() {
					dead.Store(true)
					killed.Add(1)
					next = c.Number + 1 + draw.IntN(20)
					assert.NoError(t, (<-started).Kill())
				}
				return nil
			}})
			dir := t.TempDir()
			options, err := json.Marshal(newStage(t, teacher, inStore(filepath.Join(dir, "responses.db"))))
			require.NoError(t, err)
			out := filepath.Join(dir, "rows.json")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "options.json"), options, 0o600))
			for runs := 1; ; runs++ {
				require.LessOrEqual(t, runs, kills+1)
				cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
				cmd.Env = append(os.Environ(), "STILLHOUSE_TEST_CHILD="+dir)
				require.NoError(t, cmd.Start())
				started <- cmd.Process
				_ = cmd.Wait()
				if _, err := os.Stat(out); err == nil {
					break
				}
				require.True(t, dead.Load(), "the program ended by itself, without its rows")
				dead.Store(false)
			}
			assert.EqualValues(t, kills, killed.Load())
			var got result
			data, err := os.ReadFile(out)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(data, &got))
			wantJSON, err := json.Marshal(want)
			require.NoError(t, err)
			assert.Equal(t, string(wantJSON), string(data), "the rows are those of a run left alone, byte for byte")
			assert.LessOrEqual(t, teacher.Resent(), kills*concurrency, "at most what was on the way at a kill is asked for again")
		})
	}
}

// child is one run of TestKilled.
func child(t *testing.T, dir string) {
	var d Distill
	data, err := os.ReadFile(filepath.Join(dir, "options.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &d))
	book, err := OpenBook(filepath.Join(dir, "book.json"))
	require.NoError(t, err)
	d.Remember(book)
	r, err := run(context.Background(), &d, questions(150))
	require.NoError(t, err)
	data, err = json.Marshal(r)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rows.tmp"), data, 0o600))
	require.NoError(t, os.Rename(filepath.Join(dir, "rows.tmp"), filepath.Join(dir, "rows.json")))
	require.NoError(t, d.Close())
}
