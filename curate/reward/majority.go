package reward

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"stillhouse"
	"stillhouse/curate/answer"
	"stillhouse/internal/options"
)

// Majority is the reward majority: 1 for the candidates whose final answer is the one that most
// candidates of their prompt have, 0 for the others. No reference answer is needed: this is the vote of Wang et al.,
// "Self-Consistency Improves Chain of Thought Reasoning in Language Models" (2023).
//
// Answers are compared as values where they can be read as such (1/2 is 0.5), see package answer; else as texts, without
// white space around them, upper case and a last full stop: what is in the last \boxed{} or behind the last #### or
// "answer is", or the whole completion where it is one of at most three words. A candidate without any of these does not vote and is
// unparsable, with score 0. Of answers with as many votes the one wins that comes first by sample number, and the evidence
// says so.
type Majority struct {
	MinShare        float64 `yaml:"min_share" json:"min_share" doc:"The least share of a prompt's candidates, from 0 to 1, that must have the answer; where no answer has it, all are unparsable."`
	PreferReference bool    `yaml:"prefer_reference" json:"prefer_reference" doc:"Where the prompt has a reference answer, candidates are compared with that, as math does, and the vote stands in only for prompts without one."`
}

// EnsureDefaults does nothing: by default any majority counts.
func (o *Majority) EnsureDefaults() {}

// Validate is an Invalid error when the share is none.
func (o *Majority) Validate() error {
	if !(o.MinShare >= 0 && o.MinShare <= 1) {
		return options.Wrongf("min_share", "is %v: it must be from 0 to 1", o.MinShare)
	}
	return nil
}

// New makes the reward.
func (o *Majority) New() (Reward, error) { return o, nil }

var _ Group = (*Majority)(nil)

// Version is that of the reading and comparing of answers, too.
func (*Majority) Version() string { return "1, math " + new(Math).Version() }

// Score is the vote of one candidate alone.
func (o *Majority) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	return o.ScoreGroup(ctx, []stillhouse.Candidate{c})[0]
}

// ScoreGroup lets the candidates vote.
func (o *Majority) ScoreGroup(ctx context.Context, candidates []stillhouse.Candidate) []stillhouse.Score {
	out := make([]stillhouse.Score, len(candidates))
	if o.PreferReference && candidates[0].Reference != nil {
		for i, c := range candidates {
			out[i] = new(Math).Score(ctx, c)
		}
		return out
	}
	ballots := make([]ballot, len(candidates))
	for i, c := range candidates {
		if ctx.Err() != nil {
			return alike(len(candidates), outOfTime)
		}
		ballots[i] = newBallot(c.Sample, c.Text())
	}
	won := count(ballots)
	if won.votes == 0 {
		return alike(len(candidates), cannotTell("none of %d candidates has an answer that can vote", len(candidates)))
	}
	told := fmt.Sprintf("%d of %d candidates say %s", won.votes, len(candidates), won.answer)
	if won.tied != nil {
		told += fmt.Sprintf(", and as many %s: the one that comes first is taken", won.tied)
	}
	few := float64(won.votes) < o.MinShare*float64(len(candidates))
	if few {
		told += fmt.Sprintf(", which is less than min_share %v", o.MinShare)
	}
	for i, b := range ballots {
		switch {
		case !b.votes():
			out[i] = cannotTell("no answer that can vote; %s", told)
		case few:
			out[i] = cannotTell("says %s; %s", b, told)
		case b.same(won.answer):
			out[i] = judged(true, "%s", told)
		default:
			out[i] = judged(false, "says %s; %s", b, told)
		}
	}
	return out
}

// A ballot is a candidate's vote.
type ballot struct {
	sample int32
	value  *answer.Answer // nil where it is a text, or none
	text   string         // as it is compared; empty for none
}

// mostVoted is the answer with the most votes.
type mostVoted struct {
	answer ballot
	votes  int
	tied   *ballot // the next answer with as many votes, nil where there is none
}

// newBallot reads the vote out of a completion.
func newBallot(sample int32, text string) ballot {
	if a, err := answer.Final(text); err == nil {
		return ballot{sample: sample, value: &a}
	}
	return ballot{sample: sample, text: finalText(text)}
}

func (b ballot) votes() bool { return b.value != nil || b.text != "" }

func (b ballot) same(o ballot) bool {
	if b.value != nil && o.value != nil {
		r, _ := answer.Compare(*b.value, *o.value)
		return r == answer.Same
	}
	return b.value == nil && o.value == nil && b.text == o.text
}

func (b ballot) String() string {
	if b.value != nil {
		return shorten(b.value.String())
	}
	return fmt.Sprintf("%q", shorten(b.text))
}

// count finds the answer with the most votes; of several the one that comes first by sample number. Votes are for the
// first answer that they are the same as, by sample number.
func count(ballots []ballot) (won mostVoted) {
	order := slices.Clone(ballots)
	slices.SortStableFunc(order, func(a, b ballot) int { return cmp.Compare(a.sample, b.sample) })
	var answers []mostVoted
	texts := map[string]int{}
	for _, b := range order {
		if !b.votes() {
			continue
		}
		at := -1
		if b.value == nil {
			if n, ok := texts[b.text]; ok {
				at = n
			}
		} else {
			at = slices.IndexFunc(answers, func(a mostVoted) bool { return a.answer.value != nil && a.answer.same(b) })
		}
		if at < 0 {
			at = len(answers)
			answers = append(answers, mostVoted{answer: b})
			if b.value == nil {
				texts[b.text] = at
			}
		}
		answers[at].votes++
	}
	for _, a := range answers {
		switch {
		case a.votes > won.votes:
			won = a
		case a.votes == won.votes && won.tied == nil:
			won.tied = &a.answer
		}
	}
	return won
}

const maxVoteText = 200 // bytes of an answer that is a text

// finalText is the answer of a completion that has no value: see [Majority].
func finalText(text string) string {
	tail := text
	if _, after, ok := lastCut(tail, "</think>"); ok {
		tail = after
	}
	if _, after, ok := lastCut(tail, `\boxed{`); ok {
		return voteText(inBraces(after))
	}
	if _, after, ok := lastCut(tail, "#### "); ok {
		line, _, _ := strings.Cut(after, "\n")
		return voteText(line)
	}
	small := tail
	if len(small) > 1<<16 {
		small = small[len(small)-1<<16:]
	}
	// Lower case of ASCII alone keeps places as they are.
	small = strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.ToValidUTF8(small, ""))
	for _, mark := range []string{"answer is", "answer:"} {
		if _, after, ok := lastCut(small, mark); ok {
			line, _, _ := strings.Cut(strings.TrimLeft(after, " :*\n"), "\n")
			return voteText(line)
		}
	}
	if len(tail) <= maxVoteText && len(strings.Fields(tail)) <= 3 {
		return voteText(tail)
	}
	return ""
}

// voteText is a text as votes are compared, empty where it is too long to be an answer.
func voteText(s string) string {
	around := func(r rune) bool { return unicode.IsSpace(r) || r == '*' } // emphasis of Markdown
	s = strings.TrimFunc(strings.TrimSuffix(strings.TrimFunc(s, around), "."), around)
	if len(s) > maxVoteText {
		return ""
	}
	return strings.ToLower(strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " "))
}

// inBraces is the text up to the brace that closes the one before it, empty where none does.
func inBraces(s string) string {
	depth := 0
	for i := 0; i < min(len(s), 4*maxVoteText); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return s[:i]
			}
			depth--
		}
	}
	return ""
}

func lastCut(s, mark string) (before, after string, ok bool) {
	if at := strings.LastIndex(s, mark); at >= 0 {
		return s[:at], s[at+len(mark):], true
	}
	return s, "", false
}
