package distill

import (
	"fmt"
	"math"
	"net/http"
	"time"
)

// holdShare is how many times as long as it was held for a lane looks for more room: refusals that cost a minute each are
// met less often than those that cost a moment.
const holdShare = 6

// A lane is one endpoint with one key. How many requests it takes at a time and a second is found for it alone. The
// pool that it belongs to guards it.
type lane struct {
	endpoint *endpoint
	window   window
	pace     pace
	limits   limits  // those that the config names
	told     quotas  // those that the endpoint's headers name
	breaker  breaker // opens in an outage
	roof     roof    // whether it is the number of requests at a time that is refused

	inFlight int
	sent     int64 // requests so far

	held    time.Time // when it was last told to wait
	until   time.Time // until when nothing is sent
	why     string    // what the endpoint said, of the last refusal or failure
	refused int       // holds in a row without anything that was let through between them
	heldAt  int64     // requests that had been sent when it was last held
	since   int64     // of those after them, how many were refused
}

// A pass lets one request through a lane.
type pass struct {
	lane   *lane
	key    Key
	number int64 // of the lane's requests
	at     time.Time
	tokens float64 // what it is expected to take of the limit of tokens
	crowd  int     // requests in flight, itself included
	probe  bool
}

// room reports whether a request for so many tokens may be sent now. If not, at is when to ask again, and is zero where
// only the end of another request makes room; waits is true where the endpoint wants it so.
func (l *lane) room(now time.Time, tokens float64) (ok bool, at time.Time, waits bool) {
	if now.Before(l.until) {
		return false, l.until, true
	}
	if ok, at := l.breaker.closed(now); !ok {
		return false, at, !at.IsZero()
	}
	if l.inFlight >= l.window.limit(now) {
		return false, l.window.opens(now), false
	}
	if at := l.pace.ready(); now.Before(at) {
		return false, at, false
	}
	if at := l.limits.ready(now, tokens); now.Before(at) {
		return false, at, false
	}
	if at := l.told.ready(now, tokens); now.Before(at) {
		return false, at, true
	}
	return true, now, false
}

// send is told of a request that is sent.
func (l *lane) send(now time.Time, key Key, tokens float64) *pass {
	if l.window.began.IsZero() {
		l.window.began = now
	}
	l.inFlight++
	l.sent++
	l.pace.take(now)
	l.limits.take(now, tokens)
	l.told.take(tokens)
	l.breaker.send()
	return &pass{lane: l, key: key, number: l.sent, at: now, tokens: tokens, crowd: l.inFlight, probe: l.breaker.probing}
}

// cancel is told that a request was not needed after all.
func (l *lane) cancel(now time.Time, p *pass) {
	l.limits.settle(now, p.tokens, 0, 1)
	if p.probe {
		l.breaker.probing = false
	}
}

// answer is told of an answer, and how many tokens it took, where the endpoint says so.
func (l *lane) answer(now time.Time, p *pass, tokens float64, timeout time.Duration) {
	if p.at.After(l.held) {
		l.refused = 0
	}
	l.breaker.answer()
	l.roof.answered(p.crowd)
	if tokens > 0 {
		l.limits.settle(now, p.tokens, tokens, 0)
	}
	full := l.inFlight >= l.window.limit(now)
	switch took := now.Sub(p.at); {
	case took > timeout*4/5: // the next ones would come too late
		l.window.failed(now, p.at, l.inFlight)
	case took > timeout/2: // requests queue up in the endpoint: no more of them
	default:
		l.window.answered(now, full)
	}
}

// fail is told of a request that brought no answer. draw is the jitter.
func (l *lane) fail(now time.Time, p *pass, f *failure, draw func() float64) {
	l.limits.settle(now, p.tokens, 0, 0)
	if f.scope == rowOnly || f.scope == runEnds { // the endpoint is well
		l.breaker.answer()
		return
	}
	l.why = f.message
	if f.scope == rateOnly {
		l.refusal(now, p, f)
	} else if f.loaded() {
		l.window.failed(now, p.at, l.inFlight)
	}
	holds := 0
	if f.scope == rateOnly {
		l.hold(now, p, f, draw)
		holds = l.refused
	}
	l.breaker.failure(now, p.key, holds, func(try int) time.Duration { return max(f.wait, backoff(try+1, draw)) })
}

// refusal is told of a 429, or of a 503 that asks to wait. What held requests back until then is what was too much: the
// pace, where there is one and the window was not full, else the window. After a 429 it is the pace from then on,
// unless it shows that what the endpoint limits is requests at a time. A refusal that the endpoint's headers account for
// changes neither.
func (l *lane) refusal(now time.Time, p *pass, f *failure) {
	if l.told.refused(now, p.number, p.tokens) {
		return
	}
	if l.held.IsZero() || p.at.After(l.held) {
		l.roof.episode(p.crowd)
	} else {
		l.roof.more(p.crowd)
	}
	if limit := l.roof.limit(); limit > 0 {
		l.pace = pace{}
		l.window.under(now, limit)
		return
	}
	if l.pace.step == unpaced || l.inFlight >= l.window.limit(now) {
		l.window.refused(now, p.at, l.inFlight)
	}
	if f.status != http.StatusTooManyRequests {
		return
	}
	if l.pace.refused(now, p.at, p.number); l.pace.measured() {
		l.window.reopen(now)
	}
}

// hold keeps back what has not been sent yet, after a refusal. What the endpoint asks for is obeyed, with one exception:
// servers round Retry-After up to whole seconds, so that 1 says no more than "within a second". Then, and where nothing
// is asked for, the lane waits for as long as a few requests take at the rate that is known, or some hundredths of a
// second where none is, and tries again; if it is refused again before anything was answered, it waits the whole time,
// or twice as long as before.
func (l *lane) hold(now time.Time, p *pass, f *failure, draw func() float64) {
	if p.number > l.heldAt {
		if p.number-l.heldAt-1 > l.since { // an earlier one was let through, be it answered yet or not
			l.refused = 0
		}
		l.since++
	}
	coarse := f.wait < 0 || f.wait == 0 || f.wait == time.Second && !f.exact
	if l.held.IsZero() || p.at.After(l.held) {
		l.refused++
	} else if coarse { // it was on its way when the lane was held
		return
	}
	wait := 25*time.Millisecond + time.Duration(draw()*float64(25*time.Millisecond))
	if gap := l.pace.gap(now); l.pace.measured() {
		wait = max(3*gap, time.Millisecond)
	}
	switch again := l.refused > 1; {
	case !coarse, again && f.wait > 0:
		wait = f.wait
	case again:
		wait = max(wait, backoff(l.refused-2, draw))
	case f.wait > 0:
		wait = min(wait, f.wait)
	}
	l.held, l.heldAt, l.since = now, l.sent, 0
	l.window.slow, l.pace.slow = holdShare*wait, holdShare*wait.Seconds()
	l.keepUntil(now.Add(wait))
}

func (l *lane) keepUntil(t time.Time) {
	if t.After(l.until) {
		l.until = t
	}
	l.pace.rest(l.until)
}

// down reports whether the lane is in an outage or told to wait.
func (l *lane) down(now time.Time) bool { return l.breaker.open || now.Before(l.until) }

// load is the share of the lane that is in use.
func (l *lane) load(now time.Time) float64 {
	return float64(l.inFlight) / float64(max(1, l.window.limit(now)))
}

// perSecond is the lowest rate that the lane is held to, 0 for none.
func (l *lane) perSecond(now time.Time) float64 {
	rate := math.Inf(1)
	for _, r := range []float64{l.pace.now(now), l.limits.requests.rate} {
		if r > 0 {
			rate = min(rate, r)
		}
	}
	if math.IsInf(rate, 1) {
		return 0
	}
	return rate
}

// name tells the lane from others.
func (l *lane) name() string {
	if l.endpoint.keyEnv != "" {
		return fmt.Sprintf("%s (key %s)", l.endpoint.url, l.endpoint.keyEnv)
	}
	return l.endpoint.url
}
