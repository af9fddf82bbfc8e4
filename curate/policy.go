package curate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/curate/answer"
	"stillhouse/internal/options"
)

// The policies of [Select].
const (
	PolicyBest          = "best"
	PolicyThreshold     = "threshold"
	PolicyRightDistinct = "right_distinct"
	PolicyShortestRight = "shortest_right"
	PolicyMajority      = "majority"
	PolicySoftmax       = "softmax"
	PolicyPairs         = "pairs"
)

// Policies are the names of all policies.
var Policies = []string{PolicyBest, PolicyThreshold, PolicyRightDistinct, PolicyShortestRight, PolicyMajority, PolicySoftmax, PolicyPairs}

// policy is the name of the policy.
func (s *Select) policy() string { return cmp.Or(s.Policy, PolicyBest) }

// judgesRight says whether the policy takes right candidates alone, whatever their reward.
func (s *Select) judgesRight() bool {
	return s.policy() == PolicyRightDistinct || s.policy() == PolicyShortestRight
}

// EnsureDefaults fills in best, 1 or what the policy is for, and the temperature of softmax.
func (s *Select) EnsureDefaults() {
	if s.Best == 0 {
		switch s.policy() {
		case PolicyThreshold: // all of them
		case PolicyRightDistinct:
			s.Best = 4
		default:
			s.Best = 1
		}
	}
	if s.policy() == PolicySoftmax && s.Temperature == 0 {
		s.Temperature = 1
	}
}

// Validate is an Invalid error that names the option that is wrong, or that has no meaning for the policy.
func (s *Select) Validate() error {
	p := s.policy()
	if !slices.Contains(Policies, p) {
		return options.Wrongf("policy", "is %q, which is none: %s", p, options.Nearest(p, Policies))
	}
	for _, o := range []struct {
		key    string
		set    bool
		policy string
	}{
		{"similarity", s.Similarity != 0, PolicyRightDistinct}, {"temperature", s.Temperature != 0, PolicySoftmax}, {"seed", s.Seed != 0, PolicySoftmax},
		{"margin", s.Margin != 0, PolicyPairs}, {"max_length_difference", s.MaxLengthDifference != nil, PolicyPairs},
	} {
		if o.set && o.policy != p {
			return options.Wrongf(o.key, "is for policy %s, and the policy is %s: take it out", o.policy, p)
		}
	}
	finite := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	switch m := s.MinReward; {
	case s.Best < 0:
		return options.Wrongf("best", "is %d: it must be 1 or more", s.Best)
	case m != nil && !finite(*m):
		return options.Wrongf("min_reward", "is %v: it must be a finite number, or null to keep any", *m)
	case p == PolicyThreshold && m == nil:
		return options.Wrongf("min_reward", "is missing: policy threshold keeps every candidate that reaches it")
	case !(s.Similarity >= 0 && s.Similarity <= 1):
		return options.Wrongf("similarity", "is %v: it must be above 0 and at most 1, or left out to keep apart only what is the same", s.Similarity)
	case s.Temperature != 0 && !(s.Temperature >= 1e-6 && finite(s.Temperature)):
		return options.Wrongf("temperature", "is %v: it must be 0.000001 or more", s.Temperature)
	case !(s.Margin >= 0 && finite(s.Margin)):
		return options.Wrongf("margin", "is %v: it must be 0 or above", s.Margin)
	case s.MaxLengthDifference != nil && *s.MaxLengthDifference < 0:
		return options.Wrongf("max_length_difference", "is %d: it must be 0 or more tokens, or left out for no bound", *s.MaxLengthDifference)
	case p == PolicyPairs && s.Best > 1:
		return options.Wrongf("best", "is %d: policy pairs makes one pair of a prompt, of its best candidate", s.Best)
	}
	return s.validateBand()
}

func (s *Select) validateBand() error {
	if s.Band == nil {
		return nil
	}
	if len(s.Band) != 2 {
		return options.Wrongf("band", "has %d numbers: write the least and the greatest share of right candidates, such as [0.1, 0.9]", len(s.Band))
	}
	switch lo, hi := s.Band[0], s.Band[1]; {
	case !(lo >= 0 && lo <= 1 && hi >= 0 && hi <= 1):
		return options.Wrongf("band", "is [%v, %v]: both shares must be between 0 and 1", lo, hi)
	case lo > hi:
		return options.Wrongf("band", "is [%v, %v], which no share is in: the first must not be above the second", lo, hi)
	case hi == 0 && s.judgesRight():
		return options.Wrongf("band", "is [%v, %v]: a prompt in it has no right candidate, and policy %s keeps only right ones", lo, hi, s.policy())
	}
	return nil
}

// KeepsAny is an Invalid error when the policy can keep nothing, or cannot mean anything, where every prompt has k
// candidates. Adaptive says that a prompt may have fewer, depending on how good the first ones are.
func (s *Select) KeepsAny(k int, adaptive bool) error {
	p := s.policy()
	switch {
	case k == 1 && p == PolicyMajority:
		return options.Wrongf("policy", "is majority, and a prompt has 1 sample: one answer is no majority; ask for more samples")
	case k == 1 && p == PolicyPairs:
		return options.Wrongf("policy", "is pairs, and a prompt has 1 sample: a pair takes two; ask for more samples")
	}
	if adaptive {
		what := ""
		switch {
		case s.Band != nil:
			what = "a band"
		case p != PolicyBest && p != PolicyThreshold && p != PolicyShortestRight:
			what = "it"
		default:
			return nil
		}
		return options.Wrongf("policy", "is %s, and %s looks at all candidates of a prompt together, while how many a prompt gets depends on judging them one by one: write distill.samples as a number and leave out distill.target, or choose best, threshold or shortest_right without a band", p, what)
	}
	if s.Band == nil {
		return nil
	}
	least := 0
	if s.judgesRight() {
		least = 1
	}
	for c := least; c <= k; c++ {
		if share := float64(c) / float64(k); s.Band[0] <= share && share <= s.Band[1] {
			return nil
		}
	}
	return options.Wrongf("band", "is [%v, %v], and of %d samples no number of right ones is in it: widen it or ask for more samples", s.Band[0], s.Band[1], k)
}

// Most is how many candidates of a prompt with k of them are kept at most.
func (s *Select) Most(k int) int {
	o := *s
	o.EnsureDefaults()
	if o.Best == 0 {
		return k
	}
	return min(o.Best, k)
}

// acceptable says whether a candidate reaches the minimum.
func (s *Select) acceptable(reward float64) bool {
	if s.MinReward == nil {
		return s.judgesRight() || !math.IsNaN(reward)
	}
	return reward >= *s.MinReward // which NaN does not
}

// Accepts says whether a candidate with these scores could be kept, were there no others.
func (s *Select) Accepts(reward float64, scores []stillhouse.Score) bool {
	if s.judgesRight() {
		if i := s.Judge(scores); i < 0 || scores[i].Verdict != stillhouse.Right {
			return false
		}
	}
	return s.acceptable(reward)
}

// Reads says what of candidates beside their rewards the policy looks at: how they come to their answers, and these.
func (s *Select) Reads() (paths, answers bool) {
	return s.policy() == PolicyRightDistinct, s.policy() == PolicyMajority
}

// A Pick is what a policy takes of the candidates of one prompt, by their places.
type Pick struct {
	Kept     []int // in the policy's order
	Rejected int   // of a preference pair, whose chosen one is Kept[0]; -1 otherwise
}

// Pick selects among the candidates of the prompt with this id, a pure function of them. The options are valid and have
// their defaults.
func (s *Select) Pick(id string, rows []Rated) Pick {
	p := Pick{Rejected: -1}
	if len(rows) == 0 || s.Band != nil && !InBand(rows, s.Band[0], s.Band[1]) {
		return p
	}
	reach := func(order []int) []int {
		return slices.DeleteFunc(order, func(i int) bool { return !s.acceptable(rows[i].Reward) })
	}
	switch s.policy() {
	case PolicyRightDistinct:
		open := slices.Clone(rows)
		for i := range open {
			open[i].Right = open[i].Right && s.acceptable(open[i].Reward)
		}
		p.Kept = RightDistinct(open, s.Best, s.Similarity)
	case PolicyShortestRight:
		p.Kept = reach(ShortestRight(rows))
	case PolicyMajority:
		agrees := make([]bool, len(rows))
		for _, i := range Majority(rows).Rows {
			agrees[i] = true
		}
		p.Kept = slices.DeleteFunc(reach(BestOrder(rows)), func(i int) bool { return !agrees[i] })
	case PolicySoftmax:
		p.Kept = reach(Softmax(id, rows, s.Temperature, s.Seed))
	case PolicyPairs:
		length := -1
		if s.MaxLengthDifference != nil {
			length = *s.MaxLengthDifference
		}
		if chosen, rejected, ok := Preference(rows, s.Margin, length); ok && s.acceptable(rows[chosen].Reward) {
			p.Kept, p.Rejected = []int{chosen}, rejected
		}
	default:
		p.Kept = reach(BestOrder(rows))
	}
	if s.Best > 0 {
		p.Kept = p.Kept[:min(s.Best, len(p.Kept))]
	}
	return p
}

// Judge is the place among the scores of the reward that says what right means: the one that is named, or the first; -1 where
// there is none.
func (s *Select) Judge(scores []stillhouse.Score) int {
	if s.Right == "" && len(scores) > 0 {
		return 0
	}
	return slices.IndexFunc(scores, func(x stillhouse.Score) bool { return x.Name == s.Right })
}

// rate is what the policy looks at of the candidates of one prompt.
func (s *Select) rate(rows []stillhouse.Scored) []Rated {
	out := make([]Rated, len(rows))
	paths, answers := s.Reads()
	for i, r := range rows {
		out[i] = Rated{Sample: r.Sample, Tokens: r.CompletionTokens, Reward: r.Reward}
		if j := s.Judge(r.Scores); j >= 0 {
			out[i].Right = r.Scores[j].Verdict == stillhouse.Right
		}
		if paths {
			out[i].Path = pathOf(r.Candidate, s.Similarity > 0)
		}
	}
	if answers {
		texts := make([]string, len(rows))
		for i, r := range rows {
			texts[i] = r.Text()
		}
		for i, a := range Answers(texts) {
			out[i].Answer = a
		}
	}
	return out
}

// Answers are the final answers of the candidates of one prompt, in the words of the first that gives an equal value, so
// that equal answers are equal texts; "" where there is none that can be read. See package answer.
func Answers(texts []string) []string {
	out := make([]string, len(texts))
	var values []answer.Answer
	var words []string
next:
	for i, text := range texts {
		a, err := answer.Final(text)
		if err != nil {
			continue
		}
		for j, v := range values {
			if same, _ := answer.Compare(v, a); same == answer.Same {
				out[i] = words[j]
				continue next
			}
		}
		word := fmt.Sprint(a)
		if word = strings.TrimSpace(word); word == "" || slices.Contains(words, word) {
			word = fmt.Sprintf("%s (sample %d)", word, i)
		}
		values, words = append(values, a), append(words, word)
		out[i] = word
	}
	return out
}
