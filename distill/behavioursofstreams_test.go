package distill

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/testkit"
)

// What endpoints do with answers, streamed or not, is part of the table too.
func init() { behaviours = append(behaviours, behavioursOfAnswers...) }

func inStreams(prove func(*testing.T, *trial)) func(*testing.T, *trial) {
	return func(t *testing.T, tr *trial) {
		tr.change = streamed
		prove(t, tr)
	}
}

func eventsFault(events ...string) *testkit.Fault {
	return &testkit.Fault{Type: "text/event-stream", Body: stream(events...)}
}

var behavioursOfAnswers = []behaviour{
	{"breaks off a stream, or ends it before all of an answer is there", againText, inStreams(passes(&testkit.Fault{Cut: true}, &testkit.Fault{Unended: true},
		eventsFault(piece(`{"content":"so"}`, "null")), eventsFault(piece(`{"content":"so"}`, "null"), done), eventsFault(done)))},
	{"sends no piece of an answer for `timeout` in a stream, though it keeps the connection alive", againText, inStreams(func(t *testing.T, tr *trial) {
		never := make(chan struct{})
		t.Cleanup(func() { close(never) })
		tr.change = func(d *Distill) { d.Stream, d.Timeout, d.Concurrency, d.MaxRetries = true, 2*time.Second, 16, new(1) }
		tr.fault = onlyThird(&testkit.Fault{Silent: never})
		r, err := tr.run(t)
		require.NoError(t, err)
		assert.Equal(t, map[string]int64{"transient": 2}, r.Account.Failed)
		assert.Positive(t, tr.stage.Requests().Retries["timeout"])
	})},
	{"sends an error in a stream", againText + "; where the error names a status, it counts as that status", inStreams(func(t *testing.T, tr *trial) {
		passes(eventsFault(piece(`{"content":"so"}`, "null"), `{"error":{"message":"upstream is gone"}}`, done), eventsFault(`{"error":{"message":"gone","code":502}}`))(t, tr)
		endsAtOnce("User not found.", eventsFault(`{"error":{"code":401,"message":"User not found."}}`))(t, tr)
	})},
	{"says that it broke off an answer: by the finish reasons `error`, `abort`, `insufficient_system_resource`, `network_error`, or an `error` of the choice", againText,
		passes(&testkit.Fault{Body: `{"choices":[{"index":0,"message":{"content":"so"},"finish_reason":"abort"}]}`},
			&testkit.Fault{Body: `{"choices":[{"index":0,"message":{"content":"so"},"finish_reason":"stop","error":{"message":"gone"}}]}`})},
	{"ignores `stream`, or streams unasked", "the answer counts", func(t *testing.T, tr *trial) {
		const plain = `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"message":{"content":"b"},"finish_reason":"stop"}]}`
		tr.fault, tr.change = always(&testkit.Fault{Body: plain}), streamed
		r, err := tr.run(t)
		require.NoError(t, err)
		assert.Equal(t, int64(16), r.Account.Kept)
		tr.fault, tr.change = always(eventsFault(`{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}`, piece(`{"content":"a"}`, `"stop"`), done)), nil
		again, err := tr.run(t)
		require.NoError(t, err)
		assert.Equal(t, r.texts(), again.texts())
	}},
}
