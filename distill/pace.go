package distill

import (
	"math"
	"time"
)

const (
	firstPace   = 20.0                   // requests a second after the first refusal, when nothing is known of the rate
	paceDoubles = 100 * time.Millisecond // a rate that is searched for doubles in this time
	paceClimbs  = 2 * time.Second        // and one that was measured in the search in this
	paceBehind  = 20 * time.Millisecond  // how far requests may lag behind the pace and catch up
	paceMemory  = 10 * time.Second       // refusals of this time measure the rate
	paceSample  = 5                      // requests that a measurement needs at least
	paceShare   = 0.98                   // what is used of a measured rate at first
	paceTopped  = 0.85                   // of the pace at which a climb ends, what is used at least
	paceCut     = 0.7                    // what a cruise is cut to at most
)

// A pace is how many requests a second a lane sends. It bounds nothing until a request is refused for reasons of rate
// (429), for which a window of requests at a time is the wrong measure: an endpoint that answers in a millisecond lets
// two in flight be thousands a second, and one that answers in a minute lets a hundred be two.
//
// An endpoint that limits a rate counts requests against a bucket that refills at that rate; when it refuses, the
// bucket is empty. So what it let through from one refusal to another, over the time between them, is its rate, unless
// the bucket was full meanwhile: then it is more. The pace is therefore found in three steps, each of which ends with a
// refusal: a search from firstPace, doubling every tenth of a second; a climb from what the search measured, doubling
// every two seconds; and a cruise at 98 % of what was measured, which grows slowly at first (1 % in a second) and then
// faster (a tenth in five, twice in twenty), until the next refusal measures it anew. So a limit that was raised
// meanwhile is found.
type pace struct {
	rate     float64   // requests a second at since; 0 does not bound
	step     paceStep  // how it grows
	since    time.Time // when it was set
	due      time.Time // when the next request is due
	slow     float64   // how many times more slowly it grows than it would; below 1 means 1
	refusals int64     // so far
	base     refusal   // from which the rate was measured
	floor    float64   // what it is not cut below at once
	seen     []refusal // of the last paceMemory, oldest first
}

type paceStep int

const (
	unpaced paceStep = iota
	search
	climb
	cruise
)

// A refusal is a moment at which the endpoint's bucket was empty.
type refusal struct {
	at       time.Time
	sent     int64 // requests that had been sent by then
	refusals int64 // and refusals that had come
}

// until is what an endpoint let through from one refusal to another, and how many requests a second that is.
func (r refusal) until(to refusal) (through int64, rate float64) {
	through = (to.sent - r.sent) - (to.refusals - r.refusals)
	if passed := to.at.Sub(r.at).Seconds(); passed > 0 {
		rate = float64(through) / passed
	}
	return through, rate
}

// now is the rate at a time.
func (p *pace) now(t time.Time) float64 {
	passed := t.Sub(p.since)
	if passed <= 0 {
		return p.rate
	}
	switch p.step {
	case search:
		return p.rate * math.Exp2(min(40, float64(passed)/float64(paceDoubles)))
	case climb:
		return p.rate * math.Exp2(min(40, float64(passed)/float64(paceClimbs)))
	default:
		s := passed.Seconds() / max(1, p.slow)
		return p.rate * (1 + 0.005*s + 0.005*s*s/2)
	}
}

// measured reports whether the rate is more than a guess.
func (p *pace) measured() bool { return p.step > search }

// ready is the earliest time for the next request.
func (p *pace) ready() time.Time {
	if p.step == unpaced {
		return time.Time{}
	}
	return p.due.Add(-paceBehind)
}

// take is told of a request that is sent.
func (p *pace) take(now time.Time) {
	if p.step == unpaced {
		return
	}
	if late := now.Sub(p.due); late > 0 { // it is not the pace that held this one back: it does not grow by that time
		p.due, p.since = now, p.since.Add(late)
	}
	p.due = p.due.Add(p.gap(now))
}

// rest is told that nothing is sent until t: no requests are caught up with then, and the pace does not grow before.
func (p *pace) rest(t time.Time) {
	p.due = t.Add(paceBehind)
	if t.After(p.since) {
		p.since = t
	}
}

// gap is the time between two requests.
func (p *pace) gap(now time.Time) time.Duration {
	if p.step == unpaced {
		return 0
	}
	return time.Duration(min(float64(time.Hour), float64(time.Second)/p.now(now)))
}

// refused is told of a refusal of a request: when it was sent, and as which.
func (p *pace) refused(now, sent time.Time, number int64) {
	here := refusal{at: sent, sent: number, refusals: p.refusals}
	p.refusals++
	if p.step != unpaced && sent.Before(p.since) { // it was on its way: fewer had been let through than it seemed
		if _, rate := p.base.until(here); p.measured() && rate > 0 {
			p.rate = min(p.rate, max(p.floor, paceShare*rate))
		}
		return
	}
	was := p.now(now)
	for len(p.seen) > 1 && sent.Sub(p.seen[1].at) > paceMemory {
		p.seen = p.seen[1:]
	}
	var through int64
	var rate float64
	if len(p.seen) > 0 {
		p.base = p.seen[0]
		through, rate = p.base.until(here)
	}
	p.floor = 0
	switch {
	case p.step == unpaced:
		p.rate, p.step = firstPace, search
	case through < paceSample:
		p.rate = max(was/2, 1/60.)
	case p.step == search:
		p.rate, p.step, p.seen = paceShare*rate, climb, nil
	case p.step == climb:
		p.rate, p.step, p.seen = max(paceShare*rate, paceTopped*was), cruise, nil
	default: // it was full meanwhile if this process, or this machine, stood still
		p.floor = paceCut * was
		p.rate = max(paceShare*rate, p.floor)
	}
	p.seen = append(p.seen, here)
	p.since = now
}
