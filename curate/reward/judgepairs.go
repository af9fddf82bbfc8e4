package reward

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"stillhouse"
)

// A comparison is what a judge says of two answers x and y, asked in both orders.
type comparison struct {
	won     float64 // of x: 1, 0, or 0.5 for a tie
	parsed  bool
	how     string // why it is a tie, or none
	reason  string
	failure *stillhouse.Score
}

// told is the reason that the judge gave, behind what came of it.
func (c comparison) told() string {
	if c.how == "" || c.reason == "" {
		return c.how + c.reason
	}
	return c.how + "; " + c.reason
}

// compare asks which of two answers is better, in both orders: judges favour a place (Wang et al., "Large Language Models
// are not Fair Evaluators", 2023), and one that goes by the place has not told them apart.
func (j *judge) compare(ctx context.Context, c stillhouse.Candidate, x, y string) comparison {
	if x == y {
		return comparison{won: 0.5, parsed: true, how: "they are the same"}
	}
	var choices, reasons [2]string
	for i, order := range [2][2]string{{x, y}, {y, x}} {
		q, err := j.question(func(structured bool) (string, error) { return j.rubric.compare(c, order[0], order[1], structured) }, choiceSchema)
		if err != nil {
			return comparison{how: shortenTo("the question cannot be written: "+err.Error(), 200)}
		}
		answers, failure := j.ask(ctx, q)
		if failure != nil {
			return comparison{failure: failure}
		}
		if choices[i], reasons[i], err = readChoice(answers[0]); err != nil {
			return comparison{how: err.Error()}
		}
	}
	said := comparison{won: 0.5, parsed: true, reason: reasons[0]}
	switch choices[0] + choices[1] {
	case "AB":
		said.won = 1
	case "BA":
		said.won = 0
	case "tietie":
		said.how = "the judge calls it a tie"
	default:
		said.how = fmt.Sprintf("the judge says %s, and %s when they change places", choices[0], choices[1])
	}
	return said
}

// againstReference compares a candidate with the reference.
func (j *judge) againstReference(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	said := j.compare(ctx, c, shown(c), *c.Reference)
	switch {
	case said.failure != nil:
		return *said.failure
	case !said.parsed:
		return cannotTell("%s", said.how)
	}
	evidence := map[float64]string{1: "better than the reference in both orders", 0.5: "neither better nor worse than the reference",
		0: "worse than the reference in both orders"}[said.won]
	return graded(said.won, said.won >= *j.o.Threshold, "%s", strings.TrimSuffix(evidence+": "+said.told(), ": "))
}

// maxCompared is how many candidates of a prompt are compared with each other: it takes 4,032 requests.
const maxCompared = 64

// A tournament is a judge that compares the candidates of a prompt with each other.
type tournament struct{ *judge }

var (
	_ Group      = tournament{}
	_ Concurrent = tournament{}
	_ Asking     = tournament{}
)

// Score is that of one candidate alone, which nobody can be compared with.
func (t tournament) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	return t.ScoreGroup(ctx, []stillhouse.Candidate{c})[0]
}

// ScoreGroup has each pair compared. A candidate's score is the share of its comparisons that it won, a tie counting half. A
// failure is one of all: the share of those comparisons that came by chance would be another one the next time.
func (t tournament) ScoreGroup(ctx context.Context, candidates []stillhouse.Candidate) []stillhouse.Score {
	n := len(candidates)
	out := make([]stillhouse.Score, n)
	var fit []int
	for i, c := range candidates {
		if what := t.unfit(c); what != "" {
			out[i] = cannotTell("%s", what)
			continue
		}
		fit = append(fit, i)
	}
	if len(fit) > maxCompared {
		return alike(n, cannotTell("%d candidates are more than the %d that are compared with each other", len(fit), maxCompared))
	}
	type pair struct {
		x, y int
		said comparison
	}
	var pairs []*pair
	for i, x := range fit {
		for _, y := range fit[i+1:] {
			pairs = append(pairs, &pair{x: x, y: y})
		}
	}
	g := errgroup.Group{}
	g.SetLimit(t.o.Concurrency)
	for _, p := range pairs {
		g.Go(func() error {
			p.said = t.compare(ctx, candidates[p.x], shown(candidates[p.x]), shown(candidates[p.y]))
			return nil
		})
	}
	_ = g.Wait() // none of them returns an error
	won, compared, asked, reason := make([]float64, n), make([]int, n), make([]int, n), make([]string, n)
	for _, p := range pairs {
		if p.said.failure != nil {
			return alike(n, *p.said.failure)
		}
		for _, i := range []int{p.x, p.y} {
			asked[i]++
			if reason[i] == "" {
				reason[i] = p.said.told()
			}
			if p.said.parsed {
				compared[i]++
			}
		}
		if p.said.parsed {
			won[p.x] += p.said.won
			won[p.y] += 1 - p.said.won
		}
	}
	for _, i := range fit {
		switch {
		case asked[i] == 0:
			out[i] = cannotTell("there is no other candidate to compare it with")
		case compared[i] == 0:
			out[i] = cannotTell("0 of %d comparisons parsed: %s", asked[i], reason[i])
		default:
			share := won[i] / float64(compared[i])
			out[i] = graded(share, share >= *t.o.Threshold, "%d of %d comparisons parsed, won %v: %s", compared[i], asked[i], won[i], oneLine(reason[i]))
		}
	}
	return out
}
