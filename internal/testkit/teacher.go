package testkit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"stillhouse"
)

// A Teacher is a scripted OpenAI-compatible server on a loopback port. It answers /v1/chat/completions and
// /v1/completions by a function of the request, fails as its script says, and keeps books of what it was asked, so that a test can prove that no
// request is sent again after it was answered.
//
// By itself an answer is a function of the messages, the seed and the temperature, where choice i of a request with n
// has the seed seed+i: the order of requests and how samples are gathered into requests change nothing.
type Teacher struct {
	// Answer makes one choice; nil stands for [Prose].
	Answer func(Call) Choice
	// Fault is asked for every request before it is answered; nil, or a nil result, lets it pass. It is called by one
	// goroutine at a time.
	Fault func(Call) *Fault
	// Key, when set, must come as the bearer token, else the answer is 401.
	Key string
	// MaxChoices bounds the choices of an answer, whatever n asks for: 1 ignores n. 0 is no bound.
	MaxChoices int
	// RefuseN answers requests with n above 1 with 400.
	RefuseN bool
	// ReasoningField names the field that Choice.Reasoning goes into; by default reasoning_content.
	ReasoningField string
	// Headers sets headers of an answer; may be nil. It is called by one goroutine at a time.
	Headers func(Call, http.Header)
	// NoUsage leaves the usage out of answers.
	NoUsage bool
	// Usage is put into the usage of answers beside the counts, such as prompt_tokens_details.
	Usage map[string]any
	// Fingerprint is the system_fingerprint of answers; empty leaves it out.
	Fingerprint string
	// Batches scripts the Batch API; nil has none.
	Batches *Batches

	server   *http.Server
	url      string
	mu       sync.Mutex
	calls    []Call
	bodies   map[string]*Book
	inFlight int
	most     int
}

// A Call is one request.
type Call struct {
	Number      int    // of all requests, from 0
	Nth         int    // how often this very body came before
	Sample      int    // which choice is to be made
	Body        string // as it came
	Header      http.Header
	Model       string
	Messages    []stillhouse.Message
	Text        string // of /completions, in place of messages
	N           int    // 1 where the request has none
	Seed        *int64
	Temperature *float64
	MaxTokens   int             // 0 where the request has none; max_completion_tokens counts as well
	Tools       json.RawMessage // as they came
	Stream      bool
	StreamUsage bool                       // include_usage among the stream_options
	Fields      map[string]json.RawMessage // all of the request
}

// Prompt is the last message's text.
func (c Call) Prompt() string {
	if len(c.Messages) == 0 {
		return c.Text
	}
	return c.Messages[len(c.Messages)-1].Content
}

// A Choice is one answer. Zero fields get something sensible: finish_reason stop, the tokens counted as words.
type Choice struct {
	Content      string
	Reasoning    string
	ToolCalls    string // JSON
	FinishReason string
	Tokens       int
	Null         bool // the message is null

	Refusal  string          // with which the content is null
	LogProbs json.RawMessage // what stands under logprobs
	Parts    json.RawMessage // the content as a list of parts
	Error    json.RawMessage // an error of this choice
}

// A Fault is a request that gets no proper answer.
type Fault struct {
	Status     int    // 200 when 0
	RetryAfter string // the header, verbatim
	Body       string // what comes in place of an answer; %KEY% stands for the Authorization header's value
	Type       string // the Content-Type; application/json when empty
	Cut        bool   // the answer breaks off in the middle
	Reset      bool   // the connection is closed without an answer
	Hold       <-chan struct{}
	Pass       bool // after Hold, answer properly

	// Of answers that are streamed: Silent holds back what follows the first pieces until the channel is closed, and
	// Unended leaves out the last event, [DONE], and what tells that all is there.
	Silent  <-chan struct{}
	Unended bool
}

// A Book is what is known of one request body.
type Book struct {
	Requests int // how often it came
	Answered int // how often it was answered properly and wholly
	Resent   int // how often it came after it had been answered
}

// StartTeacher serves until the test ends. Fields of the teacher must not be changed while requests are made.
func StartTeacher(t testing.TB, teacher *Teacher) *Teacher {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	teacher.bodies = map[string]*Book{}
	teacher.url = "http://" + listener.Addr().String() + "/v1"
	teacher.server = &http.Server{Handler: teacher, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = teacher.server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = teacher.server.Close()
		<-done
	})
	return teacher
}

// URL is the base URL, which ends in /v1.
func (t *Teacher) URL() string { return t.url }

// Calls are all requests so far.
func (t *Teacher) Calls() []Call {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Call{}, t.calls...)
}

// Requests is how many requests came.
func (t *Teacher) Requests() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.calls)
}

// Asked is how many requests had this text as their last message.
func (t *Teacher) Asked(prompt string) (n int) {
	for _, c := range t.Calls() {
		if c.Prompt() == prompt {
			n++
		}
	}
	return n
}

// Books are the books by request body.
func (t *Teacher) Books() map[string]Book {
	t.mu.Lock()
	defer t.mu.Unlock()
	books := make(map[string]Book, len(t.bodies))
	for body, b := range t.bodies {
		books[body] = *b
	}
	return books
}

// Resent is how many requests came for bodies that had been answered before: what a client paid for twice.
func (t *Teacher) Resent() (n int) {
	for _, b := range t.Books() {
		n += b.Resent
	}
	return n
}

// MostInFlight is the highest number of requests that were there at a time.
func (t *Teacher) MostInFlight() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.most
}

// Prose is the answer where none is scripted: a few words that follow from the messages, the temperature and the
// seed. Without a seed, or at temperature 0, all choices are alike.
func Prose(c Call) Choice {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(c.Messages)
	_, _ = io.WriteString(h, c.Text)
	if c.Temperature == nil || *c.Temperature != 0 {
		seed := int64(-1)
		if c.Seed != nil {
			seed = *c.Seed + int64(c.Sample)
		}
		_ = json.NewEncoder(h).Encode([]any{c.Temperature, seed})
	}
	sum := h.Sum(nil)
	words := strings.Fields("copper vapour grain barley mash cask oak river stone proof still worm spirit peat cut heart")
	n := 3 + int(sum[0])%9
	finish := "stop"
	if c.MaxTokens > 0 && n > c.MaxTokens {
		n, finish = c.MaxTokens, "length"
	}
	picked := make([]string, n)
	for i := range picked {
		picked[i] = words[(binary.LittleEndian.Uint64(sum[8:])>>(4*i))&15]
	}
	return Choice{Content: strings.Join(picked, " ") + ".", FinishReason: finish, Tokens: n}
}

// ServeHTTP answers one request.
func (t *Teacher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if t.serveBatch(w, r) {
		return
	}
	if r.URL.Path != "/v1/chat/completions" && r.URL.Path != "/v1/completions" {
		writeTeacherError(w, http.StatusNotFound, "", "invalid_request_error", "unknown_url", "there is nothing at "+r.URL.Path)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	call, err := parseCall(body)
	if err != nil {
		writeTeacherError(w, http.StatusBadRequest, "", "invalid_request_error", "invalid_json", err.Error())
		return
	}
	call.Header = r.Header
	call, fault := t.arrive(call)
	defer t.leave()
	if t.Key != "" && r.Header.Get("Authorization") != "Bearer "+t.Key {
		writeTeacherError(w, http.StatusUnauthorized, "", "invalid_request_error", "invalid_api_key", "the key is not right")
		return
	}
	if t.RefuseN && call.N > 1 {
		writeTeacherError(w, http.StatusBadRequest, "", "invalid_request_error", "invalid_value", "n must be 1")
		return
	}
	if fault != nil && !t.fail(r.Context(), w, call, fault) {
		return
	}
	answer := t.answer(call)
	t.headers(call, w.Header())
	if call.Stream {
		if t.stream(r.Context(), w, call, answer, fault) {
			t.book(call, func(b *Book) { b.Answered++ })
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
	w.Header().Set("X-Request-Id", fmt.Sprintf("req-%d", call.Number))
	// Once the whole answer may have left, it counts as given.
	t.book(call, func(b *Book) { b.Answered++ })
	_, _ = w.Write(answer)
}

func (t *Teacher) arrive(c Call) (Call, *Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.arriveLocked(c)
}

func (t *Teacher) arriveLocked(c Call) (Call, *Fault) {
	b := t.bodies[c.Body]
	if b == nil {
		b = &Book{}
		t.bodies[c.Body] = b
	}
	c.Number, c.Nth = len(t.calls), b.Requests
	b.Requests++
	if b.Answered > 0 {
		b.Resent++
	}
	t.calls = append(t.calls, c)
	t.inFlight++
	t.most = max(t.most, t.inFlight)
	if t.Fault == nil {
		return c, nil
	}
	return c, t.Fault(c)
}

func (t *Teacher) headers(c Call, h http.Header) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.Headers != nil {
		t.Headers(c, h)
	}
}

func (t *Teacher) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inFlight--
}

func (t *Teacher) book(c Call, change func(*Book)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t.bodies[c.Body])
}

// fail does what the fault says, and reports whether the request is to be answered properly after all.
func (t *Teacher) fail(ctx context.Context, w http.ResponseWriter, c Call, f *Fault) bool {
	if f.Hold != nil {
		select {
		case <-f.Hold:
		case <-ctx.Done():
			return false
		}
	}
	switch {
	case f.Pass, c.Stream && (f.Silent != nil || f.Unended):
		return true
	case f.Reset, f.Cut:
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return false
		}
		defer conn.Close()
		if f.Cut {
			answer, kind := t.answer(c), "application/json"
			if c.Stream {
				answer, kind = bytes.Join(events(c, answer), nil), "text/event-stream"
			}
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, len(answer), answer[:len(answer)/2])
		} else if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return false
	}
	status := f.Status
	if status == 0 {
		status = http.StatusOK
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	kind := f.Type
	if kind == "" {
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, strings.ReplaceAll(f.Body, "%KEY%", strings.TrimPrefix(c.Header.Get("Authorization"), "Bearer ")))
	return false
}
