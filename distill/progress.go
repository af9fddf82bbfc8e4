package distill

import (
	"math"

	"stillhouse"
)

// A Status is how far a stage is, for those who watch it.
type Status struct {
	Counters
	Speed

	Prompts, Total int // decided, and all of them; Total is 0 where nobody said
	Judged         int // answers that were judged by this process
	Accepted       int // of them, those that are good enough
	Rows           int // accepted rows of the run, at most curate.select.best a prompt; of what this process judged or knows of

	Cost    float64 // dollars so far; 0 without prices
	CostEnd float64 // dollars at the end, if the prompts to come are like those asked so far; NaN when it cannot be said

	BudgetSpent, TargetReached bool
}

// a walk counts prompts.
type walk struct {
	prompts int // decided
	paid    int // of them, those of which an answer came from the endpoint
	rows    int // accepted
}

// before counts what a shard that is there already holds.
func (w *walk) before(a stillhouse.Account, fanout int) {
	w.prompts += int(a.In) / fanout
	w.rows += int(a.Accepted)
}

// Status says how far the stage is.
func (d *Distill) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.asker
	if a == nil {
		return Status{Counters: Counters{Retries: map[string]int64{}}, CostEnd: math.NaN()}
	}
	t := &a.tally
	s := Status{Counters: t.snapshot(), Total: d.expected, Speed: a.pool.speed()}
	t.mu.Lock()
	s.Judged, s.Accepted = int(t.Judged), int(t.Accepted)
	now, start := t.walk, t.earlier
	t.mu.Unlock()
	s.Prompts, s.Rows = now.prompts+d.made.prompts, now.rows+d.made.rows
	s.Cost = a.opts.Prices.Cost(s.Counters)
	s.BudgetSpent = a.opts.Budget.Spent(s.Counters, a.opts.Prices)
	s.TargetReached = d.queue != nil && d.queue.reached()
	s.CostEnd = project(&a.opts, s, now, s.Cost-a.opts.Prices.Cost(start))
	return s
}

// project is the cost at the end: every prompt to come is taken to cost what the ones paid for in this process did, the
// prompts up to the target, and no more than the budget.
func project(o *Options, s Status, now walk, paid float64) float64 {
	if !o.Prices.Known() || s.Total == 0 || now.paid == 0 && s.Prompts < s.Total {
		return math.NaN()
	}
	left := float64(max(0, s.Total-s.Prompts))
	if target := o.Target.Accepted; target > 0 {
		switch {
		case s.Rows >= target:
			left = 0
		case s.Rows > 0:
			left = min(left, float64(target-s.Rows)*float64(s.Prompts)/float64(s.Rows))
		}
	}
	end := s.Cost
	if now.paid > 0 {
		end += left * paid / float64(now.paid)
	}
	if o.Budget.Dollars > 0 {
		end = min(end, max(o.Budget.Dollars, s.Cost))
	}
	if s.BudgetSpent {
		end = s.Cost
	}
	return end
}
