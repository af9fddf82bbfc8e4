package reward

import (
	"context"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

func TestExprIsCheckedBeforehand(t *testing.T) {
	for _, tc := range []struct{ expression, want string }{
		{"", `is missing`},
		{"tokns < 3", `there is no name "tokns": did you mean "tokens"?`},
		{"reward.mth == 1", `there is no reward "mth" before it: did you mean "math"?`},
		{`verdict["lenght"] == "right"`, `there is no reward "lenght" before it: did you mean "length"?`},
		{"tokens <", `unexpected token EOF`},
		{"completion + 1", `invalid operation`},
		{"completion", `it comes to a string: it must come to true or false, or to a number`},
		{"zzzzzzzzzz == 1", `unknown name zzzzzzzzzz`},
		{"len(reward) > 1", `reward and verdict are followed by a reward's name`},
		{`score_of("math") == 1`, `there is no name "score_of"`},
		{strings.Repeat("1+", 4000) + "1", `exceeds maximum`},
		{strings.Repeat("1+", 8000) + "1", `longer than 10000 bytes`},
	} {
		err := (&Expr{Expression: tc.expression}).ValidateAfter([]string{"math", "length"})
		if assert.Error(t, err, tc.expression) {
			assert.Contains(t, err.Error(), tc.want)
			assert.True(t, strings.HasPrefix(err.Error(), "expression: is "), err.Error())
			assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
		}
	}
}

func TestExpr(t *testing.T) {
	nan := math.NaN()
	before := []stillhouse.Score{
		{Name: "math", Score: 1, Verdict: stillhouse.Right}, {Name: "slow", Score: nan, Verdict: stillhouse.Timeout},
		{Name: "odd name", Score: 0.5, Verdict: stillhouse.Wrong}, {Name: "blind", Verdict: stillhouse.Unparsable},
	}
	c := candidate("p", 3, "7", "seven \xff", 12)
	meta := `{"level": 4, "tags": ["a", "b"]}`
	c.Meta = &meta
	for _, tc := range []struct {
		expression, verdict string
		score               float64
		evidence            string
	}{
		{`reward.math == 1 && tokens < 400`, stillhouse.Right, 1, "math 1 (right): true"},
		{`reward["odd name"] * 2 + sample`, stillhouse.Right, 4, "odd name 0.5 (wrong): 4"},
		{`reward.math - 2`, stillhouse.Wrong, -1, "-1"},
		{`reward.slow == 1`, stillhouse.Errored, nan, `reward "slow" has no score (timeout)`},
		{`reward.slow > 0 || reward.math == 1`, stillhouse.Errored, nan, `reward "slow" has no score (timeout)`},
		{`verdict.slow == "timeout" ? 0.25 : reward.slow`, stillhouse.Right, 0.25, "slow NaN (timeout): 0.25"},
		{`reward.blind == 1`, stillhouse.Unparsable, 0, "blind 0 (unparsable): false"},
		{`verdict.blind == "unparsable" || reward.math == 0`, stillhouse.Right, 1, "true"},
		{`0.0 / 0.0`, stillhouse.Errored, nan, "NaN which is no score"},
		{`1 / (tokens - 12)`, stillhouse.Errored, nan, "+Inf which is no score"},
		{`meta.level >= 4 && "b" in meta.tags`, stillhouse.Right, 1, "true"},
		{`meta.absent`, stillhouse.Errored, nan, "it came to <nil>"},
		{`meta.tags`, stillhouse.Errored, nan, "it came to []interface {}"},
		{`meta.level > "x"`, stillhouse.Errored, nan, "invalid operation"},
		{`completion matches "^seven"`, stillhouse.Right, 1, "true"},
		{`reference == "7" && prompt startsWith "How many" && finish_reason == "stop"`, stillhouse.Right, 1, "true"},
		{`let n = len(completion); n > 3 ? n / 2.0 : 0.0`, stillhouse.Right, 3.5, "3.5"},
		{`sum(map(1..tokens*100000, # + 1)) > 3`, stillhouse.Errored, nan, "memory budget exceeded"},
		{`len(repeat("x", 100000000)) > 1`, stillhouse.Errored, nan, "memory budget exceeded"},
	} {
		o := &Expr{Expression: tc.expression}
		if !assert.NoError(t, o.ValidateAfter([]string{"math", "slow", "odd name", "blind"}), tc.expression) {
			continue
		}
		r, err := o.New()
		require.NoError(t, err)
		got := r.(Follower).ScoreAfter(context.Background(), c, before)
		assert.Equal(t, tc.verdict, got.Verdict, "%s: %s", tc.expression, got.Evidence)
		assert.Contains(t, got.Evidence, tc.evidence, tc.expression)
		if math.IsNaN(tc.score) {
			assert.True(t, math.IsNaN(got.Score), tc.expression)
		} else {
			assert.Equal(t, tc.score, got.Score, tc.expression)
		}
	}
	r, err := (&Expr{Expression: "reward.math == 1"}).New()
	require.NoError(t, err)
	assert.Contains(t, r.Score(context.Background(), c).Evidence, `there is no reward "math" before it`)
	broken := "[1"
	c.Meta = &broken
	assert.Equal(t, stillhouse.Errored, r.Score(context.Background(), c).Verdict)
}

// Whatever an expression and a row are, the compiler refuses or the reward gives a verdict.
func FuzzExpr(f *testing.F) {
	f.Add(`reward.math == 1 && tokens < 400`, "text", `{"a": 1}`)
	f.Add(`meta.a?.b ?? 1`, "", `{}`)
	f.Add(`let x = reward["math"]; x`, "\xff", `[]`)
	f.Fuzz(func(t *testing.T, expression, completion, meta string) {
		o := &Expr{Expression: expression}
		if strings.Contains(expression, "..") || strings.Count(expression, "{") > 2 || o.Validate() != nil {
			return // ranges may take long: the time of a reward bounds them
		}
		r, err := o.New()
		require.NoError(t, err)
		c := candidate("p", 0, "", completion, 1)
		c.Meta = &meta
		got := r.(Follower).ScoreAfter(context.Background(), c, []stillhouse.Score{{Name: "math", Score: 1, Verdict: stillhouse.Right}})
		if got.Verdict == stillhouse.Errored != math.IsNaN(got.Score) || !utf8.ValidString(strings.ToValidUTF8(got.Evidence, "")) {
			t.Errorf("%+v", got)
		}
	})
}
