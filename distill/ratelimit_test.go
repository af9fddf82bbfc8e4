package distill

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var headersAt = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func TestResetAfter(t *testing.T) {
	for v, want := range map[string]time.Duration{
		"1m30s": 90 * time.Second, "12ms": 12 * time.Millisecond, "2m59.56s": 179560 * time.Millisecond, "6h0m0s": 6 * time.Hour, "1m 30s": 90 * time.Second, "0s": 0,
		"60": time.Minute, "0.5": 500 * time.Millisecond, "0": 0, "-3s": 0,
		fmt.Sprint(headersAt.Add(time.Minute).Unix()):                     time.Minute,
		fmt.Sprint(headersAt.Add(time.Minute).UnixMilli()):                time.Minute,
		fmt.Sprint(headersAt.Add(-time.Minute).Unix()):                    0,
		headersAt.Add(time.Minute).Format(http.TimeFormat):                time.Minute,
		headersAt.Add(time.Minute).Format(time.RFC3339):                   time.Minute,
		headersAt.Add(2 * time.Minute).Format("2006-01-02T15:04:05.000Z"): 2 * time.Minute,
		"9999999": maxWait,
	} {
		d, ok := resetAfter(v, headersAt)
		assert.True(t, ok, v)
		assert.Equal(t, want, d, v)
	}
	for _, v := range []string{"", "soon", "-1", "NaN", "1e300", "1m30"} {
		_, ok := resetAfter(v, headersAt)
		assert.False(t, ok, v)
	}
}

func TestHeadersOfManyProviders(t *testing.T) {
	for name, c := range map[string]struct {
		headers map[string]string
		ready   time.Duration // until one more request of 100 tokens may be sent
	}{
		"none":                    {nil, 0},
		"enough":                  {map[string]string{"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s"}, 0},
		"none left, it refills":   {map[string]string{"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60s"}, time.Second},
		"tokens":                  {map[string]string{"x-ratelimit-limit-tokens": "6000", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m0s"}, time.Second},
		"tokens, half of them":    {map[string]string{"x-ratelimit-limit-tokens": "6000", "x-ratelimit-remaining-tokens": "50", "x-ratelimit-reset-tokens": "59.5s"}, 500 * time.Millisecond},
		"the later of both":       {map[string]string{"x-ratelimit-limit-requests": "2", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "10s", "x-ratelimit-limit-tokens": "6000", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m0s"}, 5 * time.Second},
		"OpenRouter":              {map[string]string{"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(headersAt.Add(40 * time.Second).UnixMilli())}, 2 * time.Second},
		"the IETF's draft":        {map[string]string{"RateLimit-Limit": "10, 10;w=60", "RateLimit-Remaining": "0", "RateLimit-Reset": "30"}, 3 * time.Second},
		"no limit told":           {map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "7s"}, 7 * time.Second},
		"no reset told":           {map[string]string{"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}, 0},
		"a request for more than": {map[string]string{"x-ratelimit-limit-tokens": "50", "x-ratelimit-remaining-tokens": "50", "x-ratelimit-reset-tokens": "0s"}, 0},
		"nonsense":                {map[string]string{"x-ratelimit-limit-requests": "lots", "x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "never"}, 0},
	} {
		h := http.Header{}
		for k, v := range c.headers {
			h.Set(k, v)
		}
		var q quotas
		q.read(h, headersAt, 1, 1, 100)
		at := q.ready(headersAt, 100)
		if c.ready == 0 {
			assert.False(t, at.After(headersAt), "%s: %v", name, at)
		} else {
			assert.InDelta(t, c.ready.Seconds(), at.Sub(headersAt).Seconds(), 1e-3, name)
		}
	}
}

// What has been sent since a request, the endpoint had not counted when it answered it; and answers overtake each other.
func TestHeadersOfRequestsInFlight(t *testing.T) {
	header := func(left int) http.Header {
		h := http.Header{}
		h.Set("x-ratelimit-limit-requests", "100")
		h.Set("x-ratelimit-remaining-requests", fmt.Sprint(left))
		h.Set("x-ratelimit-reset-requests", "100s")
		return h
	}
	var q quotas
	q.read(header(5), headersAt, 10, 15, 0) // five more are on their way
	assert.True(t, q.ready(headersAt, 0).After(headersAt))
	q.read(header(80), headersAt, 9, 15, 0) // an older one comes late
	assert.True(t, q.ready(headersAt, 0).After(headersAt))
	q.read(header(1), headersAt, 15, 15, 0)
	assert.False(t, q.ready(headersAt, 0).After(headersAt))
	q.take(0)
	assert.True(t, q.ready(headersAt, 0).After(headersAt))
	assert.False(t, q.ready(headersAt.Add(101*time.Second), 0).After(headersAt.Add(101*time.Second)), "after the reset all of it is there")
}

func TestForecast(t *testing.T) {
	var f forecast
	assert.Equal(t, 100+512., f.tokens(400, 1, 0), "nothing is known")
	assert.Equal(t, 100+2*64., f.tokens(400, 2, 64), "as much as max_tokens allows")
	for range 200 {
		f.learn(400, 2, 80, 100)
	}
	assert.InDelta(t, 80+50, f.tokens(400, 1, 0), 1e-6)
	assert.InDelta(t, 80+3*50, f.tokens(400, 3, 4096), 1e-6, "what answers take, not what they may")
	assert.InDelta(t, 80+3*20, f.tokens(400, 3, 20), 1e-6)
}

func FuzzResetAfter(f *testing.F) {
	for _, v := range []string{"1m30s", "12ms", "60", "1700000000", "1700000000000", "Sun, 06 Nov 1994 08:49:37 GMT", "2026-11-29T12:00:00Z", "1e9", "-", "+Inf"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		d, ok := resetAfter(v, headersAt)
		if d < 0 || d > maxWait || !ok && d != 0 {
			t.Errorf("%q: %v %t", v, d, ok)
		}
		h := http.Header{"X-Ratelimit-Limit-Requests": {v}, "X-Ratelimit-Remaining-Requests": {v}, "X-Ratelimit-Reset-Requests": {v}}
		var q quotas
		q.read(h, headersAt, 1, 1, 1)
		if at := q.ready(headersAt, 1); at.After(headersAt.Add(maxWait)) {
			t.Errorf("%q: not before %v", v, at)
		}
		wait, _ := retryAfter(http.Header{"Retry-After": {v}, "Retry-After-Ms": {v}}, headersAt)
		if wait < -1 || wait > maxWait {
			t.Errorf("%q: Retry-After %v", v, wait)
		}
	})
}
