package curate

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

// panelOf is a panel that only combines.
func panelOf(c Combination, weights ...float64) *panel {
	p := &panel{combine: c}
	for _, w := range weights {
		p.scorers = append(p.scorers, scorer{weight: w})
	}
	return p
}

// said are scores by their verdicts: 1 for right, none for a timeout or an error, else 0.
func said(verdicts ...string) (out []stillhouse.Score) {
	for _, v := range verdicts {
		s := stillhouse.Score{Verdict: v}
		switch v {
		case stillhouse.Right:
			s.Score = 1
		case stillhouse.Timeout, stillhouse.Errored:
			s.Score = math.NaN()
		}
		out = append(out, s)
	}
	return out
}

func TestCombinations(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		verdicts      []string
		all, any, sum float64
	}{
		{[]string{"right", "right"}, 1, 1, 2},
		{[]string{"right", "wrong"}, 0, 1, 1},
		{[]string{"unparsable", "right"}, 0, 1, 1},
		{[]string{"wrong", "unparsable"}, 0, 0, 0},
		{[]string{"right", "timeout"}, nan, 1, nan},
		{[]string{"error", "right"}, nan, 1, nan},
		{[]string{"wrong", "timeout"}, 0, nan, nan},
		{[]string{"error", "unparsable"}, 0, nan, nan},
		{[]string{"timeout", "error"}, nan, nan, nan},
	} {
		for mode, want := range map[Combination]float64{All: c.all, Any: c.any, Weights: c.sum, "": c.sum} {
			got := panelOf(mode, 1, 1).reward(said(c.verdicts...))
			require.Equal(t, fmt.Sprint(want), fmt.Sprint(got), "%s of %v", mode, c.verdicts)
			got = panelOf(mode, 1, 0, 1).reward(said(c.verdicts[0], "timeout", c.verdicts[1]))
			require.Equal(t, fmt.Sprint(want), fmt.Sprint(got), "%s of %v, and a reward of weight 0", mode, c.verdicts)
		}
	}
}

// TestLexicographicOrder holds the order of the one number against the order of the scores one after the other.
func TestLexicographicOrder(t *testing.T) {
	draw := rand.New(rand.NewPCG(7, 1))
	for round := range 20000 {
		n := 1 + draw.IntN(1+maxTieBreakers)
		a, b := make([]float64, n), make([]float64, n)
		for i := range a {
			// Hundredths from 0 to 1, as often equal as not.
			a[i], b[i] = float64(draw.IntN(101))/100, float64(draw.IntN(101))/100
			if draw.IntN(2) == 0 {
				b[i] = a[i]
			}
		}
		require.Equal(t, slices.Compare(a, b), cmp.Compare(lexicographic(a), lexicographic(b)), "round %d: %v and %v", round, a, b)
	}
	// First scores of any size: never the other way round, and above the first score by less than two steps.
	for range 20000 {
		scale := math.Pow(10, float64(draw.IntN(12)-4))
		a, b := make([]float64, 4), make([]float64, 4)
		for i := range a {
			a[i], b[i] = scale*draw.NormFloat64(), scale*draw.NormFloat64()
		}
		if draw.IntN(3) == 0 {
			b[0] = a[0]
		}
		x, y := lexicographic(a), lexicographic(b)
		switch {
		case a[0] > b[0]+lexicographicStep:
			require.Greater(t, x, y, "%v and %v", a, b)
		case a[0] == b[0] && pressed(a[1]) > pressed(b[1])+1.0/1024:
			require.GreaterOrEqual(t, x, y, "%v and %v", a, b)
		}
		require.GreaterOrEqual(t, x, a[0])
		require.LessOrEqual(t, x-a[0], 2*lexicographicStep)
	}
}

func TestLexicographicExtremes(t *testing.T) {
	inf := math.Inf(1)
	order := [][]float64{{-inf, 1, 1}, {-1e300, 0, 0}, {0, -inf, 0}, {0, -5, 0}, {0, 0, -1}, {0, 0, 1}, {0, 1e300, 0}, {1, -inf, 0}, {1, 0, 0}, {1, inf, inf}, {1.00001, -1, -1}, {inf, 0, 0}}
	for i := 1; i < len(order); i++ {
		require.Less(t, lexicographic(order[i-1]), lexicographic(order[i]), "%v and %v", order[i-1], order[i])
	}
	require.True(t, math.IsNaN(lexicographic([]float64{1, math.NaN()})), "what a missing score would decide is not known")
	require.True(t, math.IsNaN(lexicographic(nil)))
	require.Equal(t, 1.0, lexicographic([]float64{1}))
}

func TestWeightsThatCannotMatter(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{"rewards": ["math", {"length": {"max_tokens": 4, "weight": 0.5}}], "combine": "all"}`,
			"rewards[1].length.weight: is 0.5, which cannot matter: with combine: all a reward counts (1) or doesn't (0)"},
		{`{"rewards": [{"math": {"weight": -1}}], "combine": "any"}`, "rewards[0].math.weight: is -1, which cannot matter"},
		{`{"rewards": ["math", {"length": {"max_tokens": 4, "weight": 2}}], "combine": "lexicographic"}`,
			"rewards[1].length.weight: is 2, which cannot matter: with combine: lexicographic it can be 1, -1 (less is better) or 0"},
		{`{"rewards": [{"math": {"weight": 0}}], "combine": "all"}`, "have all weight 0"},
		{`{"rewards": [{"math": {"weight": 0}}]}`, "have all weight 0"},
		{`{"rewards": ["math"], "combine": "lexicografic"}`, `combine: "lexicografic" is not a way to combine rewards: did you mean "lexicographic"?`},
		{`{"rewards": ["math", {"math": {"name": "a"}}, {"math": {"name": "b"}}, {"math": {"name": "c"}}, {"math": {"name": "d"}}], "combine": "lexicographic"}`,
			"are 5 that count: with combine: lexicographic it can be 4"},
		{`{"rewards": ["mathe"]}`, `"mathe" is not a reward: did you mean "math"?`},
	} {
		var config Config
		err := json.Unmarshal([]byte(c.config), &config)
		if err == nil {
			config.EnsureDefaults()
			err = config.Validate()
		}
		require.ErrorContains(t, err, c.want, c.config)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), c.config)
	}
	var config Config
	require.NoError(t, json.Unmarshal([]byte(`{"rewards": ["math", {"length": {"max_tokens": 4, "weight": -1}}], "combine": "lexicographic"}`), &config))
	config.EnsureDefaults()
	require.NoError(t, config.Validate())
}

// Of right answers the shorter one is kept, of wrong ones none, by order instead of by weights.
func TestLexicographicSelects(t *testing.T) {
	c := Config{Rewards: demoRewards(t), Combine: Lexicographic, Select: Select{MinReward: one()}}
	*c.Rewards[1].Weight = 1
	c.EnsureDefaults()
	require.NoError(t, c.Validate())
	p, err := newPanel(c.Rewards)
	require.NoError(t, err)
	p.combine = c.Combine
	candidates := []stillhouse.Candidate{candidate("p", 0, "3", "#### 3", 60), candidate("p", 1, "3", "#### 3", 45), candidate("p", 2, "3", "#### 4", 5)}
	scores, err := p.ask(context.Background(), candidates)
	require.NoError(t, err)
	var rows []stillhouse.Scored
	for i, s := range scores {
		rows = append(rows, stillhouse.Scored{Candidate: candidates[i], Reward: p.reward(s), Scores: s})
	}
	require.Equal(t, []int{1}, c.Select.Choose(rows).Kept)
	c.Select.Best = 3
	require.Equal(t, []int{1, 0}, c.Select.Choose(rows).Kept)
}
