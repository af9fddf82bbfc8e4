package distill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func targeting(n int, j Judge, s Samples) func(*Distill) {
	return func(d *Distill) {
		d.Samples, d.Target.Accepted = s, n
		d.Join(j)
	}
}

// idsAsked are the prompts that a teacher was asked, in the order of the prompts.
func idsAsked(teacher *testkit.Teacher, prompts []stillhouse.Prompt) (ids []string) {
	seen := map[string]bool{}
	for _, c := range teacher.Calls() {
		seen[c.Prompt()] = true
	}
	for _, p := range prompts {
		if seen[p.Prompt[0].Content] {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// A run with a target asks the prompts up to the one that reaches it, and none after it, in whatever order the answers
// come: those of some prompts are held back until others have been answered.
func TestTargetEndsWithThePromptThatReachesIt(t *testing.T) {
	prompts := questions(90)
	for _, j := range []firstWord{quarter, {quarter.words, 3}} {
		whole := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{}), func(d *Distill) { d.Join(j) }), prompts)
		good := map[string]int{}
		for _, c := range whole.Rows {
			if j.good(c) {
				good[c.ID] = min(j.most, good[c.ID]+1)
			}
		}
		for _, target := range []int{1, 2, 13, 40, 1000} {
			var want []string
			reached := 0
			for _, p := range prompts {
				if reached < target {
					want = append(want, p.ID)
					reached += good[p.ID]
				}
			}
			for _, concurrency := range []int{1, 4, 64} {
				luck := rand.New(rand.NewPCG(uint64(target), uint64(concurrency)))
				release := make(chan struct{})
				held := 0
				teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
					if c.Number%7 == 6 { // lets those go that were held so far
						close(release)
						release, held = make(chan struct{}), 0
					} else if luck.IntN(3) == 0 && held < min(concurrency, 8)-1 && len(want)-c.Number > 2*concurrency { // never all, nor at the end
						held++
						return &testkit.Fault{Hold: release, Pass: true}
					}
					return nil
				}})
				d := newStage(t, teacher, targeting(target, j, Exactly(4)), func(d *Distill) { d.Concurrency = concurrency })
				r := mustRun(t, d, prompts)
				require.Empty(t, cmp.Diff(want, idsAsked(teacher, prompts)), "target %d, %d at once", target, concurrency)
				var rows []string
				for _, c := range r.Rows {
					rows = append(rows, c.ID)
				}
				assert.Equal(t, want, slices.Compact(rows))
				assert.Equal(t, int64(reached), r.Account.Accepted)
				assert.Equal(t, int64(4*(len(prompts)-len(want))), r.Account.Unasked["target_reached"])
				assert.Equal(t, len(want), teacher.Requests())
			}
		}
	}
}

// A run whose shards are partly made goes on to the same end, whichever they are.
func TestTargetGoesOnAmongShardsThatAreThere(t *testing.T) {
	prompts := questions(90)
	var shards []arrow.RecordBatch
	for ps := range slices.Chunk(prompts, 10) {
		shards = append(shards, stillhouse.PromptBatch(memory.DefaultAllocator, ps))
	}
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher, targeting(30, quarter, Samples{Min: 2, Max: 6, Enough: 1}))
	in, sink := testkit.NewMemorySource(stillhouse.PromptSchema, shards...), &testkit.MemorySink{}
	want, err := stillhouse.Run(context.Background(), in, d, sink, stillhouse.Options{Workers: 3})
	require.NoError(t, err)
	require.Equal(t, int64(30), want.Accepted)
	requests := teacher.Requests()
	text := func() (out []string) {
		for _, s := range sink.Shards() {
			out = append(out, fmt.Sprint(s.Account, s.Kept))
		}
		return out
	}
	whole := text()
	for _, lost := range [][]int{{0}, {1, 3}, {2, 3, 4, 5, 6, 7, 8}, {0, 1, 2, 3, 4, 5, 6, 7, 8}, {8}, {}} {
		for _, shard := range lost {
			sink.Forget(shard)
		}
		got, err := stillhouse.Run(context.Background(), in, d, sink, stillhouse.Options{Workers: 3, BatchRows: 4})
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.Equal(t, whole, text(), "%v were lost", lost)
	}
	assert.Equal(t, requests, teacher.Requests(), "what is asked is in the store")
}

// Whoever runs the stage without telling it its shards is told so, and not asked for everything.
func TestTargetNeedsTheOrder(t *testing.T) {
	d := newStage(t, testkit.StartTeacher(t, &testkit.Teacher{}), targeting(3, quarter, Exactly(4)))
	batch := stillhouse.PromptBatch(memory.DefaultAllocator, questions(3))
	require.ErrorContains(t, d.Process(context.Background(), batch, nil), "call Restart and Shard")
	assert.Zero(t, d.Requests().Requests)
}

func TestCancelledWhileWaitingForItsTurn(t *testing.T) {
	q := newQueue(5, 1)
	q.shard(0, 2, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := q.enter(ctx, 1)
		done <- err
	}()
	asked, err := q.enter(context.Background(), 0)
	require.True(t, asked && err == nil)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
