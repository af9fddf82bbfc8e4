package distill

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var inASecond = http.Header{"Retry-After": {"1"}}

// The endpoint lets a rate through and says nothing of it but by refusals. It is found with few of them, whatever the
// rate, the burst and the time of an answer are.
func TestRateIsFound(t *testing.T) {
	for _, c := range []struct {
		rate, burst      float64
		header           http.Header
		latency, refusal time.Duration // of answers, give or take half; and of refusals
		most, prompts    int
		share, perAnswer float64
	}{
		{200, 50, inASecond, time.Millisecond, time.Millisecond, 64, 2000, 0.97, 1.05},
		{200, 50, nil, time.Millisecond, time.Millisecond, 64, 2000, 0.97, 1.05},
		{50, 50, inASecond, time.Millisecond, time.Millisecond, 64, 2000, 0.97, 1.05},
		{200, 1, inASecond, time.Millisecond, time.Millisecond, 64, 2000, 0.75, 1.02},
		{20, 20, inASecond, time.Second, 50 * time.Millisecond, 256, 1000, 0.95, 1.06},
		{20, 20, nil, 10 * time.Second, 50 * time.Millisecond, 256, 1000, 0.95, 1.06},
		{200. / 60, 200, nil, 10 * time.Second, 100 * time.Millisecond, 256, 1000, 0.95, 1.1},
		{1000, 1000, inASecond, 100 * time.Millisecond, 50 * time.Millisecond, 256, 10000, 0.95, 1.02},
	} {
		t.Run(fmt.Sprintf("%.3g a second, %v at once, answered in %v, %v", c.rate, c.burst, c.latency, c.header), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				s := &simulation{draw: seed}
				o := s.run(c.prompts, []*lane{simulatedLane(c.most)}, []host{s.limited(c.rate, c.burst, c.header, c.latency, c.refusal)}, time.Hour)
				require.NoError(t, o.err)
				ideal := (float64(c.prompts)-c.burst)/c.rate + 1.5*c.latency.Seconds()
				assert.GreaterOrEqual(t, ideal/o.lasted.Seconds(), c.share, o)
				assert.LessOrEqual(t, o.perAnswer(), c.perAnswer, o)
			}
		})
	}
}

// A program, or its machine, that stands still for a second now and then finds the rate all the same.
func TestRateIsFoundBetweenStandstills(t *testing.T) {
	for seed := range uint64(3) {
		s := &simulation{draw: seed, stall: 0.001}
		o := s.run(2000, []*lane{simulatedLane(64)}, []host{s.limited(200, 50, inASecond, time.Millisecond, time.Millisecond)}, time.Hour)
		require.NoError(t, o.err)
		assert.Less(t, o.lasted, 16*time.Second, o)
		assert.LessOrEqual(t, o.perAnswer(), 1.08, o)
	}
}

// The endpoint takes 32 requests at a time and refuses what is above.
func TestConcurrencyIsFound(t *testing.T) {
	for _, c := range []struct {
		status  int
		header  http.Header
		latency time.Duration
		share   float64
	}{
		{429, nil, 100 * time.Millisecond, 0.7},
		{429, nil, 10 * time.Second, 0.92},
		{429, inASecond, time.Second, 0.85},
		{429, http.Header{"Retry-After": {"2"}}, 10 * time.Second, 0.9},
		{503, nil, time.Second, 0.92},
		{503, inASecond, time.Second, 0.92},
		{503, http.Header{"Retry-After": {"2"}}, 10 * time.Second, 0.92},
	} {
		t.Run(fmt.Sprint(c.status, c.header, c.latency), func(t *testing.T) {
			t.Parallel()
			s := &simulation{}
			l := simulatedLane(256)
			o := s.run(2000, []*lane{l}, []host{func(_ time.Time, inFlight int) (int, http.Header, time.Duration) {
				if inFlight > 32 {
					return c.status, c.header, 20 * time.Millisecond
				}
				return http.StatusOK, nil, time.Duration(float64(c.latency) * (0.5 + s.random()))
			}}, time.Hour)
			require.NoError(t, o.err)
			assert.GreaterOrEqual(t, 2000./32*c.latency.Seconds()/o.lasted.Seconds(), c.share, o)
			assert.LessOrEqual(t, o.perAnswer(), 1.06, o)
		})
	}
}

// An endpoint that refuses nothing gets what the config allows within a fifth of a second, however long answers take.
func TestRamp(t *testing.T) {
	s := &simulation{}
	began := time.Unix(1e9, 0)
	var first, full time.Duration
	o := s.run(2000, []*lane{simulatedLane(256)}, []host{func(now time.Time, inFlight int) (int, http.Header, time.Duration) {
		if inFlight == firstWindow+1 && first == 0 {
			first = now.Sub(began)
		}
		if inFlight == 256 && full == 0 {
			full = now.Sub(began)
		}
		return http.StatusOK, nil, 30 * time.Second
	}}, time.Hour)
	assert.Positive(t, first, "it does not begin with all at once")
	assert.Greater(t, full, 100*time.Millisecond)
	assert.Less(t, full, 200*time.Millisecond)
	assert.Less(t, o.lasted, 8*30*time.Second+time.Second)
}

// Answers that take longer than half of the timeout are a queue that no more requests join.
func TestSlowAnswersAreNotMadeSlower(t *testing.T) {
	s := &simulation{}
	l := simulatedLane(64)
	l.endpoint.timeout = 100 * time.Second
	s.run(400, []*lane{l}, []host{func(_ time.Time, inFlight int) (int, http.Header, time.Duration) {
		return http.StatusOK, nil, time.Duration(inFlight) * 1600 * time.Millisecond // one after the other
	}}, time.Hour)
	assert.LessOrEqual(t, l.window.limit(s.now), 50, "80 s")
	assert.GreaterOrEqual(t, l.window.limit(s.now), 20)
}

// hosts that say by headers what is left refuse next to nothing.
func TestHeadersAreObeyed(t *testing.T) {
	for _, rate := range []float64{10, 200} {
		s := &simulation{}
		level, last := rate, time.Time{}
		o := s.run(2000, []*lane{simulatedLane(256)}, []host{func(now time.Time, _ int) (int, http.Header, time.Duration) {
			if !last.IsZero() {
				level = min(rate, level+now.Sub(last).Seconds()*rate)
			}
			last = now
			status := http.StatusTooManyRequests
			if level >= 1 {
				level--
				status = http.StatusOK
			}
			h := http.Header{}
			h.Set("x-ratelimit-limit-requests", fmt.Sprint(rate))
			h.Set("x-ratelimit-remaining-requests", fmt.Sprint(int(level)))
			h.Set("x-ratelimit-reset-requests", time.Duration((rate-level)/rate*1e9).Round(time.Millisecond).String())
			return status, h, 50 * time.Millisecond
		}}, time.Hour)
		require.NoError(t, o.err)
		assert.LessOrEqual(t, total(o.refusals), 30, "those that were sent before the first answer came: %v", o)
		assert.GreaterOrEqual(t, (2000-rate)/rate/o.lasted.Seconds(), 0.97, o)
	}
}

// With a fixed window all of a limit comes back at once. A client that takes it for a limit that refills is refused once.
func TestFixedWindowIsLearned(t *testing.T) {
	s := &simulation{}
	began := time.Unix(1e9, 0)
	window, used := 0, 0
	o := s.run(1000, []*lane{simulatedLane(64)}, []host{func(now time.Time, _ int) (int, http.Header, time.Duration) {
		if at := int(now.Sub(began) / time.Minute); at != window {
			window, used = at, 0
		}
		status := http.StatusTooManyRequests
		if used < 100 {
			used++
			status = http.StatusOK
		}
		reset := time.Minute - now.Sub(began)%time.Minute
		h := http.Header{}
		h.Set("X-RateLimit-Limit", "100")
		h.Set("X-RateLimit-Remaining", fmt.Sprint(100-used))
		h.Set("X-RateLimit-Reset", fmt.Sprint(now.Add(reset).UnixMilli()))
		return status, h, 100 * time.Millisecond
	}}, time.Hour)
	require.NoError(t, o.err)
	assert.LessOrEqual(t, total(o.refusals), 20, o)
	assert.Less(t, o.lasted, 10*time.Minute, o)
}

// Limits that the config names are kept in every minute.
func TestKnownLimitsAreKept(t *testing.T) {
	for name, limits := range map[string]LimitsOptions{"requests": {RequestsPerMinute: 600}, "tokens": {TokensPerMinute: 75000}} {
		t.Run(name, func(t *testing.T) {
			s := &simulation{}
			l := simulatedLane(256)
			l.limits = newLimits(limits)
			var sent []time.Time
			o := s.run(2000, []*lane{l}, []host{func(now time.Time, _ int) (int, http.Header, time.Duration) {
				sent = append(sent, now)
				return http.StatusOK, nil, time.Second
			}}, time.Hour)
			require.NoError(t, o.err)
			for i := range sent {
				if i >= 600 {
					require.Greater(t, sent[i].Sub(sent[i-600]), 55*time.Second, "a request is 125 tokens, 600 are a minute's")
				}
			}
			assert.Less(t, o.lasted, 3*time.Minute+30*time.Second, o)
		})
	}
}

// Lanes share the work in proportion to what they take.
func TestLanesShareTheWork(t *testing.T) {
	s := &simulation{}
	lanes := []*lane{simulatedLane(64), simulatedLane(64), simulatedLane(64)}
	o := s.run(8000, lanes, []host{
		s.limited(100, 10, inASecond, 10*time.Millisecond, 5*time.Millisecond),
		s.limited(300, 10, inASecond, 10*time.Millisecond, 5*time.Millisecond),
		func(time.Time, int) (int, http.Header, time.Duration) {
			return http.StatusInternalServerError, nil, time.Second
		},
	}, time.Hour)
	require.NoError(t, o.err)
	assert.InDelta(t, 0.25, float64(o.answers[0])/8000, 0.03, o)
	assert.InDelta(t, 0.75, float64(o.answers[1])/8000, 0.03, o)
	assert.Less(t, o.lasted, 22*time.Second, o)
	assert.LessOrEqual(t, o.requests[2], 200, "an endpoint that only fails gets probes: %v", o)
}

// In an outage nothing is sent but probes, people are told, and afterwards it goes on.
func TestOutage(t *testing.T) {
	for _, status := range []int{429, 500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := &simulation{}
			began := time.Unix(1e9, 0)
			inOutage := 0
			o := s.run(20000, []*lane{simulatedLane(64)}, []host{func(now time.Time, _ int) (int, http.Header, time.Duration) {
				if at := now.Sub(began); at > 10*time.Second && at < 6*time.Minute {
					inOutage++
					return status, nil, 10 * time.Millisecond
				}
				return http.StatusOK, nil, 100 * time.Millisecond
			}}, 10*time.Minute)
			require.NoError(t, o.err)
			assert.LessOrEqual(t, inOutage, 64+40, o)
			assert.Less(t, o.lasted, 6*time.Minute+2*time.Minute+30*time.Second, o)
			require.NotEmpty(t, o.waits)
			for i, w := range o.waits {
				if i < len(o.waits)-1 {
					assert.False(t, w.Until.IsZero())
					assert.Contains(t, w.Why, fmt.Sprint(status))
					assert.True(t, strings.HasPrefix(w.Endpoint, "http://simulated"))
				}
			}
			assert.True(t, o.waits[len(o.waits)-1].Until.IsZero(), "the end of the wait is told")
		})
	}
}

// A limit that says that nothing will be let through for longer than give_up_after ends the run at once.
func TestGivesUpOnALongReset(t *testing.T) {
	s := &simulation{}
	sent := 0
	o := s.run(1000, []*lane{simulatedLane(1)}, []host{func(now time.Time, _ int) (int, http.Header, time.Duration) {
		sent++
		h := http.Header{}
		h.Set("X-RateLimit-Limit", "50")
		h.Set("X-RateLimit-Remaining", fmt.Sprint(max(0, 50-sent)))
		h.Set("X-RateLimit-Reset", "86400")
		if sent > 50 {
			return http.StatusTooManyRequests, h, 10 * time.Millisecond
		}
		return http.StatusOK, h, 10 * time.Millisecond
	}}, 10*time.Minute)
	require.ErrorContains(t, o.err, "distill.give_up_after is 10m0s")
	require.ErrorContains(t, o.err, "it asks to wait")
	assert.Equal(t, 50, total(o.answers))
}
