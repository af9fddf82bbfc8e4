package distill

import (
	"math"
	"time"
)

const (
	firstPace   = 20.0                   // requests a second after the first refusal, when nothing is known of the rate
	paceDoubles = 100 * time.Millisecond // a rate that is searched for doubles in this time
	paceBehind  = 20 * time.Millisecond  // how far requests may lag behind the pace and catch up
	paceMemory  = 10 * time.Second       // refusals of this time measure the rate
	paceSample  = 5                      // requests that a measurement needs at least
	paceShare   = 0.98                   // what is used of a measured rate at first
)

// A pace is how many requests a second a lane sends. It bounds nothing until a request is refused for reasons of rate
// (429), for which a window of requests at a time is the wrong measure: an endpoint that answers in a millisecond lets
// two in flight be thousands a second, and one that answers in a minute lets a hundred be two.
//
// An endpoint that limits a rate counts requests against a bucket that refills at that rate; when it refuses, the
// bucket is empty. So what it let through from one refusal to another, over the time between them, is its rate. Until
// there are two refusals, the pace is searched for: firstPace, doubling every tenth of a second. Once it is measured, it
// is 98 % of that and grows, slowly at first (1 % in a second) and then faster (a tenth in five, twice in twenty), until
// the next refusal measures it anew: a limit that was raised meanwhile is found.
type pace struct {
	rate      float64   // requests a second at since; 0 does not bound
	searching bool      // the rate is a guess
	since     time.Time // when it was set
	due       time.Time // when the next request is due
	refusals  int64     // so far
	seen      []refusal // of the last paceMemory, oldest first
}

// A refusal is a moment at which the endpoint's bucket was empty.
type refusal struct {
	at       time.Time
	sent     int64 // requests that had been sent by then
	refusals int64 // and refusals that had come
}

// now is the rate at a time.
func (p *pace) now(t time.Time) float64 {
	passed := t.Sub(p.since)
	switch {
	case p.rate == 0 || passed <= 0:
		return p.rate
	case p.searching:
		return p.rate * math.Exp2(min(40, float64(passed)/float64(paceDoubles)))
	default:
		s := passed.Seconds()
		return p.rate * (1 + 0.005*s + 0.005*s*s/2)
	}
}

// ready is the earliest time for the next request.
func (p *pace) ready() time.Time {
	if p.rate == 0 {
		return time.Time{}
	}
	return p.due.Add(-paceBehind)
}

// take is told of a request that is sent.
func (p *pace) take(now time.Time) {
	if p.rate == 0 {
		return
	}
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(p.gap(now))
}

// gap is the time between two requests.
func (p *pace) gap(now time.Time) time.Duration {
	if p.rate == 0 {
		return 0
	}
	return time.Duration(min(float64(time.Hour), float64(time.Second)/p.now(now)))
}

// refused is told of a refusal of a request: when it was sent, and as which.
func (p *pace) refused(now, sent time.Time, number int64) {
	here := refusal{at: sent, sent: number, refusals: p.refusals}
	p.refusals++
	for len(p.seen) > 0 && sent.Sub(p.seen[0].at) > paceMemory {
		p.seen = p.seen[1:]
	}
	was := p.now(now)
	passed, through := time.Duration(0), int64(0)
	if len(p.seen) > 0 {
		first := p.seen[0]
		passed = sent.Sub(first.at)
		through = (here.sent - first.sent) - (here.refusals - first.refusals)
	}
	if last := len(p.seen) - 1; last < 0 || sent.Sub(p.seen[last].at) > paceMemory/64 { // those of one moment are one
		p.seen = append(p.seen, here)
	}
	switch {
	case through >= paceSample && passed > 0:
		p.rate, p.searching = paceShare*float64(through)/passed.Seconds(), false
	case p.rate == 0:
		p.rate, p.searching = firstPace, true
	case sent.After(p.since):
		p.rate = max(was/2, 1/60.)
	default: // it was sent before the pace was set, and says nothing of it
		return
	}
	p.since = now
	p.due = now
}
