package distill

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func clean(t *testing.T, path string, c Cleaning) Cleaned {
	s, err := OpenStore(context.Background(), path)
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.Close()) }()
	done, err := s.Clean(context.Background(), c)
	require.NoError(t, err)
	return done
}

func counts(t *testing.T, path string) []int64 {
	v := verify(t, path)
	assert.True(t, v.Whole(), "%+v", v)
	return []int64{v.Responses, v.Answers, v.Unused}
}

func TestNothingIsDeletedUnasked(t *testing.T) {
	path, rows := filledStore(t, t.TempDir())
	s, err := OpenStore(context.Background(), path)
	require.NoError(t, err)
	defer s.Close()
	for _, c := range []Cleaning{{}, {DryRun: true}, {Superseded: true, Unused: true}} {
		_, err := s.Clean(context.Background(), c)
		require.Error(t, err)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
	for _, c := range []Cleaning{{Vacuum: true}, {Teacher: "other"}, {Model: "other"}, {Before: time.Unix(0, 0)}, {Unused: true},
		{Teacher: "test", DryRun: true, Vacuum: true}, {Teacher: "single", Superseded: true}} {
		clean(t, path, c)
	}
	assert.Equal(t, []int64{96, 175, 0}, counts(t, path))
	replay(t, path, rows)
}

func TestClean(t *testing.T) {
	for name, tc := range map[string]struct {
		c     Cleaning
		done  Cleaned
		left  []int64
		facts int
	}{
		"teacher":     {Cleaning{Teacher: "single"}, Cleaned{Responses: 36, Answers: 36, Tokens: 254}, []int64{60, 139, 0}, 0},
		"two filters": {Cleaning{Teacher: "single", Model: "m"}, Cleaned{Responses: 36, Answers: 36, Tokens: 254}, []int64{60, 139, 0}, 1},
		"model":       {Cleaning{Model: "m", Vacuum: true}, Cleaned{Responses: 96, Answers: 175, Tokens: 1234}, []int64{0, 0, 0}, 1},
		"age":         {Cleaning{Before: time.Now()}, Cleaned{Responses: 96, Answers: 175, Tokens: 1234}, []int64{0, 0, 0}, 1},
		"truncated":   {Cleaning{Superseded: true}, Cleaned{Responses: 7, Answers: 7, Tokens: 42}, []int64{89, 168, 0}, 1},
	} {
		path, _ := filledStore(t, t.TempDir())
		would := clean(t, path, Cleaning{Teacher: tc.c.Teacher, Model: tc.c.Model, Before: tc.c.Before, Superseded: tc.c.Superseded, DryRun: true})
		assert.Equal(t, []int64{96, 175, 0}, counts(t, path), name)
		done := clean(t, path, tc.c)
		for _, d := range []Cleaned{would, done} {
			d.Before, d.After, d.Free = 0, 0, 0
			assert.Equal(t, tc.done, d, name)
		}
		assert.Equal(t, tc.left, counts(t, path), name)
		r, err := ReadStore(context.Background(), path)
		require.NoError(t, err)
		facts, damaged, err := r.Facts(context.Background(), "")
		require.NoError(t, err)
		assert.Equal(t, []int{tc.facts, 0}, []int{len(facts), damaged}, name)
		require.NoError(t, r.Close())
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, done.After, info.Size(), name)
		if tc.c.Vacuum {
			assert.Less(t, done.After, done.Before, name)
			assert.Zero(t, done.Free, name)
		}
	}
}

// Without superseded answers a run with the higher limit is what it was, and one with the lower asks for those again.
func TestSupersededAnswersAreNotMissed(t *testing.T) {
	path, rows := filledStore(t, t.TempDir())
	clean(t, path, Cleaning{Superseded: true})
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	for i, requests := range map[int]int{2: 0, 1: 7} {
		e := earlierRuns[i]
		d := newStage(t, teacher, inStore(path), e.change)
		before := teacher.Requests()
		assert.Empty(t, cmp.Diff(rows[e.name], rowsOf(mustRun(t, d, earlierPrompts()))), e.name)
		assert.Equal(t, requests, teacher.Requests()-before, e.name)
	}
}

// What two runs bought twice at the same time is unused, and may be deleted.
func TestUnusedResponses(t *testing.T) {
	s := newStore(t)
	for range 3 {
		put(t, s, 40, "stop", "a", keyOf("a"))
	}
	path := s.Path()
	require.NoError(t, s.Close())
	done := clean(t, path, Cleaning{Unused: true})
	assert.Equal(t, []int64{2, 0}, []int64{done.Responses, done.Answers})
	s, err := OpenStore(context.Background(), path)
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, "a", get(t, s, keyOf("a"), 40))
}

// Runs go on while a store is cleaned up: the ids of what is deleted and of what comes never mix.
func TestCleanDuringARun(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher, func(d *Distill) { d.Samples, d.Identity = Exactly(1), "old" })
	mustRun(t, d, questions(2500))
	path := d.Store
	require.NoError(t, d.Close())
	done := make(chan result)
	go func() {
		r, err := run(context.Background(), newStage(t, teacher, inStore(path), func(d *Distill) { d.Samples = Exactly(1) }), questions(1000))
		assert.NoError(t, err)
		done <- r
	}()
	got := clean(t, path, Cleaning{Teacher: "old"})
	assert.Equal(t, []int64{2500, 2500}, []int64{got.Responses, got.Answers})
	want := mustRun(t, newStage(t, teacher, func(d *Distill) { d.Samples = Exactly(1) }), questions(1000))
	assert.Empty(t, cmp.Diff(want, <-done))
	assert.Equal(t, []int64{1000, 1000, 0}, counts(t, path))
}
