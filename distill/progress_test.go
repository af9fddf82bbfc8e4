package distill

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/testkit"
)

func TestStatus(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		switch {
		case c.Number == 5 && c.Nth == 0:
			return testkit.Status(500, "", "")
		case c.Number == 12:
			close(arrived)
			return &testkit.Fault{Hold: release, Pass: true}
		}
		return nil
	}})
	d := newStage(t, teacher, func(d *Distill) {
		d.Concurrency, d.Prices = 1, Prices{Input: 1, Output: 10}
		d.Join(quarter)
		d.Expect(20)
	})
	assert.True(t, math.IsNaN(d.Status().CostEnd), "before it is open")
	require.NoError(t, d.Open(context.Background()))
	assert.True(t, math.IsNaN(d.Status().CostEnd), "before anything is asked")
	done := make(chan result)
	go func() {
		r, err := run(context.Background(), d, questions(20))
		assert.NoError(t, err)
		done <- r
	}()
	<-arrived
	s := d.Status()
	assert.Equal(t, int64(13), s.Requests)
	assert.Equal(t, 1, s.InFlight)
	assert.Equal(t, 1, s.Concurrency)
	assert.Equal(t, map[string]int64{"500": 1}, s.Retries)
	close(release)
	r := <-done
	s = d.Status()
	good := 0
	for _, c := range r.Rows {
		if quarter.good(c) {
			good++
		}
	}
	assert.Equal(t, []int{20, 20, 80, good, 0}, []int{s.Prompts, s.Total, s.Judged, s.Accepted, s.InFlight})
	assert.LessOrEqual(t, s.Rows, 20)
	assert.InDelta(t, s.Cost, s.CostEnd, 1e-12, "at the end")
}

func TestProjection(t *testing.T) {
	priced := func(b Budget, target int) *Options {
		return &Options{Prices: Prices{Output: 1}, Budget: b, Target: Target{Accepted: target}}
	}
	half := Status{Total: 100, Prompts: 50, Rows: 20, Cost: 6}
	for name, tc := range map[string]struct {
		o    *Options
		s    Status
		now  walk
		paid float64
		want float64
	}{
		"all of them asked for":        {priced(Budget{}, 0), half, walk{prompts: 50, paid: 50}, 5, 6 + 5},
		"half of them in the store":    {priced(Budget{}, 0), half, walk{prompts: 50, paid: 25}, 5, 6 + 10},
		"up to a target":               {priced(Budget{}, 30), half, walk{prompts: 50, paid: 50}, 5, 6 + 2.5},
		"a target out of reach":        {priced(Budget{}, 300), half, walk{prompts: 50, paid: 50}, 5, 6 + 5},
		"a target that is reached":     {priced(Budget{}, 20), half, walk{prompts: 50, paid: 50}, 5, 6},
		"no more than the budget":      {priced(Budget{Dollars: 8}, 0), half, walk{prompts: 50, paid: 50}, 5, 8},
		"a budget that was overrun":    {priced(Budget{Dollars: 5}, 0), half, walk{prompts: 50, paid: 50}, 5, 6},
		"a budget of requests, spent":  {priced(Budget{Requests: 7}, 0), Status{Total: 100, Prompts: 50, Cost: 6, BudgetSpent: true}, walk{prompts: 50, paid: 50}, 5, 6},
		"done, and all from the store": {priced(Budget{}, 0), Status{Total: 100, Prompts: 100, Cost: 6}, walk{prompts: 100}, 0, 6},
		"nothing asked for yet":        {priced(Budget{}, 0), Status{Total: 100, Prompts: 10}, walk{prompts: 10}, 0, math.NaN()},
		"no prices":                    {&Options{}, half, walk{prompts: 50, paid: 50}, 5, math.NaN()},
	} {
		got := project(tc.o, tc.s, tc.now, tc.paid)
		assert.True(t, math.Abs(got-tc.want) < 1e-9 || math.IsNaN(got) && math.IsNaN(tc.want), "%s: %v, not %v", name, got, tc.want)
	}
}
