package distill

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// A behaviour is one line of the table in docs/distill.md: what an endpoint does, what happens then, and the proof.
type behaviour struct {
	endpoint, then string
	prove          func(*testing.T, *trial)
}

// A trial is a stage that asks eight prompts twice each of a scripted teacher. By itself everything is answered.
type trial struct {
	fault   func(testkit.Call) *testkit.Fault
	headers func(testkit.Call, http.Header)
	choices int // the most of an answer; 0 is no bound
	change  func(*Distill)
	prompts int // eight where it is 0

	server *testkit.Teacher
	stage  *Distill
	waited time.Duration // by the stage's clock
}

func (tr *trial) run(t *testing.T) (result, error) {
	t.Helper()
	tr.server = testkit.StartTeacher(t, &testkit.Teacher{Fault: tr.fault, Headers: tr.headers, MaxChoices: tr.choices})
	tr.stage = newStage(t, tr.server, func(d *Distill) {
		d.Samples, d.MaxRetries, d.Concurrency, d.GiveUpAfter = Exactly(2), new(3), 2, 10*time.Minute
		if tr.change != nil {
			tr.change(d)
		}
	})
	if tr.prompts == 0 {
		tr.prompts = 8
	}
	began := tr.stage.clock.Now()
	r, err := run(context.Background(), tr.stage, questions(tr.prompts))
	tr.waited = tr.stage.clock.Now().Sub(began)
	return r, err
}

// passes is for faults that each request meets once: everything is answered, after as many requests again.
func passes(faults ...*testkit.Fault) func(*testing.T, *trial) {
	return func(t *testing.T, tr *trial) {
		for _, f := range faults {
			one := *tr
			one.fault = func(c testkit.Call) *testkit.Fault {
				if c.Nth == 0 {
					return f
				}
				return nil
			}
			r, err := one.run(t)
			require.NoError(t, err)
			assert.Equal(t, int64(16), r.Account.Kept)
			assert.Equal(t, 16, one.server.Requests())
			assert.Zero(t, one.server.Resent())
			one.fault = onlyThird(f)
			r, err = one.run(t)
			require.NoError(t, err)
			assert.Equal(t, map[string]int64{"transient": 2}, r.Account.Failed, "and fails when it never passes")
			assert.Equal(t, 4, one.server.Asked(question(2)), "after max_retries")
		}
	}
}

// failsAlone is for faults of one row.
func failsAlone(faults ...*testkit.Fault) func(*testing.T, *trial) {
	return func(t *testing.T, tr *trial) {
		for _, f := range faults {
			one := *tr
			one.fault = onlyThird(f)
			r, err := one.run(t)
			require.NoError(t, err)
			assert.Equal(t, map[string]int64{"permanent": 2}, r.Account.Failed)
			assert.Equal(t, int64(14), r.Account.Kept)
			for _, text := range r.Failed {
				assert.Contains(t, text, "scripted", "the endpoint's own words")
			}
			assert.LessOrEqual(t, one.server.Asked(question(2)), 2, "once with n, once without")
		}
	}
}

// endsAtOnce is for faults after which no request can succeed.
func endsAtOnce(says string, faults ...*testkit.Fault) func(*testing.T, *trial) {
	return func(t *testing.T, tr *trial) {
		for _, f := range faults {
			one := *tr
			one.fault = always(f)
			_, err := one.run(t)
			require.ErrorContains(t, err, says)
			assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
			assert.LessOrEqual(t, one.server.Requests(), 2, "no more than what was on the way")
		}
	}
}

func always(f *testkit.Fault) func(testkit.Call) *testkit.Fault {
	return func(testkit.Call) *testkit.Fault { return f }
}

func onlyThird(f *testkit.Fault) func(testkit.Call) *testkit.Fault {
	return func(c testkit.Call) *testkit.Fault {
		if c.Prompt() == question(2) {
			return f
		}
		return nil
	}
}

// told is a fault with an error message.
func told(status int, message string) *testkit.Fault {
	return &testkit.Fault{Status: status, Body: fmt.Sprintf(`{"error":{"message":%q,"type":"invalid_request_error","code":null}}`, "scripted: "+message)}
}

const (
	againText = "the request is sent again, after a back-off with full jitter, up to `max_retries` times; then the row fails (transient)"
	rateText  = "nothing is sent for as long as it asks, and the rate is measured and kept to; it does not count as a try"
	endText   = "the run ends at once; every answer is kept"
)

func TestBehaviours(t *testing.T) {
	for _, b := range behaviours {
		t.Run(b.endpoint, func(t *testing.T) {
			t.Parallel()
			b.prove(t, &trial{})
		})
	}
}

// The table in docs/distill.md is that of the cases.
func TestBehavioursPage(t *testing.T) {
	var table strings.Builder
	table.WriteString("| the endpoint … | then |\n|---|---|\n")
	for _, b := range behaviours {
		fmt.Fprintf(&table, "| %s | %s |\n", b.endpoint, b.then)
	}
	testkit.Section(t, "../docs/distill.md", "behaviours", table.String())
}

// proveReset is for an endpoint that says by its headers that nothing is left until a reset.
func proveReset(t *testing.T, tr *trial) {
	served := 0
	var stage *Distill
	tr.change = func(d *Distill) { d.Concurrency, stage = 1, d }
	var at []time.Time
	tr.headers = func(c testkit.Call, h http.Header) {
		served++
		at = append(at, stage.clock.Now())
		h.Set("X-Ratelimit-Limit-Requests", "3")
		h.Set("X-Ratelimit-Remaining-Requests", fmt.Sprint(max(0, 3-served)))
		h.Set("X-Ratelimit-Reset-Requests", "1m30s")
	}
	r, err := tr.run(t)
	require.NoError(t, err)
	assert.Equal(t, int64(16), r.Account.Kept)
	assert.Equal(t, 8, tr.server.Requests())
	assert.GreaterOrEqual(t, at[3].Sub(at[2]), 30*time.Second, "a third of it is back after a third of the time")
}
