package distill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// A run with a target has the same rows by batches as one by one, from few batches and few prompts more, and either finds
// what the other has paid for.
func TestTargetByBatches(t *testing.T) {
	prompts := questions(90)
	for _, j := range []firstWord{quarter, {quarter.words, 3}} {
		for _, s := range []Samples{Exactly(4), {Min: 1, Max: 6, Enough: 2}} {
			for _, target := range []int{1, 2, 13, 40, 1000} {
				for _, choices := range []int{0, 1} {
					name := fmt.Sprintf("%d of %v, at most %d of a prompt, %d choices", target, s, j.most, choices)
					online := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: choices})
					one := newStage(t, online, targeting(target, j, s))
					want := mustRun(t, one, prompts)
					teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: choices, Batches: &testkit.Batches{}})
					d := newStage(t, teacher, inBatches, targeting(target, j, s), func(d *Distill) { d.Batch.MaxRequests = 20 })
					got := mustFill(t, d, prompts)
					require.Empty(t, cmp.Diff(want, got), name)
					assert.Zero(t, teacher.Resent(), name)
					assert.Zero(t, d.Requests().FromStore, name)

					need, asked := idsAsked(online, prompts), idsAsked(teacher, prompts)
					assert.Equal(t, need, asked[:len(need)], "%s: the first ones", name)
					assert.LessOrEqual(t, len(asked), max(2*len(need), (target+j.most-1)/j.most), name)

					n := teacher.Requests()
					require.Empty(t, cmp.Diff(want, mustFill(t, newStage(t, teacher, inBatches, inStore(d.Store), targeting(target, j, s)), prompts)), name)
					require.Empty(t, cmp.Diff(want, mustRun(t, newStage(t, teacher, inStore(d.Store), targeting(target, j, s)), prompts)), name)
					assert.Equal(t, n, teacher.Requests(), "%s: what was asked is in the store", name)
					mustFill(t, newStage(t, online, inBatches, inStore(one.Store), targeting(target, j, s)), prompts)
				}
			}
		}
	}
}

// A process may end after each step of each wave; the next one has the same rows, and asks nothing again.
func TestWavesGoOn(t *testing.T) {
	prompts := questions(90)
	s := Samples{Min: 2, Max: 6, Enough: 1}
	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{}), targeting(40, quarter, s)), prompts)
	for _, step := range []string{"upload", "create", "poll", "store", "fetch"} {
		for at := 1; ; at += 1 + at/2 {
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Polls: 2}})
			few := func(d *Distill) { d.Batch.MaxRequests = 15 }
			d := newStage(t, teacher, inBatches, few, targeting(40, quarter, s))
			require.NoError(t, d.Open(context.Background()))
			d.asker.batch.stop = stopAt(step, at)
			_, err := filled(context.Background(), d, prompts)
			if err == nil {
				assert.Greater(t, at, 3, "%s: there are several", step)
				break
			}
			require.ErrorIs(t, err, errStopped)
			require.NoError(t, d.Close())
			next := newStage(t, teacher, inBatches, few, inStore(d.Store), targeting(40, quarter, s))
			require.Empty(t, cmp.Diff(want, mustFill(t, next, prompts)), "%s %d", step, at)
			assert.Zero(t, teacher.Resent(), "%s %d", step, at)
		}
	}
}

// A run whose shards are partly made goes on to the same end, whichever they are, and asks nothing more.
func TestWavesAmongShardsThatAreThere(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	in, sink := source(questions(90)), &testkit.MemorySink{}
	d := newStage(t, teacher, inBatches, targeting(30, quarter, Samples{Min: 2, Max: 6, Enough: 1}))
	lay := func() stillhouse.Account {
		require.NoError(t, d.Fill(t.Context(), in, sink.Done, nil))
		a, err := stillhouse.Run(t.Context(), in, d, sink, stillhouse.Options{Workers: 3})
		require.NoError(t, err)
		return a
	}
	want := lay()
	require.EqualValues(t, 30, want.Accepted)
	require.Positive(t, want.Unasked[TargetReached])
	requests := teacher.Requests()
	for _, lost := range [][]int{{0}, {1, 3}, {2, 3, 4, 5}, {0, 1, 2, 3, 4, 5}, {5}, {}} {
		for _, shard := range lost {
			sink.Forget(shard)
		}
		assert.Equal(t, want, lay(), "%v were lost", lost)
	}
	assert.Equal(t, requests, teacher.Requests(), "what is asked is in the store")
}

// Prompts whose requests cannot be sent make room for others, a budget ends a wave and a larger one goes on with it, and a
// stage that is not filled says so.
func TestWavesThatCannotBe(t *testing.T) {
	prompts := questions(60)
	long := slices.Clone(prompts)
	for i := range 20 {
		long[i].Prompt = []stillhouse.Message{{Role: "user", Content: fmt.Sprint(i, strings.Repeat(" x", 600_000))}} // more than a file may have
	}
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	r := mustFill(t, newStage(t, teacher, inBatches, targeting(8, quarter, Exactly(4)), func(d *Distill) { d.Batch.MaxMegabytes = 1 }), long)
	assert.EqualValues(t, 8, r.Account.Accepted)
	assert.Len(t, r.Failed, 80)

	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{}), targeting(25, quarter, Exactly(4))), prompts)
	teacher = testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	store := ""
	for _, budget := range []int64{10, 10, 100} {
		d := newStage(t, teacher, inBatches, inStore(store), targeting(25, quarter, Exactly(4)), func(d *Distill) { d.Budget.Requests = budget })
		got := mustFill(t, d, prompts)
		store = d.Store
		if budget == 100 {
			assert.Empty(t, cmp.Diff(want, got))
		} else {
			assert.Positive(t, got.Account.Unasked[BudgetSpent])
			assert.Zero(t, got.Account.Unasked[TargetReached])
		}
	}
	assert.Zero(t, teacher.Resent())

	d := newStage(t, teacher, inBatches, targeting(3, quarter, Exactly(4)))
	d.Restart()
	batch := stillhouse.PromptBatch(memory.DefaultAllocator, questions(3))
	assert.ErrorContains(t, d.Process(t.Context(), batch, nil), "call Fill first")
}

// TestWavesAreFew compares the waves with those that ask no prompt in vain. The table that it logs is the one in
// docs/distill.md.
func TestWavesAreFew(t *testing.T) {
	const runs = 200
	for _, target := range []int{100, 5000} {
		for _, rate := range []float64{0.95, 0.8, 0.5, 0.2, 0.05} {
			luck := rand.New(rand.NewPCG(1, 2))
			waves, vain, needed, strict := 0, 0, 0, 0
			for range runs {
				w := &wave{target: target, most: 1}
				for w.accepted < target {
					waves++
					for range w.size() {
						before := w.accepted
						accepted := 0
						if luck.Float64() < rate {
							accepted = 1
						}
						w.decide(accepted)
						switch {
						case before >= target:
							vain++
						default:
							needed++
						}
					}
				}
				for accepted := 0; accepted < target; {
					strict++
					for range target - accepted {
						if luck.Float64() < rate {
							accepted++
						}
					}
				}
			}
			share := float64(vain) / float64(needed)
			t.Logf("| %d | %.0f %% | %.1f | %.1f | %.1f %% |", target, 100*rate, float64(strict)/runs, float64(waves)/runs, 100*share)
			assert.LessOrEqual(t, float64(waves)/runs, 8.0)
			assert.LessOrEqual(t, share, 0.03)
			assert.GreaterOrEqual(t, strict, waves)
		}
	}
	// Where nothing is accepted, a wave has no more prompts than all before it.
	w := &wave{target: 100, most: 2}
	for _, size := range []int{50, 50, 100, 200} {
		assert.Equal(t, size, w.size())
		for range size {
			w.decide(0)
		}
	}
}
