package distill

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// Prompts that need more answers than others get them in further batches, the same as one by one.
func TestAdaptiveBatches(t *testing.T) {
	s := Samples{Min: 2, Max: 16, Enough: 1}
	for _, choices := range []int{0, 1} {
		online := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: choices})
		want := mustRun(t, newStage(t, online, adaptively(s, quarter)), questions(40))
		teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: choices, Batches: &testkit.Batches{}})
		d := newStage(t, teacher, inBatches, adaptively(s, quarter))
		got := mustFill(t, d, questions(40))
		assert.Empty(t, cmp.Diff(want, got))
		assert.Greater(t, len(teacher.BatchLines()), 2, "a round, a batch")
		assert.Equal(t, 40, teacher.BatchLines()[0])
		assert.Zero(t, teacher.Resent())
		assert.EqualValues(t, got.Account.Kept, d.Requests().Asked, "nothing beyond what was needed")
		assert.Zero(t, d.Requests().FromStore, "what a batch brought was not there before")
	}
}

// A budget bounds what goes into batches, and a larger one goes on.
func TestBudgetOfBatches(t *testing.T) {
	whole := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(40))
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	book := filepath.Join(t.TempDir(), "book.json")
	store := ""
	for _, budget := range []int64{10, 10, 25, 100} {
		d := newStage(t, teacher, inBatches, inStore(store), spending(Budget{Requests: budget}, openBook(t, book)))
		r := mustFill(t, d, questions(40))
		store = d.Store
		assert.Equal(t, int(min(budget, 40)), teacher.Requests())
		assert.EqualValues(t, 160-4*min(budget, 40), r.Account.Unasked[BudgetSpent])
		assert.Empty(t, r.Failed)
		assert.EqualValues(t, min(budget, 40), d.Requests().Requests)
		if budget == 100 {
			assert.Empty(t, cmp.Diff(whole.texts(), r.texts()))
		}
	}
	assert.Equal(t, []int{10, 15, 15}, teacher.BatchLines())
	assert.Zero(t, teacher.Resent())

	// Dollars are reckoned before: a batch holds what they are expected to pay for, the next one what is left then.
	teacher = testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	budget := Budget{Dollars: 0.006} // an answer of 7 tokens costs 70 millionths of a dollar
	d := newStage(t, teacher, inBatches, spending(budget, openBook(t, filepath.Join(t.TempDir(), "book.json"))))
	r := mustFill(t, d, questions(40))
	cost := d.Prices.Cost(d.Requests())
	assert.Positive(t, r.Account.Unasked[BudgetSpent])
	assert.Greater(t, len(teacher.BatchLines()), 1, "answers are shorter than max_tokens")
	assert.Greater(t, cost, 0.9*budget.Dollars)
	assert.Less(t, cost, 1.1*budget.Dollars)
}

// Shards that are there are not asked for again, though some of their rows have failed.
func TestFillLeavesMadeShards(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	d := newStage(t, teacher, inBatches)
	in := source(questions(48))
	require.NoError(t, d.Fill(t.Context(), in, func(shard int) (stillhouse.Account, bool, error) {
		return stillhouse.Account{}, shard == 1, nil
	}, nil))
	assert.Equal(t, []int{32}, teacher.BatchLines())
}
