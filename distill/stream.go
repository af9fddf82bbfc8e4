package distill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"
)

const (
	maxEvent  = 16 << 20 // bytes of one event
	maxStream = 1 << 30  // bytes of a stream: a piece of an answer of few bytes comes in an event of some hundred
	maxHead   = 4 << 10  // bytes of a stream's beginning that are kept, for what is not an event
)

var (
	errNoEnd     = errors.New("the stream ended before the answer did: neither [DONE] nor what would show that it is whole")
	errUnsettled = errors.New("the stream ended by [DONE] before a finish_reason came")
)

// streamFields are what a request has more where its answer is streamed.
func (o *Options) streamFields() map[string]any {
	if !o.Stream {
		return nil
	}
	fields := map[string]any{"stream": true}
	if *o.StreamUsage {
		fields["stream_options"] = map[string]any{"include_usage": true}
	}
	return fields
}

// A silence ends a request after some time in which nothing came of its answer. For an answer in one piece that is the
// time of the whole request; of a stream, every piece begins it anew.
type silence struct {
	timer *time.Timer
	after time.Duration
}

// limitSilence returns a context that ends, with [context.DeadlineExceeded] as its cause, when the silence has lasted.
func limitSilence(ctx context.Context, after time.Duration) (context.Context, *silence, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	s := &silence{after: after, timer: time.AfterFunc(after, func() { end(context.DeadlineExceeded) })}
	return ctx, s, func() {
		s.timer.Stop()
		end(context.Canceled)
	}
}

// broken is told of a piece of the answer.
func (s *silence) broken() {
	if s.timer.Stop() { // else it has ended the request
		s.timer.Reset(s.after)
	}
}

// readBody reads the body of a response. What was streamed is put together: see [readStream].
func readBody(resp *http.Response, s *silence) ([]byte, error) {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind == "application/json" || resp.StatusCode < 200 || resp.StatusCode > 299 {
		return readPlain(resp.Body)
	}
	b := bufio.NewReader(resp.Body)
	if isEvents(b, kind) {
		return readStream(b, s)
	}
	return readPlain(b)
}

func readPlain(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = errTooLong
	}
	return b, err
}

// isEvents tells a stream by how it begins: some servers give it another type, some give the type to an error in JSON.
func isEvents(b *bufio.Reader, kind string) bool {
	for n := 1; n <= maxHead; n++ {
		head, err := b.Peek(n)
		if err != nil {
			break
		}
		switch head[n-1] {
		case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf: // the last three are a byte order mark
			continue
		case '{', '<':
			return false
		}
		field, _ := b.Peek(n + 5)
		field = field[n-1:]
		return kind == "text/event-stream" || field[0] == ':' || bytes.HasPrefix(field, []byte("data:")) || bytes.HasPrefix(field, []byte("event:"))
	}
	return kind == "text/event-stream"
}

// readStream reads server-sent events with the pieces of an answer, and puts them together to the body that the answer
// would have had in one piece. That is what is stored, so that nothing behind this function knows of streams.
//
// A stream that ends before [DONE] is cut, unless all else that comes last is there: a finish_reason for every choice
// and the token counts. So is one whose choices lack a finish_reason: servers that fail in the middle of an answer end
// the stream as if nothing was. An error among the events is an error in place of the answer. Comments keep the
// connection alive, and say nothing of the answer: they do not break the silence.
func readStream(r io.Reader, s *silence) ([]byte, error) {
	head := &prefix{}
	limited := &limitedReader{from: io.TeeReader(r, head), left: maxStream}
	a := newAssembly()
	// A blank line ends an event; the last of some servers has none.
	for event, err := range sse.Read(io.MultiReader(limited, strings.NewReader("\n\n")), &sse.ReadConfig{MaxEventSize: maxEvent}) {
		if errors.Is(err, bufio.ErrTooLong) {
			err = errTooLong
		}
		if err != nil {
			return nil, err
		}
		data := strings.TrimSpace(event.Data)
		switch {
		case data == "[DONE]":
			drain(r, s)
			return a.end(head, errUnsettled, true)
		case event.Type == "error" && data != "":
			return asErrorBody(data), nil
		case data == "":
			continue
		}
		news, err := a.add([]byte(data))
		var other *notAPiece
		if errors.As(err, &other) {
			return other.body, nil
		}
		if err != nil {
			return nil, err
		}
		if news && s != nil {
			s.broken()
		}
	}
	return a.end(head, errNoEnd, false)
}

// drain reads what may follow the last event, so that the connection can be used again. It does not wait for long.
func drain(r io.Reader, s *silence) {
	if s != nil {
		if !s.timer.Stop() {
			return
		}
		s.timer.Reset(min(s.after, time.Second))
	}
	_, _ = io.CopyN(io.Discard, r, maxHead)
}

// end is the body at the end of a stream, or why there is none: unfinished where choices lack a finish_reason.
func (a *assembly) end(head *prefix, unfinished error, done bool) ([]byte, error) {
	if a.pieces == 0 {
		if said := head.errorLine(); said != "" {
			return asErrorBody(said), nil
		}
		if looksLikeHTML(head.b) {
			return head.b, nil
		}
		if !done {
			return nil, errNoEnd
		}
		return []byte(`{"choices":[]}`), nil
	}
	if !a.finished() || !done && a.usage == nil {
		return nil, unfinished
	}
	return a.body()
}

// asErrorBody makes an error that came as an event the body that it would have been.
func asErrorBody(data string) []byte {
	raw := json.RawMessage(data)
	var w struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(raw, &w) == nil && isError(w.Error) {
		return raw
	}
	if !json.Valid(raw) || !isError(raw) {
		raw, _ = marshal(data) // a text always marshals
	}
	return []byte(`{"error":` + string(raw) + `}`)
}

// A prefix keeps the first bytes that are written to it.
type prefix struct{ b []byte }

func (p *prefix) Write(b []byte) (int, error) {
	p.b = append(p.b, b[:min(len(b), maxHead-len(p.b))]...)
	return len(b), nil
}

// errorLine is what llama.cpp's server wrote, in 2025, in place of an event: "error: {…}".
func (p *prefix) errorLine() string {
	for line := range strings.Lines(string(p.b)) {
		if said, ok := strings.CutPrefix(line, "error:"); ok {
			return strings.TrimSpace(said)
		}
	}
	return ""
}

// A limitedReader is an error after so many bytes, where [io.LimitedReader] is an end.
type limitedReader struct {
	from io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.from.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
