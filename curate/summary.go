package curate

import (
	"math"

	"stillhouse"
)

// A Summary says what there was to choose from and what was chosen. It is the selection of a run's report.
type Summary struct {
	Prompts     int     `json:"prompts"`
	Candidates  int     `json:"candidates"`
	KeptPrompts int     `json:"kept_prompts"` // prompts of which a candidate is kept
	Kept        int     `json:"kept"`         // candidates kept
	MeanReward  float64 `json:"mean_reward"`  // of the candidates that have a reward
	KeptReward  float64 `json:"kept_reward"`  // mean of the candidates kept that have a reward
	KeptTokens  float64 `json:"kept_tokens"`  // mean completion tokens of the candidates kept

	// Judge is the reward that says what right means: the one that curate.select.right names, or the first.
	Judge string `json:"judge"`
	// RightShare is the mean over prompts of the share of right candidates, which is pass@1.
	RightShare float64 `json:"right_share"`
	// PassAt maps k to the chance that one of k candidates is right, the mean over the prompts with k candidates or more.
	PassAt map[int]float64 `json:"pass_at"`
	// Verdicts counts candidates by reward and verdict.
	Verdicts map[string]map[string]int `json:"verdicts"`
	// Pairs compares every two rewards, in the order of the config.
	Pairs []Pair `json:"pairs,omitempty"`
}

// PassAtK is the chance that at least one of k candidates drawn from n is right when c of the n are: the unbiased
// estimator 1 − C(n−c, k) / C(n, k) of Chen et al., "Evaluating Large Language Models Trained on Code" (2021). It is
// NaN when k is more than n.
func PassAtK(n, c, k int) float64 {
	switch {
	case k > n || k < 1:
		return math.NaN()
	case n-c < k:
		return 1
	}
	none := 1.0
	for i := n - c + 1; i <= n; i++ {
		none *= 1 - float64(k)/float64(i)
	}
	return 1 - none
}

// passAt are the k that a summary gives pass@k for.
var passAt = []int{1, 2, 4, 8, 16, 32, 64}

// A Tally adds up a Summary from the scored candidates of a run, prompt by prompt.
type Tally struct {
	// First is how many candidates every prompt has whatever they are worth, 0 for all. Where there are more only for
	// prompts whose first ones are not good enough, the shares of right ones are those of the first.
	First int

	policy         Select
	s              Summary
	scored         int
	keptScored     int
	rewards, kept  float64
	tokens, shares float64
	pass           map[int]float64
	prompts        map[int]int
	pairs          map[[2]string]*Pair
	order          []*Pair // as they came
}

// NewTally makes an empty tally of what policy selects.
func NewTally(policy Select) *Tally {
	policy.EnsureDefaults()
	return &Tally{policy: policy, s: Summary{Verdicts: map[string]map[string]int{}}, pass: map[int]float64{}, prompts: map[int]int{}, pairs: map[[2]string]*Pair{}}
}

// Add takes in scored candidates. Those of one prompt stand side by side and come in one call.
func (t *Tally) Add(rows []stillhouse.Scored) {
	for from := 0; from < len(rows); {
		to := samePrompt(rows, from)
		t.prompt(rows[from:to])
		from = to
	}
}

func (t *Tally) prompt(rows []stillhouse.Scored) {
	t.s.Prompts++
	t.s.Candidates += len(rows)
	judged := rows
	if t.First > 0 {
		judged = rows[:min(t.First, len(rows))]
	}
	right := 0
	for n, r := range rows {
		if !math.IsNaN(r.Reward) {
			t.scored++
			t.rewards += r.Reward
		}
		judge := t.policy.Judge(r.Scores)
		for i, x := range r.Scores {
			if i == judge {
				t.s.Judge = x.Name
				if x.Verdict == stillhouse.Right && n < len(judged) {
					right++
				}
			}
			if t.s.Verdicts[x.Name] == nil {
				t.s.Verdicts[x.Name] = map[string]int{}
			}
			t.s.Verdicts[x.Name][x.Verdict]++
		}
		t.compare(r)
	}
	t.shares += float64(right) / float64(len(judged))
	for _, k := range passAt {
		if k <= len(judged) {
			t.pass[k] += PassAtK(len(judged), right, k)
			t.prompts[k]++
		}
	}
	kept := t.policy.Choose(rows).Kept
	if len(kept) > 0 {
		t.s.KeptPrompts++
	}
	t.s.Kept += len(kept)
	for _, i := range kept {
		if !math.IsNaN(rows[i].Reward) {
			t.kept += rows[i].Reward
			t.keptScored++
		}
		t.tokens += float64(rows[i].CompletionTokens)
	}
}

// Summary is what has been added up. Means of nothing are 0.
func (t *Tally) Summary() Summary {
	s := t.s
	mean := func(sum float64, n int) float64 {
		if n == 0 {
			return 0
		}
		return sum / float64(n)
	}
	s.MeanReward, s.KeptReward, s.KeptTokens = mean(t.rewards, t.scored), mean(t.kept, t.keptScored), mean(t.tokens, s.Kept)
	s.RightShare = mean(t.shares, s.Prompts)
	for _, p := range t.order {
		s.Pairs = append(s.Pairs, *p)
	}
	s.PassAt = map[int]float64{}
	for k, n := range t.prompts {
		s.PassAt[k] = t.pass[k] / float64(n)
	}
	return s
}
