package distill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func stream(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		if !strings.HasPrefix(e, ":") && !strings.HasPrefix(e, "event:") && !strings.HasPrefix(e, "error:") {
			b.WriteString("data: ")
		}
		b.WriteString(e + "\n\n")
	}
	return b.String()
}

// piece is an event of choice 0; finish is null or a text in quotes.
func piece(delta, finish string) string {
	return fmt.Sprintf(`{"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}`, delta, finish)
}

const done = "[DONE]"

// A stream that breaks off anywhere is an error, or all of its answer was there: never is a part given out as the whole.
func TestStreamsCutAnywhere(t *testing.T) {
	for _, name := range vendors(t, ".sse") {
		events := readVendor(t, name)
		whole, err := readStream(bytes.NewReader(events), nil)
		require.NoError(t, err)
		want, err := parseReply(whole)
		require.NoError(t, err)
		cut := 0
		for n := 0; n < len(events); n += 3 {
			for how, end := range map[string]io.Reader{"ended": strings.NewReader(""), "broken": failing{io.ErrUnexpectedEOF}} {
				body, err := readStream(io.MultiReader(bytes.NewReader(events[:n]), end), nil)
				if err == nil {
					var r reply
					if r, err = parseReply(body); err == nil {
						require.Empty(t, cmp.Diff(want.answers, r.answers), "%s, %s after %d bytes", name, how, n)
						continue
					}
				}
				cut++
			}
		}
		assert.Greater(t, cut, len(events)/3, name)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestStreamsThatAreNoAnswer(t *testing.T) {
	half := piece(`{"content":"half"}`, "null")
	for name, tc := range map[string]struct {
		body string
		err  error    // of reading the stream
		says apiError // of parsing what it holds
		kind error
	}{
		"no end":                      {body: stream(half), err: errNoEnd},
		"an end, but no finish":       {body: stream(half, done), err: errUnsettled},
		"a finish, but no end":        {body: stream(half, piece(`{}`, `"stop"`)), err: errNoEnd},
		"one of two choices finished": {body: stream(half, `{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}`, done), err: errUnsettled},
		"nothing":                     {body: "", err: errNoEnd},
		"comments":                    {body: ": keep-alive\n\n: keep-alive\n\n", err: errNoEnd},
		"an end alone":                {body: stream(done), kind: errEmpty},
		"no choices":                  {body: stream(`{"choices":[],"usage":{"prompt_tokens":1}}`, done), kind: errEmpty},
		"garbage":                     {body: stream(half, `{"choices":[{"del`, done), kind: errGarbage},
		"a text":                      {body: stream(half, `"upstream error"`, done), kind: errGarbage},
		"a page":                      {body: "<html><body>502</body></html>", kind: errHTML},

		"an error":                 {body: stream(half, `{"error":{"message":"overloaded","code":"busy"}}`, done), says: apiError{"overloaded", "", "busy"}},
		"an error and a choice":    {body: stream(half, `{"error":{"code":502,"message":"gone"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}`), says: apiError{"gone", "", "502"}},
		"an error of its own type": {body: stream(half, "event: error\ndata: {\"message\":\"m\",\"type\":\"t\"}"), says: apiError{"m", "t", ""}},
		"a typed error with a key": {body: stream("event: error\ndata: {\"error\":{\"message\":\"m\"}}"), says: apiError{"m", "", ""}},
		"an error that is a text":  {body: stream(half, "event: error\ndata: out of memory"), says: apiError{"out of memory", "", ""}},
		"vLLM's older error":       {body: stream(`{"object":"error","message":"m","type":"BadRequestError","code":400}`, done), says: apiError{"m", "BadRequestError", "400"}},
		"llama.cpp's error line":   {body: "error: {\"code\":400,\"message\":\"too long\",\"type\":\"invalid_request_error\"}\n\ndata: [DONE]\n\n", says: apiError{"too long", "invalid_request_error", "400"}},
		"a choice with an error":   {body: stream(half, `{"choices":[{"index":0,"delta":{},"error":{"code":429,"message":"slow"}}]}`, done), says: apiError{"slow", "", "429"}},
		"a choice that broke off": {body: stream(half, piece(`{}`, `"abort"`), done),
			says: apiError{"finish_reason is abort: the server gave the answer up", "abort", ""}},
	} {
		body, err := readStream(strings.NewReader(tc.body), nil)
		if tc.err != nil {
			assert.ErrorIs(t, err, tc.err, name)
			continue
		}
		require.NoError(t, err, name)
		_, err = parseReply(body)
		var said *apiError
		if tc.kind != nil {
			assert.ErrorIs(t, err, tc.kind, name)
		} else if assert.True(t, errors.As(err, &said), "%s: %v", name, err) {
			assert.Equal(t, tc.says, *said, name)
		}
	}
}

// What streams of some servers look like, and what they say.
func TestStreamsOfOddServers(t *testing.T) {
	call := func(text string) string { return piece(`{"tool_calls":[`+text+`]}`, "null") }
	end := piece(`{}`, `"stop"`)
	const two = `[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]`
	const nameless = `[{"id":"","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"","type":"function","function":{"name":"f","arguments":"{}"}}]`
	for name, tc := range map[string]struct {
		body string
		want Answer
	}{
		"no [DONE], but all that comes last": {stream(piece(`{"content":"a"}`, `"stop"`), `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`), Answer{Content: "a"}},
		"the last event has no blank line":   {strings.TrimSpace(stream(piece(`{"content":"a"}`, `"stop"`), done)), Answer{Content: "a"}},
		"no space after the colon":           {"data:" + piece(`{"content":"a"}`, `"stop"`) + "\n\ndata:[DONE]\n\n", Answer{Content: "a"}},
		"an event over several lines":        {"data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n" + stream(done), Answer{Content: "a"}},
		"an empty finish_reason":             {stream(piece(`{"content":"a"}`, `""`), piece(`{"content":"b"}`, `"stop"`), done), Answer{Content: "ab"}},
		"a message instead of a delta":       {stream(`{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}`, done), Answer{Content: "a"}},
		"no index":                           {stream(`{"choices":[{"delta":{"content":"a"}}]}`, `{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}`, done), Answer{Content: "ab"}},
		"events that say nothing":            {stream("event: ping\ndata: {\"type\":\"ping\"}", piece(`{"content":"a"}`, `"stop"`), done), Answer{Content: "a"}},
		"older functions": {stream(piece(`{"function_call":{"name":"f","arguments":"{\"x\""}}`, "null"), piece(`{"function_call":{"arguments":":1}"}}`, "null"), end, done),
			Answer{ToolCalls: `[{"id":"","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]`}},

		"calls by index": {stream(call(`{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}`), call(`{"index":1,"id":"b","function":{"name":"g","arguments":""}}`),
			call(`{"index":0,"function":{"arguments":":1}"}}`), call(`{"index":1,"function":{"arguments":"{}"}}`), end, done), Answer{ToolCalls: two}},
		"calls all of index 0": {stream(call(`{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}`), call(`{"index":0,"function":{"arguments":"1}"}}`),
			call(`{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}`), end, done), Answer{ToolCalls: two}},
		"calls without index": {stream(call(`{"id":"a","function":{"name":"f","arguments":"{\"x\":"}}`), call(`{"function":{"arguments":"1}"}}`),
			call(`{"id":"b","function":{"name":"g","arguments":"{}"}}`), end, done), Answer{ToolCalls: two}},
		"calls by id": {stream(call(`{"id":"a","function":{"name":"f","arguments":"{\"x\":"}}`), call(`{"id":"b","function":{"name":"g","arguments":"{}"}}`),
			call(`{"id":"a","function":{"arguments":"1}"}}`), end, done), Answer{ToolCalls: two}},
		"calls with neither": {stream(call(`{"function":{"name":"f","arguments":"{\"x\":"}}`), call(`{"function":{"arguments":"1}"}}`),
			call(`{"function":{"name":"f","arguments":"{}"}}`), end, done), Answer{ToolCalls: nameless}},
		"the name in every piece": {stream(call(`{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}`), call(`{"index":0,"id":"a","function":{"name":"f","arguments":"1}"}}`),
			call(`{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}`), end, done), Answer{ToolCalls: two}},
		"the id after the name": {stream(call(`{"index":0,"function":{"name":"f"}}`), call(`{"index":0,"id":"a","function":{"arguments":"{\"x\":1}"}}`),
			call(`{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}`), end, done), Answer{ToolCalls: two}},
		"both in one piece": {stream(call(strings.Trim(two, "[]")), end, done), Answer{ToolCalls: two}},
		"arguments as an object": {stream(call(`{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":{"x": 1.50}}}`), end, done),
			Answer{ToolCalls: `[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": 1.50}"}}]`}},
		"a call of another kind": {stream(call(`{"index":0,"id":"a","type":"custom","custom":{"name":"sql","input":"select 1"}}`), end, done),
			Answer{ToolCalls: `[{"id":"a","type":"custom","custom":{"name":"sql","input":"select 1"}}]`}},
		"arguments that were cut": {stream(call(`{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\": \"unend"}}`), piece(`{}`, `"length"`), done),
			Answer{ToolCalls: `[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": \"unend"}}]`, FinishReason: "length"}},
	} {
		body, err := readStream(strings.NewReader(tc.body), nil)
		require.NoError(t, err, name)
		r, err := parseReply(body)
		require.NoError(t, err, "%s: %s", name, body)
		require.Len(t, r.answers, 1, name)
		got := r.answers[0]
		got.PromptTokens, got.CompletionTokens, got.CachedTokens, got.ReasoningTokens = 0, 0, 0, 0
		if tc.want.FinishReason == "" {
			tc.want.FinishReason = "stop"
		}
		assert.Empty(t, cmp.Diff(tc.want, got), name)
	}
}

// How a body begins says what it is; the type that a server gives it may be wrong.
func TestReadBody(t *testing.T) {
	const plain = `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}`
	events := stream(piece(`{"content":"a"}`, `"stop"`), done)
	for name, tc := range map[string]struct {
		kind, body string
		status     int
	}{
		"plain":                    {"application/json", plain, 200},
		"plain, with a charset":    {"application/json; charset=utf-8", plain, 200},
		"plain, no type":           {"", plain, 200},
		"plain as a stream":        {"text/event-stream", "\n\n" + plain, 200},
		"events":                   {"text/event-stream; charset=utf-8", events, 200},
		"events as a text":         {"text/plain", events, 200},
		"events after blank lines": {"text/event-stream", "\n\r\n" + events, 200},
		"events after a mark":      {"text/plain", "\ufeff" + events, 200},
		"events after comments":    {"text/plain", ": wait\n\n" + events, 200},
		"typed events":             {"", strings.ReplaceAll(events, "data:", "event: message\ndata:"), 200},
	} {
		body, err := readBody(&http.Response{StatusCode: tc.status, Header: http.Header{"Content-Type": {tc.kind}}, Body: io.NopCloser(strings.NewReader(tc.body))}, nil)
		require.NoError(t, err, name)
		r, err := parseReply(body)
		require.NoError(t, err, "%s: %s", name, body)
		assert.Equal(t, "a", r.answers[0].Content, name)
	}
	for _, kind := range []string{"application/json", "text/event-stream"} {
		body, err := readBody(&http.Response{StatusCode: 500, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(events))}, nil)
		require.NoError(t, err)
		assert.Equal(t, events, string(body), "of an error, as it came")
	}
	_, err := readBody(&http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}},
		Body: io.NopCloser(io.MultiReader(strings.NewReader("data: "), endless{}))}, nil)
	assert.ErrorIs(t, err, errTooLong)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// The time limit of a stream is for the silence between its pieces. Comments do not break it.
func TestSilence(t *testing.T) {
	for name, tc := range map[string]struct {
		say  string
		ends bool
	}{
		"pieces":       {stream(piece(`{"content":"a"}`, "null")), false},
		"a tool call":  {stream(piece(`{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{"}}]}`, "null")), false},
		"thoughts":     {stream(piece(`{"reasoning":"a"}`, "null")), false},
		"comments":     {": keep-alive\n\n", true},
		"empty pieces": {stream(piece(`{"role":"assistant","content":""}`, "null")), true},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, s, cancel := limitSilence(context.Background(), time.Minute)
			defer cancel()
			r, w := io.Pipe()
			stop := context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
			defer stop()
			written := make(chan struct{})
			go func() {
				defer close(written)
				for range 10 {
					if _, err := io.WriteString(w, tc.say); err != nil {
						return
					}
					<-time.After(40 * time.Second)
				}
				io.WriteString(w, stream(piece(`{}`, `"stop"`), done))
				w.Close()
			}()
			begun := time.Now()
			_, err := readStream(r, s)
			if tc.ends {
				assert.ErrorIs(t, err, context.DeadlineExceeded, name)
				assert.Equal(t, time.Minute, time.Since(begun), name)
			} else {
				assert.NoError(t, err, name)
				assert.Equal(t, 400*time.Second, time.Since(begun), name)
			}
			<-written
		})
	}
}

// A server that keeps the connection open after the last event is not waited for.
func TestStreamThatStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, s, cancel := limitSilence(context.Background(), time.Hour)
		defer cancel()
		r, w := io.Pipe()
		context.AfterFunc(ctx, func() { w.CloseWithError(context.Cause(ctx)) })
		go io.WriteString(w, stream(piece(`{"content":"a"}`, `"stop"`), done))
		begun := time.Now()
		_, err := readStream(r, s)
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(begun))
	})
}

func FuzzReadStream(f *testing.F) {
	for _, name := range vendors(f, ".sse") {
		f.Add(readVendor(f, name))
	}
	f.Add([]byte("error: {\"code\":400}\n\ndata: [DONE]\n\n"))
	f.Add([]byte(stream("event: error\ndata: x", done)))
	f.Add([]byte("\ufeff:\r\rdata\rdata:{\"choices\":[{\"index\":-1,\"delta\":{\"content\":[7]}}]}\r\r"))
	f.Fuzz(func(t *testing.T, events []byte) {
		body, err := readStream(bytes.NewReader(events), nil)
		if err != nil {
			return
		}
		slow, err := readStream(oneByOne{bytes.NewReader(events)}, nil)
		if err != nil || !bytes.Equal(body, slow) {
			t.Fatalf("the same events were read in two ways: %s\n%s, %v", body, slow, err)
		}
		r, err := parseReply(body)
		if err != nil {
			return
		}
		for _, a := range r.answers {
			if a.FinishReason == "" {
				t.Fatalf("an answer that did not end: %+v", a)
			}
		}
	})
}

// A token of a stream is an event. The answers of a few hundred requests at 100 tokens a second each come to some ten
// thousand events a second.
func BenchmarkReadStream(b *testing.B) {
	const tokens = 1000
	var events strings.Builder
	for i := range tokens {
		fmt.Fprintf(&events, "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word%d\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n", i)
	}
	events.WriteString(stream(piece(`{}`, `"stop"`), `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1000}}`, done))
	b.SetBytes(int64(events.Len()))
	for b.Loop() {
		if _, err := readStream(strings.NewReader(events.String()), nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*tokens/b.Elapsed().Seconds(), "events/s")
}
