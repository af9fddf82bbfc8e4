package curate

import (
	"fmt"
	"math"
	"strings"

	"stillhouse"
)

// A Choice is what became of the candidates of one prompt, by their place.
type Choice struct {
	Kept     []int // in the policy's order; of a preference pair the chosen one
	Rejected int   // of a preference pair; -1 otherwise
	Dropped  []Drop
}

// A Drop is candidates that were dropped for one reason.
type Drop struct {
	Rows           []int
	Reason, Detail string
}

// Choose selects among the scored candidates of one prompt. It is a pure function of them.
func (s *Select) Choose(rows []stillhouse.Scored) Choice {
	if len(rows) == 0 {
		return Choice{Rejected: -1}
	}
	o := *s
	o.EnsureDefaults()
	rated := o.rate(rows)
	p := o.Pick(rows[0].ID, rated)
	c := Choice{Kept: p.Kept, Rejected: p.Rejected}
	if len(c.Kept) == 0 {
		all := make([]int, len(rows))
		for i := range all {
			all[i] = i
		}
		reason, detail := o.none(rows, rated)
		c.Dropped = []Drop{{all, reason, detail}}
		return c
	}
	kept := map[int]bool{}
	for _, i := range c.Kept {
		kept[i] = true
	}
	why := o.reasons(rows, rated, p)
	for i, r := range rated {
		if kept[i] {
			continue
		}
		for j := range why {
			if why[j].holds(i, r) {
				why[j].Rows = append(why[j].Rows, i)
				break
			}
		}
	}
	for _, d := range why {
		if len(d.Rows) > 0 {
			c.Dropped = append(c.Dropped, d.Drop)
		}
	}
	return c
}

// A because is one that candidates are dropped for; the first that holds counts.
type because struct {
	Drop
	holds func(at int, r Rated) bool
}

// reasons are those that the policy has, when it keeps a candidate of these. The last one holds for all that are left.
func (s *Select) reasons(rows []stillhouse.Scored, rated []Rated, p Pick) []because {
	best := rows[p.Kept[0]]
	floor := math.Inf(-1)
	if s.MinReward != nil {
		floor = *s.MinReward
	}
	below := because{Drop{nil, "below_minimum", fmt.Sprintf("reward is below min_reward %.6g", floor)}, func(_ int, r Rated) bool { return r.Reward < floor }}
	unscored := because{Drop{nil, "unscored", "reward is not a number: a reward timed out or failed, see scores"}, func(_ int, r Rated) bool {
		return math.IsNaN(r.Reward) && !s.acceptable(r.Reward)
	}}
	rest := func(name, format string, args ...any) because {
		return because{Drop{nil, name, fmt.Sprintf(format, args...)}, func(int, Rated) bool { return true }}
	}
	left := fmt.Sprintf("kept %d of %d, the first is sample %d with reward %.6g in %d tokens", len(p.Kept), len(rows), best.Sample, best.Reward, best.CompletionTokens)
	wrong := because{Drop{nil, "not_right", "is not right by " + s.judge(rows[0])}, func(_ int, r Rated) bool { return !r.Right }}
	switch s.policy() {
	case PolicyRightDistinct:
		// What is like none that is kept was passed over since there were enough.
		same := because{Drop{nil, "not_distinct", "comes to its answer as a kept candidate of a lower sample number does"}, func(at int, r Rated) bool {
			for _, k := range p.Kept {
				if rated[k].Sample < r.Sample && r.Path.like(rated[k].Path, s.Similarity) {
					return true
				}
			}
			return false
		}}
		return []because{wrong, below, unscored, same, rest("not_best", "%s", left)}
	case PolicyShortestRight:
		return []because{wrong, below, unscored, rest("not_shortest", "%s", left)}
	case PolicyMajority:
		v := Majority(rated)
		agrees := map[int]bool{}
		for _, i := range v.Rows {
			agrees[i] = true
		}
		other := because{Drop{nil, "not_majority", fmt.Sprintf("does not answer %s, as %d of %d candidates do%s", v.Answer, v.Votes, len(rows), tie(v))}, func(at int, _ Rated) bool { return !agrees[at] }}
		return []because{other, below, unscored, rest("not_best", "%s", left)}
	case PolicySoftmax:
		return []because{below, unscored, rest("not_drawn", "%s", left)}
	case PolicyPairs:
		other := rows[p.Rejected]
		pair := fmt.Sprintf("chosen is sample %d with reward %.6g in %d tokens, rejected sample %d with reward %.6g in %d tokens", best.Sample, best.Reward, best.CompletionTokens, other.Sample, other.Reward, other.CompletionTokens)
		return []because{{Drop{nil, "rejected", "is in the pair that is kept: " + pair}, func(at int, _ Rated) bool { return at == p.Rejected }}, unscored, rest("not_paired", "%s", pair)}
	default:
		order := rest("not_best", "kept %d of %d, the best is sample %d with reward %.6g in %d tokens", len(p.Kept), len(rows), best.Sample, best.Reward, best.CompletionTokens)
		return []because{{order.Drop, func(_ int, r Rated) bool { return r.Reward >= floor }}, below, unscored}
	}
}

func tie(v Vote) string {
	if v.Tied {
		return " (tied: it comes first by sample number)"
	}
	return ""
}

// judge names the reward that says what right means.
func (s *Select) judge(row stillhouse.Scored) string {
	if i := s.Judge(row.Scores); i >= 0 {
		return row.Scores[i].Name
	}
	return s.Right
}

// none says why no candidate of a prompt is kept.
func (s *Select) none(rows []stillhouse.Scored, rated []Rated) (reason, detail string) {
	right := 0
	for _, r := range rated {
		if r.Right {
			right++
		}
	}
	if s.Band != nil && !InBand(rated, s.Band[0], s.Band[1]) {
		return "out_of_band", fmt.Sprintf("%d of %d candidates are right by %s, a share of %.6g: the band is %v to %v", right, len(rows), s.judge(rows[0]), float64(right)/float64(len(rows)), s.Band[0], s.Band[1])
	}
	const nothing = "no_acceptable_candidate"
	if s.judgesRight() && right == 0 {
		return nothing, fmt.Sprintf("none of %d candidates is right by %s: %s", len(rows), s.judge(rows[0]), scores(rows[0]))
	}
	vote := Majority(rated)
	if s.policy() == PolicyMajority && vote.Votes == 0 {
		return nothing, fmt.Sprintf("none of %d candidates has a final answer that can be read", len(rows))
	}
	order := BestOrder(rated)
	if len(order) == 0 {
		return nothing, fmt.Sprintf("none of %d candidates has a reward that is a number: %s", len(rows), scores(rows[0]))
	}
	best := rows[order[0]]
	switch {
	case s.MinReward != nil && best.Reward < *s.MinReward:
		return nothing, fmt.Sprintf("the best of %d candidates, sample %d, has reward %.6g, below min_reward %.6g: %s", len(rows), best.Sample, best.Reward, *s.MinReward, scores(best))
	case s.policy() == PolicyMajority:
		return nothing, fmt.Sprintf("none of the %d candidates that answer %s has a reward that is acceptable", vote.Votes, vote.Answer)
	case s.policy() == PolicyPairs:
		length := "any length"
		if s.MaxLengthDifference != nil {
			length = fmt.Sprintf("a length within %d tokens", *s.MaxLengthDifference)
		}
		return "no_pair", fmt.Sprintf("the best of %d candidates is sample %d with reward %.6g in %d tokens, and none has less by %.6g and %s", len(rows), best.Sample, best.Reward, best.CompletionTokens, s.Margin, length)
	}
	return nothing, fmt.Sprintf("none of %d candidates that are right by %s reaches min_reward %.6g", right, s.judge(rows[0]), *s.MinReward)
}

// scores writes out the scores of a candidate.
func scores(row stillhouse.Scored) string {
	parts := make([]string, len(row.Scores))
	for i, x := range row.Scores {
		parts[i] = fmt.Sprintf("%s %s (%s)", x.Name, x.Verdict, x.Evidence)
	}
	return strings.Join(parts, ", ")
}
