package distill

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

var behaviours = []behaviour{
	{"answers 429", rateText, func(t *testing.T, tr *trial) {
		for _, after := range []string{"", "1", "20", time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat)} {
			one := *tr
			one.fault = func(c testkit.Call) *testkit.Fault {
				if c.Nth < 5 && c.Prompt() == question(2) {
					return testkit.Status(429, "rate_limit_exceeded", after)
				}
				return nil
			}
			r, err := one.run(t)
			require.NoError(t, err)
			assert.Equal(t, int64(16), r.Account.Kept, "five refusals are more than max_retries")
			if len(after) > 1 {
				assert.Greater(t, one.waited, 80*time.Second)
			}
		}
	}},
	{"answers 503, or 529, with `Retry-After`, or 402 with it", "nothing is sent for as long as it asks; it does not count as a try", func(t *testing.T, tr *trial) {
		for _, status := range []int{503, 529, 402} {
			one := *tr
			one.fault = func(c testkit.Call) *testkit.Fault {
				if c.Nth < 5 && c.Prompt() == question(2) {
					return testkit.Status(status, "", "20")
				}
				return nil
			}
			r, err := one.run(t)
			require.NoError(t, err)
			assert.Equal(t, int64(16), r.Account.Kept)
			assert.Greater(t, one.waited, 80*time.Second)
		}
	}},
	{"says by `x-ratelimit-*` that nothing is left", "nothing is sent before so much of it is back", proveReset},
	{"refuses everything for `give_up_after`", "the run ends; every answer is kept", func(t *testing.T, tr *trial) {
		tr.fault = always(testkit.Status(429, "", ""))
		var waits []Wait
		tr.change = func(d *Distill) { d.OnWait(func(w Wait) { waits = append(waits, w) }) }
		_, err := tr.run(t)
		require.ErrorContains(t, err, "gave up, since nothing was answered for")
		assert.Equal(t, stillhouse.Transient, stillhouse.KindOf(err))
		assert.InDelta(t, 10, tr.waited.Minutes(), 2)
		require.NotEmpty(t, waits, "what it waits for is told")
		assert.Contains(t, waits[0].Why, "429")
	}},
	{"asks to wait for longer than `give_up_after`", "the run ends at once, and says so; every answer is kept", func(t *testing.T, tr *trial) {
		tr.fault = always(testkit.Status(429, "", "86400"))
		tr.change = func(d *Distill) { d.clock = wallClock{} } // on a clock that leaps, the day may be over before the run is
		_, err := tr.run(t)
		require.ErrorContains(t, err, "it asks to wait 24h0m0s")
		assert.LessOrEqual(t, tr.server.Requests(), 2)
	}},
	{"answers 408, 409, 425, 500, 502, 504 or another 5xx, or 503 without `Retry-After`", againText,
		passes(testkit.Status(408, "", ""), testkit.Status(409, "", ""), testkit.Status(425, "", ""), testkit.Status(500, "", ""), testkit.Status(502, "", ""),
			testkit.Status(503, "", ""), testkit.Status(504, "", ""), testkit.Status(522, "", ""))},
	{"closes the connection", againText, passes(&testkit.Fault{Reset: true})},
	{"breaks off in the middle of an answer", againText, passes(&testkit.Fault{Cut: true})},
	{"takes longer than `timeout`", againText, func(t *testing.T, tr *trial) {
		tr.change = func(d *Distill) { d.Timeout, d.Concurrency, d.MaxRetries = 2*time.Second, 16, new(1) }
		tr.fault = func(c testkit.Call) *testkit.Fault {
			if c.Nth == 0 || c.Prompt() == question(2) {
				return &testkit.Fault{Hold: make(chan struct{})}
			}
			return nil
		}
		r, err := tr.run(t)
		require.NoError(t, err)
		assert.Equal(t, int64(14), r.Account.Kept)
		assert.Equal(t, map[string]int64{"transient": 2}, r.Account.Failed)
		assert.GreaterOrEqual(t, tr.stage.Requests().Retries["timeout"], int64(8))
	}},
	{"answers 200 with something else than JSON", againText, passes(testkit.Garbage(), testkit.HTML(), &testkit.Fault{Body: " "})},
	{"answers 200 without a choice", againText, passes(testkit.EmptyChoices())},
	{"answers 200 with an error object", againText + "; where the error names a status, it counts as that status", func(t *testing.T, tr *trial) {
		passes(testkit.ErrorObject("upstream is gone"), &testkit.Fault{Body: `{"error":{"code":502,"message":"upstream"}}`})(t, tr)
		endsAtOnce("User not found.", &testkit.Fault{Body: `{"error":{"code":401,"message":"User not found."}}`})(t, tr)
	}},
	{"answers another 4xx to one row", "the row fails (permanent) with the endpoint's message, and is not sent again",
		failsAlone(testkit.Status(400, "bad", ""), testkit.Status(413, "", ""), testkit.Status(422, "", ""), told(403, "your input was flagged"))},
	{"says that prompt and answer do not fit into the context", "the row is dropped with the reason `context_length`", func(t *testing.T, tr *trial) {
		for _, f := range []*testkit.Fault{
			testkit.Status(400, "context_length_exceeded", ""),
			told(400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."),
			{Status: 500, Body: `{"error":{"code":500,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}`},
			{Body: `{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}`},
			told(422, "The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
		} {
			one := *tr
			one.fault = onlyThird(f)
			r, err := one.run(t)
			require.NoError(t, err)
			assert.Equal(t, map[string]int64{"context_length": 2}, r.Account.Dropped)
			assert.Empty(t, r.Account.Failed)
			assert.LessOrEqual(t, one.server.Asked(question(2)), 2)
		}
	}},
	{"refuses the first 20 prompts in the same way", "the run ends; with fewer prompts, when all were refused", func(t *testing.T, tr *trial) {
		tr.fault = always(testkit.Status(400, "bad_param", ""))
		tr.change = func(d *Distill) { d.Expect(8) }
		_, err := tr.run(t)
		require.ErrorContains(t, err, "the first 8 prompts all failed in the same way")
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}},
	{"answers 401, or 403", endText, func(t *testing.T, tr *trial) {
		endsAtOnce("distill.api_key_env", testkit.Status(401, "invalid_api_key", ""))(t, tr)
		endsAtOnce(`may use the model "m"`, testkit.Status(403, "", ""))(t, tr)
	}},
	{"answers 402, or 429 with the code insufficient_quota", endText, endsAtOnce("add credit", testkit.Status(402, "", ""), testkit.Status(429, "insufficient_quota", "5"))},
	{"answers 404 or 405, or 3xx, before the first answer", endText, endsAtOnce("distill.endpoint", testkit.Status(404, "model_not_found", ""), testkit.Status(405, "", ""), testkit.Status(302, "", ""))},
	{"answers 404 or 405 after an answer", againText, func(t *testing.T, tr *trial) {
		tr.change = func(d *Distill) { d.Concurrency = 1 }
		second := ""
		tr.fault = func(c testkit.Call) *testkit.Fault {
			if c.Number == 1 {
				second = c.Prompt()
			}
			if c.Prompt() == second {
				return testkit.Status(404, "", "")
			}
			return nil
		}
		r, err := tr.run(t)
		require.NoError(t, err)
		assert.Equal(t, map[string]int64{"transient": 2}, r.Account.Failed)
	}},
	{"is not there", "the run ends after three tries", func(t *testing.T, tr *trial) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		tr.change = func(d *Distill) { d.Endpoint = "http://" + l.Addr().String() + "/v1" }
		_, err = tr.run(t)
		require.ErrorContains(t, err, "is the server running, and is distill.endpoint right?")
		assert.LessOrEqual(t, tr.stage.Requests().Requests, int64(16))
	}},
	{"shows a certificate that is not trusted", endText, func(t *testing.T, tr *trial) {
		s := httptest.NewUnstartedServer(nil)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		defer s.Close()
		tr.change = func(d *Distill) { d.Endpoint = s.URL }
		_, err := tr.run(t)
		require.ErrorContains(t, err, "a certificate that is not trusted")
	}},
	{"fails everything for a while, after it has answered", "one request at a time tries whether it is well again, after waits that grow to a minute; tries of rows do not count; after `give_up_after` the run ends", func(t *testing.T, tr *trial) {
		tr.prompts = 60
		tr.change = func(d *Distill) { d.Concurrency, d.MaxRetries, d.GiveUpAfter = 16, new(12), 50*time.Hour }
		tr.fault = func(c testkit.Call) *testkit.Fault {
			if c.Number > 10 && c.Number < 1000 {
				return testkit.Status(500, "", "")
			}
			return nil
		}
		r, err := tr.run(t)
		require.NoError(t, err)
		assert.Equal(t, int64(120), r.Account.Kept, "989 failures are more than all tries of all prompts")
	}},
	{"fails the last few prompts for `give_up_after`", "they fail (transient), and the run does not", func(t *testing.T, tr *trial) {
		tr.change = func(d *Distill) { d.Concurrency, d.MaxRetries, d.GiveUpAfter = 8, new(12), 3*time.Hour; d.Expect(8) }
		asked, all := map[string]bool{}, make(chan struct{}) // each of them once, before the clock leaps
		var once sync.Once
		tr.fault = func(c testkit.Call) *testkit.Fault {
			if c.Prompt() < question(2) || c.Prompt() > question(7) {
				return nil
			}
			if asked[c.Prompt()] = true; len(asked) == 6 {
				once.Do(func() { close(all) })
			}
			f := testkit.Status(500, "", "")
			f.Hold = all
			return f
		}
		tr.prompts = 2 // those that are answered, before the clock leaps
		r, err := tr.run(t)
		require.NoError(t, err)
		assert.Equal(t, int64(4), r.Account.Kept)
		r, err = run(t.Context(), tr.stage, questions(8)[2:])
		require.NoError(t, err)
		assert.Equal(t, map[string]int64{"transient": 12}, r.Account.Failed)
	}},
	{"is one of several, and fails", "the others take its work; it is tried again from time to time", func(t *testing.T, tr *trial) {
		other := testkit.StartTeacher(t, &testkit.Teacher{Fault: always(testkit.Status(500, "", ""))})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		tr.change = func(d *Distill) {
			d.Endpoints = []EndpointOptions{{Endpoint: other.URL()}, {Endpoint: "http://" + l.Addr().String() + "/v1"}}
		}
		r, err := tr.run(t)
		require.NoError(t, err)
		assert.Equal(t, int64(16), r.Account.Kept)
		assert.LessOrEqual(t, other.Requests(), 20)
	}},
	{"is one of several, under another name of the model", "it is asked by its name; answers are stored under the first one's", func(t *testing.T, tr *trial) {
		other := testkit.StartTeacher(t, &testkit.Teacher{})
		tr.change = func(d *Distill) {
			d.Endpoints, d.Concurrency = []EndpointOptions{{Endpoint: other.URL(), Model: "org/m"}}, 1
		}
		want := mustRun(t, newStage(t, other, func(d *Distill) { d.Samples = Exactly(2) }), questions(8)).texts()
		before := other.Requests()
		r, err := tr.run(t)
		require.NoError(t, err)
		assert.ElementsMatch(t, want, r.texts())
		require.Greater(t, other.Requests(), before, "both are asked")
		for _, c := range other.Calls()[before:] {
			assert.Equal(t, "org/m", c.Model)
		}
		asked := tr.server.Requests() + other.Requests()
		assert.Len(t, mustRun(t, newStage(t, tr.server, inStore(tr.stage.Store), func(d *Distill) { d.Samples = Exactly(2) }), questions(8)).Rows, 16)
		assert.Equal(t, asked, tr.server.Requests()+other.Requests())
	}},
	{"ignores `n`, or answers with fewer choices", "the first counts, the others are asked for alone, each with a seed of its own", func(t *testing.T, tr *trial) {
		tr.choices = 1
		r, err := tr.run(t)
		require.NoError(t, err)
		assert.Equal(t, int64(16), r.Account.Kept)
		seeds := map[int64]bool{}
		for _, c := range tr.server.Calls() {
			if c.N == 1 {
				assert.False(t, seeds[*c.Seed])
				seeds[*c.Seed] = true
			}
		}
	}},
	{"cuts an answer at `max_tokens`", "the answer is kept with finish_reason length; the filter `truncated` drops it; a higher `max_tokens` asks for it again", func(t *testing.T, tr *trial) {
		tr.change = func(d *Distill) { d.MaxTokens = 4 }
		short, err := tr.run(t)
		require.NoError(t, err)
		cut := 0
		for _, c := range short.Rows {
			if c.FinishReason == "length" {
				cut++
			}
		}
		require.Positive(t, cut)
		d := newStage(t, tr.server, inStore(tr.stage.Store), func(d *Distill) { d.Samples = Exactly(2) })
		for _, c := range mustRun(t, d, questions(8)).Rows {
			assert.Equal(t, "stop", c.FinishReason)
		}
		assert.Equal(t, int64(cut), d.Requests().Asked)
	}},
	{"sends the key back in an answer or an error", "it is taken out before anything is kept or said", func(t *testing.T, tr *trial) {
		t.Run("", func(t *testing.T) {
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: always(&testkit.Fault{Status: 401, Body: `{"error":{"message":"not right: %KEY%"}}`})})
			e := newEndpoint(&EndpointOptions{Endpoint: teacher.URL(), APIKeyEnv: new(""), Model: "m"}, planted, time.Minute)
			_, _, err := e.send(context.Background(), []byte(`{"messages":[{"role":"user","content":"a"}]}`))
			require.ErrorContains(t, err, "not right: [key]")
		})
	}},
}
