package distill

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/testkit"
)

func TestFacts(t *testing.T) {
	s := newStore(t)
	ctx := context.Background()
	_, ok, err := s.Fact(ctx, "a", "n")
	require.NoError(t, err)
	assert.False(t, ok)
	learned := time.UnixMilli(1_790_000_000_123)
	for _, f := range []Fact{{"a", "n", "ignored", learned}, {"a", "n", "honoured", learned}, {"b", "n", "other", learned}, {"a", "m", "", learned}} {
		require.NoError(t, s.SetFact(ctx, f))
	}
	f, ok, err := s.Fact(ctx, "a", "n")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, Fact{"a", "n", "honoured", learned}, f)
	_, err = s.db.Exec(`UPDATE facts SET value = 'ignored' WHERE teacher = 'a' AND name = 'n'`)
	require.NoError(t, err)
	_, ok, err = s.Fact(ctx, "a", "n")
	require.NoError(t, err)
	assert.False(t, ok, "its bytes have changed")
}

// What one run learned of n the next one knows, for a week, and the rows are the same either way.
func TestWhatIsLearnedOfNIsRemembered(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: 1})
	d := newStage(t, teacher)
	mustRun(t, d, questions(2))
	withN := func() (n int) {
		for _, c := range teacher.Calls() {
			if c.N > 1 {
				n++
			}
		}
		return n
	}
	learning := withN()
	require.Positive(t, learning)
	all := questions(40)
	next := newStage(t, teacher, inStore(d.Store))
	r := mustRun(t, next, all[2:20])
	assert.Len(t, r.Rows, 72)
	assert.Equal(t, learning, withN(), "nothing is learned again")
	fresh := newStage(t, testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: 1}))
	assert.Empty(t, cmp.Diff(mustRun(t, fresh, all[2:20]), r))

	other := newStage(t, teacher, inStore(d.Store), func(d *Distill) { d.Model = "other" })
	mustRun(t, other, all[:1])
	assert.Equal(t, learning+1, withN(), "another model is another matter")

	later := newStage(t, teacher, inStore(d.Store))
	clock := newLeap()
	clock.now = clock.now.Add(believeN + time.Hour)
	later.clock = clock
	mustRun(t, later, all[20:21])
	assert.Equal(t, learning+2, withN(), "after a week it is tried again")
}

// A server that has learned to honour n, and one that no longer does, get and give the same answers.
func TestRememberedNMayBeOutOfDate(t *testing.T) {
	for _, change := range [][2]int{{1, 0}, {0, 1}} {
		before := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: change[0]})
		d := newStage(t, before)
		mustRun(t, d, questions(10))
		after := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: change[1], RefuseN: change[1] == 1})
		r := mustRun(t, newStage(t, after, inStore(d.Store)), questions(30))
		assert.Empty(t, r.Failed)
		assert.Empty(t, cmp.Diff(mustRun(t, newStage(t, after), questions(30)).texts(), r.texts()))
	}
}
