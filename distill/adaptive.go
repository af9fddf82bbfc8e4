package distill

import (
	"context"
	"math"

	"stillhouse"
)

// A Judge says which candidates are good enough, while the teacher is being asked: how often a prompt is asked
// (samples.enough) and when a run has what it wants (target.accepted) depend on it. Curation implements it by its rewards
// and its minimum. It may be asked from several goroutines at once.
type Judge interface {
	// Accept is how many of these candidates of one prompt are good enough: a pure function of each of them. Candidates
	// that were asked about once are not asked about again.
	Accept(ctx context.Context, candidates []stillhouse.Candidate) (int, error)

	// Most is how many accepted candidates of one prompt are kept at most.
	Most() int
}

// Why samples were not asked for, in the account.
const (
	EnoughAccepted = "enough"         // the prompt has enough accepted answers
	PromptFailed   = "prompt_failed"  // none of the samples asked for before had an answer
	TargetReached  = "target_reached" // the prompts before this one have enough accepted answers
	BudgetSpent    = "budget_spent"   // there is no answer in the store, and nothing left to buy one
)

// next is the size of the next round of a prompt that was asked for some samples, of which so many were accepted; 0 when
// it needs no more.
//
// The first round is min. After that a round is as many samples as one expects to need: the rate of acceptance is taken
// to be (accepted+1)/(asked+2), Laplace's rule of succession, and what is missing is divided by it; but never more than
// were asked for so far. So a prompt that has nothing accepted doubles its samples every round, and one that lacks
// little asks for little. Asking one by one would buy 4 to 10 % fewer samples, and on hard prompts three to six times as
// many rounds, each of which costs a request, the prompt's tokens once more and the time of an answer; doubling alone
// buys up to 26 % more samples than that. TestRoundsAreFewAndSmall prints the figures.
func (s Samples) next(asked, accepted int) int {
	switch {
	case asked == 0:
		return s.Min
	case asked >= s.Max || s.Adaptive() && accepted >= s.Enough:
		return 0
	}
	expected := math.Ceil(float64((s.Enough-accepted)*(asked+2)) / float64(accepted+1))
	return min(asked, int(expected), s.Max-asked)
}

// judge is how many of the samples from..to of a query are accepted.
func (a *asker) judge(ctx context.Context, q *query, from int, out []outcome) (int, error) {
	if a.accept == nil {
		return 0, nil
	}
	var candidates []stillhouse.Candidate
	for i, o := range out {
		if o.answered() {
			candidates = append(candidates, candidate(q, from+i, o.answer))
		}
	}
	if len(candidates) == 0 {
		return 0, nil
	}
	n, err := a.accept.Accept(ctx, candidates)
	if err == nil {
		a.tally.judged(len(candidates), n)
	}
	return n, err
}

// candidate is the row that a sample's answer becomes.
func candidate(q *query, sample int, a Answer) stillhouse.Candidate {
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	return stillhouse.Candidate{Prompt: q.prompt, Sample: int32(sample), Completion: []stillhouse.Message{{Role: "assistant", Content: a.Content}},
		Reasoning: optional(a.Reasoning), ToolCalls: optional(a.ToolCalls), FinishReason: a.FinishReason, PromptTokens: int32(a.PromptTokens),
		CompletionTokens: int32(a.CompletionTokens), Model: a.Model, RequestKey: q.keys[sample].String()}
}
