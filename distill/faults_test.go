package distill

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// What happens when the endpoint fails each request once: nothing is lost, nothing is asked for again after an answer,
// and the rows are those of an endpoint without faults.
func TestPassingFaults(t *testing.T) {
	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(20)).texts()
	for kind, fault := range map[string]*testkit.Fault{
		"408":     testkit.Status(408, "", ""),
		"409":     testkit.Status(409, "", ""),
		"425":     testkit.Status(425, "", ""),
		"429":     testkit.Status(429, "rate_limit_exceeded", ""),
		"500":     testkit.Status(500, "", ""),
		"502":     {Status: 502, Type: "text/html", Body: "<html><body>Bad Gateway</body></html>"},
		"503":     testkit.Status(503, "", "2"),
		"cut":     {Cut: true},
		"reset":   {Reset: true},
		"garbage": testkit.Garbage(),
		"html":    testkit.HTML(),
		"empty":   testkit.EmptyChoices(),
		"error":   testkit.ErrorObject("upstream is gone"),
	} {
		t.Run(kind, func(t *testing.T) {
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
				if c.Nth == 0 {
					return fault
				}
				return nil
			}})
			d := newStage(t, teacher)
			r := mustRun(t, d, questions(20))
			assert.Empty(t, cmp.Diff(want, r.texts()))
			assert.Empty(t, r.Failed)
			assert.Equal(t, 40, teacher.Requests())
			assert.Zero(t, teacher.Resent())
			assert.Equal(t, map[string]int64{kind: 20}, d.Requests().Retries)
		})
	}
}

func TestTimeoutIsRetried(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		if c.Nth == 0 {
			return &testkit.Fault{Hold: make(chan struct{})}
		}
		return nil
	}})
	d := newStage(t, teacher, func(d *Distill) { d.Timeout = time.Second })
	r := mustRun(t, d, questions(2))
	assert.Len(t, r.Rows, 8)
	assert.GreaterOrEqual(t, d.Requests().Retries["timeout"], int64(2))
}

func TestRowsThatFailAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		fault    *testkit.Fault
		kind     string
		says     string
		requests int // for the one bad prompt
	}{
		"refused for good":       {testkit.Status(400, "bad_request", ""), "permanent", "answered 400 Bad Request: scripted failure 400", 2},
		"always 500":             {testkit.Status(500, "", ""), "transient", "answered 500 Internal Server Error: scripted failure 500", 4},
		"always cut":             {&testkit.Fault{Cut: true}, "transient", "cut its answer short", 4},
		"always empty":           {testkit.EmptyChoices(), "transient", "no choices", 4},
		"too large for the rate": {testkit.Status(429, "tokens", ""), "transient", "answered 429", 0},
	} {
		t.Run(name, func(t *testing.T) {
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
				if c.Prompt() == question(3) {
					return tc.fault
				}
				return nil
			}})
			d := newStage(t, teacher, func(d *Distill) { d.MaxRetries, d.Concurrency, d.GiveUpAfter = new(3), 1, 5*time.Minute })
			d.Expect(8)
			// The bad prompt comes last, when the endpoint is known to work.
			prompts := append(questions(8), questions(4)[3])
			prompts = append(prompts[:3], prompts[4:]...)
			r := mustRun(t, d, prompts)
			assert.Equal(t, int64(28), r.Account.Kept)
			assert.Equal(t, map[string]int64{tc.kind: 4}, r.Account.Failed)
			for s, text := range r.Failed {
				assert.True(t, strings.HasPrefix(text, fmt.Sprintf("%s: distill: prompt \"p3\" sample %d: the endpoint http://127.0.0.1:", tc.kind, s)), text)
				assert.Contains(t, text, tc.says)
			}
			if tc.requests > 0 {
				assert.LessOrEqual(t, teacher.Asked(question(3)), tc.requests)
			}
		})
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	for name, tc := range map[string]struct {
		header func(now time.Time) string
		least  time.Duration
	}{
		"seconds": {func(time.Time) string { return "7" }, 7 * time.Second},
		"date":    {func(now time.Time) string { return now.Add(9 * time.Second).UTC().Format(http.TimeFormat) }, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
				if c.Number == 0 {
					return testkit.Status(429, "", tc.header(time.Now()))
				}
				return nil
			}})
			d := newStage(t, teacher, func(d *Distill) { d.Concurrency = 1 })
			mustRun(t, d, questions(3))
			waits := slices.DeleteFunc(d.clock.(*leap).waits(), func(w time.Duration) bool { return w < time.Second })
			require.Len(t, waits, 1)
			assert.GreaterOrEqual(t, waits[0], tc.least)
			assert.LessOrEqual(t, waits[0], 9*time.Second)
		})
	}
	now := time.Now()
	for header, want := range map[string]time.Duration{"": -1, "soon": -1, "-1": -1, "0": 0, "1.5": 1500 * time.Millisecond, "99999999999": maxWait,
		now.Add(-time.Hour).UTC().Format(http.TimeFormat): 0} {
		wait, _ := retryAfter(http.Header{"Retry-After": {header}}, now)
		assert.Equal(t, want, wait, header)
	}
	wait, exact := retryAfter(http.Header{"Retry-After": {"1"}, "Retry-After-Ms": {"250"}}, now)
	assert.Equal(t, 250*time.Millisecond, wait)
	assert.True(t, exact)
}

func TestBackoffGrowsWithFullJitter(t *testing.T) {
	for try, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		assert.Equal(t, want, backoff(try, func() float64 { return 1 }))
		assert.Zero(t, backoff(try, func() float64 { return 0 }))
	}
}

func TestRunEndsAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		fault *testkit.Fault
		says  []string
	}{
		"401":   {testkit.Status(401, "invalid_api_key", ""), []string{"401 Unauthorized", "scripted failure", "distill.api_key_env"}},
		"403":   {testkit.Status(403, "", ""), []string{"403 Forbidden", `may use the model "m"`}},
		"404":   {testkit.Status(404, "model_not_found", ""), []string{"404 Not Found", `distill.model ("m")`, "distill.endpoint"}},
		"402":   {testkit.Status(402, "", ""), []string{"402", "add credit"}},
		"quota": {testkit.Status(429, "insufficient_quota", ""), []string{"429", "add credit"}},
		"302":   {testkit.Status(302, "", ""), []string{"302", "distill.endpoint"}},
		"relay": {&testkit.Fault{Body: `{"error":{"code":401,"message":"User not found."}}`}, []string{"401", "User not found."}},
	} {
		t.Run(name, func(t *testing.T) {
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(testkit.Call) *testkit.Fault { return tc.fault }})
			_, err := run(context.Background(), newStage(t, teacher), questions(200))
			require.Error(t, err)
			assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
			for _, s := range tc.says {
				assert.Contains(t, err.Error(), s)
			}
			assert.LessOrEqual(t, teacher.Requests(), 4, "no more than what was on the way")
		})
	}
}

func TestWrongPathIsSaidSo(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	_, err := run(context.Background(), newStage(t, teacher, func(d *Distill) { d.Endpoint = strings.TrimSuffix(teacher.URL(), "/v1") }), questions(5))
	require.ErrorContains(t, err, "usually ending in /v1")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
}

func TestRunEndsWhenTheFirstFailAlike(t *testing.T) {
	always := func(f *testkit.Fault) func(testkit.Call) *testkit.Fault {
		return func(testkit.Call) *testkit.Fault { return f }
	}
	t.Run("twenty of many", func(t *testing.T) {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: always(testkit.Status(400, "bad_param", ""))})
		_, err := run(context.Background(), newStage(t, teacher), questions(300))
		require.Regexp(t, "the first 2[0-9] prompts all failed in the same way", err)
		require.ErrorContains(t, err, "scripted failure 400")
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
		assert.LessOrEqual(t, teacher.Requests(), 2*(20+32), "32 prompts are in work at a time")
	})
	t.Run("all of a few", func(t *testing.T) {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: always(testkit.Status(400, "bad_param", ""))})
		d := newStage(t, teacher)
		d.Expect(3)
		_, err := run(context.Background(), d, questions(3))
		require.ErrorContains(t, err, "the first 3 prompts all failed in the same way")
	})
	t.Run("in different ways", func(t *testing.T) {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
			return testkit.Status(400, fmt.Sprintf("code%d", c.Prompt()[8]%2), "")
		}})
		r := mustRun(t, newStage(t, teacher), questions(60))
		assert.Equal(t, map[string]int64{"permanent": 240}, r.Account.Failed)
	})
	t.Run("500 for ever", func(t *testing.T) {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: always(testkit.Status(500, "", ""))})
		_, err := run(context.Background(), newStage(t, teacher, func(d *Distill) { d.MaxRetries = new(1) }), questions(300))
		require.ErrorContains(t, err, "failed in the same way")
		assert.Equal(t, stillhouse.Transient, stillhouse.KindOf(err))
	})
	t.Run("not after an answer", func(t *testing.T) {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
			if c.Prompt() != question(0) {
				return testkit.Status(400, "bad_row", "")
			}
			return nil
		}})
		store := newStage(t, teacher)
		mustRun(t, store, questions(1))
		r := mustRun(t, newStage(t, teacher, inStore(store.Store), func(d *Distill) { d.Concurrency = 1 }), questions(60))
		assert.Equal(t, int64(59*4), r.Account.Failed["permanent"])
	})
}

// An endpoint that refuses everything for ever ends the run after give_up_after, with what was answered kept.
func TestGivesUp(t *testing.T) {
	for name, fault := range map[string]*testkit.Fault{
		"429":                  testkit.Status(429, "", ""),
		"429 with Retry-After": testkit.Status(429, "", "3"),
		"429 with 0":           testkit.Status(429, "", "0"),
		"503 with Retry-After": testkit.Status(503, "", "3"),
		"500":                  testkit.Status(500, "", ""),
	} {
		t.Run(name, func(t *testing.T) {
			shut := false
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
				if shut {
					return fault
				}
				return nil
			}})
			first := newStage(t, teacher)
			mustRun(t, first, questions(10))
			shut = true
			d := newStage(t, teacher, inStore(first.Store), func(d *Distill) { d.MaxRetries, d.GiveUpAfter = new(100), 20*time.Second })
			began := d.clock.Now()
			_, err := run(context.Background(), d, questions(60))
			require.ErrorContains(t, err, "gave up")
			require.ErrorContains(t, err, "distill.give_up_after is 20s")
			require.ErrorContains(t, err, "every answer is kept")
			assert.Equal(t, stillhouse.Transient, stillhouse.KindOf(err))
			assert.Less(t, d.clock.Now().Sub(began), 5*time.Minute)
			count, err := d.asker.store.Count(context.Background())
			require.NoError(t, err)
			assert.Equal(t, int64(40), count)
			shut = false
			r := mustRun(t, newStage(t, teacher, inStore(d.Store)), questions(60))
			assert.Len(t, r.Rows, 240)
			assert.Zero(t, teacher.Resent())
		})
	}
	t.Run("a wait too long", func(t *testing.T) {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(testkit.Call) *testkit.Fault { return testkit.Status(429, "", "86400") }})
		_, err := run(context.Background(), newStage(t, teacher), questions(60))
		require.ErrorContains(t, err, "it asks to wait 24h0m0s")
		assert.LessOrEqual(t, teacher.Requests(), 32)
	})
}

func TestEndpointThatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	d := newStage(t, testkit.StartTeacher(t, &testkit.Teacher{}), func(d *Distill) { d.Endpoint = "http://" + address + "/v1" })
	_, err = run(context.Background(), d, questions(50))
	require.ErrorContains(t, err, "is the server running")
	require.ErrorContains(t, err, address)
	assert.Equal(t, stillhouse.Transient, stillhouse.KindOf(err))
	assert.LessOrEqual(t, d.Requests().Requests, int64(4*32))
}

// One prompt that the endpoint cannot bear is one prompt, however many requests its samples are.
func TestOneBadPromptDoesNotEndTheRun(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: 1, Fault: func(c testkit.Call) *testkit.Fault {
		if c.Prompt() == question(4) {
			return testkit.Status(500, "", "")
		}
		return nil
	}})
	d := newStage(t, teacher, func(d *Distill) { d.Samples, d.MaxRetries, d.Concurrency = Exactly(30), new(1), 1 })
	d.Expect(5)
	r := mustRun(t, d, questions(5))
	assert.Equal(t, int64(4*30), r.Account.Kept)
	assert.Equal(t, map[string]int64{"transient": 30}, r.Account.Failed)
}
