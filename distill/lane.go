package distill

import (
	"fmt"
	"math"
	"net/http"
	"time"
)

// A lane is one endpoint with one key. How many requests it takes at a time and a second is found for it alone. The
// pool that it belongs to guards it.
type lane struct {
	endpoint *endpoint
	window   window
	pace     pace
	limits   limits  // those that the config names
	told     quotas  // those that the endpoint's headers name
	breaker  breaker // opens in an outage

	inFlight int
	sent     int64 // requests so far

	held    time.Time // when it was last told to wait
	until   time.Time // until when nothing is sent
	why     string    // what the endpoint said, of the last refusal or failure
	refused int       // holds since the last answer
}

// A pass lets one request through a lane.
type pass struct {
	lane   *lane
	key    Key
	number int64 // of the lane's requests
	at     time.Time
	tokens float64 // what it is expected to take of the limit of tokens
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
	if at := l.told.ready(now, l.sent, tokens); now.Before(at) {
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
	return &pass{lane: l, key: key, number: l.sent, at: now, tokens: tokens, probe: l.breaker.probing}
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
	if tokens > 0 {
		l.limits.settle(now, p.tokens, tokens, 0)
	}
	full := l.inFlight >= l.window.limit(now)
	switch took := now.Sub(p.at); {
	case took > timeout*4/5: // the next ones would come too late
		l.window.failed(now, p.at, l.inFlight)
	case took > timeout/2: // requests queue up in the endpoint: no more of them
	default:
		l.window.answered(full)
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
	paced := l.pace.rate > 0 && l.inFlight < l.window.limit(now)
	switch {
	case f.status == http.StatusTooManyRequests:
		if !paced { // what held requests back is what was too much
			l.window.refused(now, p.at, l.inFlight)
		}
		l.pace.refused(now, p.at, p.number)
		l.told.refused(p.number)
	case f.loaded():
		l.window.failed(now, p.at, l.inFlight)
	}
	if f.scope == rateOnly {
		l.hold(now, p, f, draw)
	}
	l.breaker.failure(now, p.key, f.scope == rateOnly, func(try int) time.Duration { return max(f.wait, backoff(try+1, draw)) })
}

// hold keeps back what has not been sent yet, after a refusal. What the endpoint asks for is obeyed, with one exception:
// servers round Retry-After up to whole seconds, so that 1 says no more than "within a second". Then, and where nothing
// is asked for, the lane waits for as long as a few requests take at the rate that is known, or some hundredths of a
// second where none is, and tries again; if it is refused again before anything was answered, it waits the whole time,
// or twice as long as before.
func (l *lane) hold(now time.Time, p *pass, f *failure, draw func() float64) {
	coarse := f.wait < 0 || f.wait == 0 || f.wait == time.Second && !f.exact
	if !coarse {
		l.refused++
		l.held = now
		l.keepUntil(now.Add(f.wait))
		return
	}
	if !p.at.After(l.held) && !l.held.IsZero() { // it was on its way when the lane was held
		return
	}
	wait := 25*time.Millisecond + time.Duration(draw()*float64(25*time.Millisecond))
	if gap := l.pace.gap(now); !l.pace.searching {
		wait = max(3*gap, time.Millisecond)
	}
	switch {
	case l.refused > 0 && f.wait > 0:
		wait = f.wait
	case l.refused > 0:
		wait = max(wait, backoff(l.refused-1, draw))
	case f.wait > 0:
		wait = min(wait, f.wait)
	}
	l.refused++
	l.held = now
	l.keepUntil(now.Add(wait))
}

func (l *lane) keepUntil(t time.Time) {
	if t.After(l.until) {
		l.until = t
	}
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
