package distill

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func forecastOf(t *testing.T, d *Distill, prompts []stillhouse.Prompt) Forecast {
	t.Helper()
	f, err := NewForecaster(context.Background(), d.Options, d.judge)
	require.NoError(t, err)
	defer f.Close()
	for _, p := range prompts {
		require.NoError(t, f.Add(context.Background(), p))
	}
	got, err := f.Forecast(context.Background())
	require.NoError(t, err)
	return got
}

// What is foretold holds what a run then does, whatever is in the store already and however the endpoint treats n.
func TestForecastHoldsWhatIsDone(t *testing.T) {
	for _, s := range []Samples{Exactly(4), {Min: 1, Max: 12, Enough: 1}, {Min: 3, Max: 9, Enough: 2}} {
		for _, choices := range []int{0, 1, 2} {
			teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: choices})
			before := newStage(t, teacher, func(d *Distill) { d.Samples = Exactly(3) })
			mustRun(t, before, questions(25))
			d := newStage(t, teacher, inStore(before.Store), adaptively(s, quarter), func(d *Distill) { d.Prices = Prices{Input: 1, Output: 10} })
			f := forecastOf(t, d, questions(40))
			sent := teacher.Requests()
			r := mustRun(t, d, questions(40))
			c := d.Requests()
			within := func(what string, span Span, got int64) {
				t.Helper()
				assert.LessOrEqual(t, span.Least, got, "%s with %v", what, s)
				assert.GreaterOrEqual(t, span.Most, got, "%s with %v", what, s)
			}
			within("answers", f.Answers, int64(len(r.Rows)))
			within("to ask", f.ToAsk, c.Asked)
			within("requests", f.Requests, int64(teacher.Requests()-sent))
			assert.LessOrEqual(t, f.Stored, c.FromStore, "later rounds can find more")
			assert.Greater(t, f.Stored, int64(0))
			assert.Equal(t, "the mean of the stored answers", f.PerAnswerOf)
			require.NotNil(t, f.Dollars)
			cost := d.Prices.Cost(c)
			assert.Less(t, 0.8*f.Dollars.Least, cost)
			assert.Greater(t, 1.2*f.Dollars.Most, cost)

			after := forecastOf(t, d, questions(40))
			assert.Equal(t, Span{}, after.ToAsk, "all is there")
			assert.Equal(t, Span{}, after.Requests)
			assert.Equal(t, Span{int64(len(r.Rows)), int64(len(r.Rows))}, after.Answers)
			assert.Equal(t, int64(len(r.Rows)), after.Stored)
			assert.Equal(t, DollarSpan{}, *after.Dollars)
		}
	}
}

// A forecast makes no store, and says what it knows without one.
func TestForecastWithoutAStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.db")
	d := &Distill{Options: Options{Endpoint: "http://127.0.0.1:1/v1", Model: "m", Samples: Exactly(4), Store: path, MaxTokens: 50, Prices: Prices{Output: 10}}}
	f := forecastOf(t, d, questions(10))
	assert.Equal(t, Forecast{Prompts: 10, Answers: Span{40, 40}, ToAsk: Span{40, 40}, Requests: Span{10, 40}, PromptTokens: f.PromptTokens,
		CompletionTokens: Span{2000, 2000}, TokensPerAnswer: 50, PerAnswerOf: "distill.max_tokens, the most", Dollars: f.Dollars}, f)
	assert.InDelta(t, 0.02, f.Dollars.Most, 1e-9)
	assert.Equal(t, 4*f.PromptTokens.Least, f.PromptTokens.Most)
	d.MaxTokens = 0
	f = forecastOf(t, d, questions(10))
	assert.Nil(t, f.Dollars, "nothing is known of the answers' length")
	assert.Equal(t, Span{}, f.CompletionTokens)
	_, err := os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
}
