package pipelines

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/distill"
	"stillhouse/internal/rundir"
)

// Asking is what a run asked of its teacher over all its processes, and what came of it.
type Asking struct {
	distill.Counters

	Answers int64    `json:"answers"`                // rows of candidates
	Stored  int64    `json:"stored"`                 // of them, those that other runs had paid for
	Cost    *float64 `json:"cost_dollars,omitempty"` // by distill.prices

	Budget   *Bound `json:"budget,omitempty"`
	Target   *Bound `json:"target,omitempty"`
	BySample []ByK  `json:"by_samples"`
}

// Bound is the state of a budget or a target.
type Bound struct {
	Reached bool   `json:"reached"` // the budget is spent, the target reached
	Left    int64  `json:"unasked"` // samples that are in no row because of it
	Over    string `json:"over,omitempty"`
	Text    string `json:"text"` // it and what of it is there, in words
}

// ByK is what became of the prompts with K answers.
type ByK struct {
	Samples         int `json:"samples"`
	Prompts         int `json:"prompts"`
	AcceptedPrompts int `json:"accepted_prompts"` // those with an accepted answer
	Accepted        int `json:"accepted"`         // answers that the selection could keep, were there no others
}

// asking reads what a run asked for; nil where there is no account of it.
func asking(d *rundir.Dir, c *Config, ledger rundir.Ledger, scored []stillhouse.Scored) (*Asking, error) {
	counters, there, err := distill.ReadBook(d.Path(requestsFile))
	if err != nil || !there {
		return nil, err
	}
	o, a := &c.Distill, &Asking{Counters: counters}
	if a.Retries == nil {
		a.Retries = map[string]int64{}
	}
	account, _ := ledger.Step("distill")
	a.Answers = account.Kept
	a.Stored = max(0, account.Kept-counters.Asked)
	if o.Prices.Known() {
		cost := o.Prices.Cost(counters)
		a.Cost = &cost
	}
	if o.Budget != (distill.Budget{}) {
		a.Budget = &Bound{Reached: o.Budget.Spent(counters, o.Prices), Left: account.Unasked[distill.BudgetSpent], Over: o.Budget.Over(counters, o.Prices),
			Text: budgetText(o.Budget, counters, o.Prices)}
	}
	if n := o.Target.Accepted; n > 0 {
		a.Target = &Bound{Reached: account.Accepted >= int64(n), Left: account.Unasked[distill.TargetReached],
			Text: fmt.Sprintf("%d of %d rows", account.Accepted, n)}
	}
	a.BySample = bySamples(scored, &c.Curate.Select)
	return a, nil
}

// bySamples groups the prompts, whose rows stand side by side, by how many answers they have.
func bySamples(scored []stillhouse.Scored, s *curate.Select) (out []ByK) {
	groups, most := map[int]*ByK{}, 0
	for from := 0; from < len(scored); {
		to, accepted := from, 0
		for ; to < len(scored) && scored[to].ID == scored[from].ID; to++ {
			if s.Accepts(scored[to].Reward, scored[to].Scores) {
				accepted++
			}
		}
		g := groups[to-from]
		if g == nil {
			g = &ByK{Samples: to - from}
			groups[to-from] = g
		}
		g.Prompts++
		g.Accepted += accepted
		g.AcceptedPrompts += min(accepted, 1)
		most = max(most, to-from)
		from = to
	}
	for k := 1; k <= most; k++ {
		if g := groups[k]; g != nil {
			out = append(out, *g)
		}
	}
	return out
}

// budgetText says of each bound of a budget how much of it is spent.
func budgetText(b distill.Budget, c distill.Counters, p distill.Prices) string {
	var parts []string
	add := func(spent, bound int64, what string) {
		if bound > 0 {
			parts = append(parts, fmt.Sprintf("%d of %d %s", spent, bound, what))
		}
	}
	add(c.Requests, b.Requests, "requests")
	add(c.PromptTokens, b.PromptTokens, "prompt tokens")
	add(c.CompletionTokens, b.CompletionTokens, "completion tokens")
	if b.Dollars > 0 {
		parts = append(parts, fmt.Sprintf("$%s of $%s", dollars(p.Cost(c)), dollars(b.Dollars)))
	}
	return strings.Join(parts, ", ")
}

// sentAgain says which requests had to be sent again, behind a sentence; empty for none.
func sentAgain(c distill.Counters) string {
	if n := count(c.Retries); n > 0 {
		return fmt.Sprintf(" Sent again: %d (%s).", n, reasons(c.Retries))
	}
	return ""
}

func paidTokens(c distill.Counters) string {
	cached := ""
	if c.CachedTokens > 0 {
		cached = fmt.Sprintf(" (%d of them from the endpoint's cache)", c.CachedTokens)
	}
	return fmt.Sprintf("%d prompt tokens%s, %d completion tokens", c.PromptTokens, cached, c.CompletionTokens)
}

func (a *Asking) writeText(w io.Writer) {
	fmt.Fprintf(w, "\nTeacher: %d answers in the rows; %d requests brought %d of them, %d were in the response store.%s", a.Answers, a.Requests, a.Asked, a.Stored, sentAgain(a.Counters))
	fmt.Fprintf(w, "\nPaid for: %s", paidTokens(a.Counters))
	if a.Cost != nil {
		fmt.Fprintf(w, ", $%s", dollars(*a.Cost))
	}
	fmt.Fprintln(w, ".")
	if b := a.Budget; b != nil {
		state := "has something left"
		if b.Reached {
			state = "is spent"
		}
		fmt.Fprintf(w, "The budget %s: %s", state, b.Text)
		if b.Over != "" {
			fmt.Fprintf(w, "; overrun by %d requests that were in flight", a.Late)
		}
		if b.Left > 0 {
			fmt.Fprintf(w, "; %d samples were not asked for: raise distill.budget and run again", b.Left)
		}
		fmt.Fprintln(w, ".")
	}
	if t := a.Target; t != nil {
		state := "is not reached"
		if t.Reached {
			state = "is reached"
		}
		fmt.Fprintf(w, "The target %s: %s", state, t.Text)
		if t.Left > 0 {
			fmt.Fprintf(w, "; the %d samples after it were not needed", t.Left)
		}
		fmt.Fprintln(w, ".")
	}
	if len(a.BySample) < 2 {
		return
	}
	t := newTable(w)
	t.AppendHeader(table.Row{"answers a prompt", "prompts", "with an accepted answer", "answers accepted"})
	for _, g := range a.BySample {
		t.AppendRow(table.Row{g.Samples, g.Prompts, percent(float64(g.AcceptedPrompts) / float64(g.Prompts)), percent(float64(g.Accepted) / float64(g.Prompts*g.Samples))})
	}
	t.Render()
}
