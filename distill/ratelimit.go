package distill

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A quota is what an endpoint's headers say of one of its limits: how much there is, how much is left, and after how
// long it is whole again. Names and forms differ, and so does what the reset means: with OpenAI, Groq and others the
// limit refills all the time and reset is when it would be full; with a fixed window, all of it comes back at the
// reset and nothing before. (limit − remaining) / reset is the rate of the refill in the first case. It is believed
// until a request is refused that it let through; from then on the limit counts as a fixed window.
type quota struct {
	known  bool
	left   float64 // when the newest answer was made, less what has been sent since
	limit  float64
	at     time.Time
	reset  time.Duration // from at on
	number int64         // the request whose answer it is from
	fixed  bool

	refilled int // requests that were sent on account of the refill alone, since the last that were not
}

// quotas are those of requests and of tokens.
type quotas struct{ requests, tokens quota }

// The names of the headers, in the order in which they are looked for: OpenAI's, which most others took over, then
// those of the drafts of the IETF, OpenRouter, Together and Mistral.
var (
	requestHeaders = []string{"X-Ratelimit-%-Requests", "X-Ratelimit-%", "Ratelimit-%", "X-Ratelimit-%-Req-Minute"}
	tokenHeaders   = []string{"X-Ratelimit-%-Tokens", "X-Tokenlimit-%", "X-Ratelimit-%-Tokens-Minute"}
)

// read takes in the headers of an answer or a refusal. sent is the number of requests sent so far, of which later ones
// than number the endpoint had not counted yet.
func (q *quotas) read(h http.Header, now time.Time, number, sent int64, tokens float64) {
	q.requests.read(h, requestHeaders, now, number, float64(sent-number))
	q.tokens.read(h, tokenHeaders, now, number, float64(sent-number)*tokens)
}

func (q *quota) read(h http.Header, names []string, now time.Time, number int64, unseen float64) {
	if number < q.number { // overtaken
		return
	}
	for _, name := range names {
		remaining, ok := headerNumber(h, strings.Replace(name, "%", "Remaining", 1))
		if !ok {
			continue
		}
		reset, ok := resetAfter(h.Get(strings.Replace(name, "%", "Reset", 1)), now)
		if !ok { // when it comes back is not said: the refusal will say more
			return
		}
		limit, _ := headerNumber(h, strings.Replace(name, "%", "Limit", 1))
		q.known, q.left, q.limit, q.at, q.reset, q.number = true, remaining-unseen, max(limit, remaining), now, reset, number
		return
	}
}

// ready is the earliest time for n more.
func (q *quota) ready(now time.Time, n float64) time.Time {
	if !q.known || !now.Before(q.at.Add(q.reset)) { // nothing is known, or all of it is back
		return time.Time{}
	}
	n = min(n, max(1, q.limit))
	if q.left >= n {
		return now
	}
	whole := q.at.Add(q.reset)
	used := q.limit - q.left
	if q.fixed || used <= 0 {
		return whole
	}
	at := q.at.Add(time.Duration((n - q.left) / used * float64(q.reset)))
	if at.After(whole) {
		return whole
	}
	return at
}

func (q *quotas) ready(now time.Time, tokens float64) time.Time {
	a, b := q.requests.ready(now, 1), q.tokens.ready(now, tokens)
	if a.After(b) {
		return a
	}
	return b
}

// take is told of a request that is sent.
func (q *quotas) take(tokens float64) {
	q.requests.take(1)
	q.tokens.take(tokens)
}

func (q *quota) take(n float64) {
	if !q.known {
		return
	}
	if q.left < n {
		q.refilled++
	} else {
		q.refilled = 0
	}
	q.left -= n
}

// refused is told of a refusal, after its headers were read, and reports whether a limit that they name accounts for it.
// If it was let through by the refill of that limit, the limit is one of fixed windows.
func (q *quotas) refused(now time.Time, number int64, tokens float64) (accounted bool) {
	for _, one := range []struct {
		*quota
		n float64
	}{{&q.requests, 1}, {&q.tokens, tokens}} {
		if !one.known || one.left >= min(one.n, max(1, one.limit)) || !now.Before(one.at.Add(one.reset)) {
			continue
		}
		accounted = true
		if one.number >= number && one.refilled > 0 {
			one.fixed = true
		}
	}
	return accounted
}

func headerNumber(h http.Header, name string) (float64, bool) {
	// Drafts of the IETF allow "100, 100;w=60".
	v, _, _ := strings.Cut(strings.TrimSpace(h.Get(name)), ",")
	v, _, _ = strings.Cut(v, ";")
	f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	return f, err == nil && f >= 0 && f < 1e15
}

// resetAfter reads when a limit is whole again, in the forms that are in use: "1m30s", "12ms", seconds with or without a
// fraction, Unix time in seconds or milliseconds, an HTTP date, RFC 3339.
func resetAfter(v string, now time.Time) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	var at time.Time
	if f, err := strconv.ParseFloat(v, 64); err == nil {
		switch {
		case !(f >= 0) || f > 1e15:
			return 0, false
		case f > 1e11:
			at = time.UnixMilli(int64(f))
		case f > 1e9:
			at = time.Unix(0, int64(f*1e9))
		default:
			return bounded(time.Duration(min(f, maxWait.Seconds()) * float64(time.Second))), true
		}
	} else if d, err := time.ParseDuration(strings.ReplaceAll(v, " ", "")); err == nil {
		return bounded(d), true
	} else if at, err = http.ParseTime(v); err == nil {
		return bounded(at.Sub(now)), true
	} else if at, err = time.Parse(time.RFC3339, v); err != nil {
		return 0, false
	}
	return bounded(at.Sub(now)), true
}

func bounded(d time.Duration) time.Duration { return min(max(d, 0), maxWait) }
