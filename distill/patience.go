package distill

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"stillhouse"
)

// backoff is the exponential back-off with full jitter: a wait drawn evenly from 0 to 0.5 s doubled with every try, at
// most a minute. (Brooker, Exponential Backoff And Jitter, 2015: of the variants it needs the fewest calls.)
func backoff(try int, draw func() float64) time.Duration {
	const base, limit = 500 * time.Millisecond, time.Minute
	ceiling := limit
	if try < 7 {
		ceiling = base << try
	}
	return time.Duration(draw() * float64(ceiling))
}

// sameFailures is how many prompts may fail in the same way, with no answer among them, before the run ends: a wrong
// model name must not cost ten thousand requests.
const sameFailures = 20

// patience decides when an endpoint has failed for good. It is shared by all requests of a stage.
type patience struct {
	clock  clock
	giveUp time.Duration

	mu        sync.Mutex
	expected  int          // prompts in the whole run; 0 when nobody said
	decided   int          // of them, those that need nothing more
	reached   bool         // the endpoint has answered something, be it an error
	answered  bool         // there was an answer, fresh or from the store
	refusing  time.Time    // of the first refusal since the last answer
	refused   map[Key]bool // the queries refused since then
	streak    map[Key]bool // the queries given up since the last answer
	last      *failure     // of the streak
	different bool         // the streak is of more than one kind of failure
}

// stored is told of every answer that was in the store.
func (p *patience) stored() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered = true
}

// good is told of every answer of the endpoint.
func (p *patience) good() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered, p.reached = true, true
	p.streak, p.last, p.different, p.refusing, p.refused = nil, nil, false, time.Time{}, nil
}

// tries is how often a request may be sent again after a failure of this kind. A server that was never there is
// waited for less long than one that went away.
func (p *patience) tries(f *failure, most int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reached = p.reached || f.status != 0
	if f.kind == "connect" && !p.reached {
		return min(most, 3)
	}
	return most
}

// wait is told of a request of a query that will be sent again after some time. It says no when the endpoint has
// refused that for give_up_after, or will have by the end of the wait: with an error that ends the run when it refuses
// everything, without one when it is this query alone, or one of the last few of the run, which no other can show to be
// at fault. Answers that are only late are no refusals.
func (p *patience) wait(q Key, f *failure, d time.Duration) (goOn bool, err error) {
	if f.status == 0 && f.kind != "connect" {
		return true, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	if p.refusing.IsZero() {
		p.refusing, p.refused = now, make(map[Key]bool)
	}
	p.refused[q] = true
	if now.Add(d).Sub(p.refusing) <= p.giveUp {
		return true, nil
	}
	left := p.expected - p.decided
	if p.answered && (len(p.refused) == 1 || left <= len(p.refused) && left > 0 && left < sameFailures) {
		return false, nil
	}
	return false, gaveUp(now.Sub(p.refusing), p.giveUp, f.message, f.wait)
}

// prompts is told of prompts that are decided.
func (p *patience) prompts(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decided += n
}

// failed is told of a request of a query that was given up. Its error ends the run.
func (p *patience) failed(q Key, f *failure) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil && !p.last.same(f) {
		p.different = true
	}
	if p.streak == nil {
		p.streak = make(map[Key]bool)
	}
	p.streak[q] = true
	p.last = f
	if f.kind == "connect" {
		return stillhouse.Transientf("%s: is the server running, and is distill.endpoint right? every answer is kept, run again to go on", f.message)
	}
	limit := sameFailures
	if p.expected > 0 && !p.answered {
		limit = min(limit, p.expected)
	}
	switch {
	case p.different || len(p.streak) < limit:
		return nil
	case f.scope == rowOnly && !p.answered:
		return stillhouse.Invalidf("the first %d prompts all failed in the same way: %s", len(p.streak), f.message)
	case f.scope != rowOnly:
		return stillhouse.Transientf("%d prompts after another failed in the same way: %s; every answer is kept, run again to go on", len(p.streak), f.message)
	}
	return nil
}

// turns makes equal queries take turns, so that what one of them asks the others find in the store.
type turns struct {
	mu   sync.Mutex
	busy map[Key]chan struct{}
}

func (t *turns) take(ctx context.Context, k Key) (end func(), err error) {
	for {
		t.mu.Lock()
		wait, taken := t.busy[k]
		if !taken {
			mine := make(chan struct{})
			if t.busy == nil {
				t.busy = make(map[Key]chan struct{})
			}
			t.busy[k] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.busy, k)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// jitter is the default source of the back-off's draws.
func jitter() float64 { return rand.Float64() }
