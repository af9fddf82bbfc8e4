// Package mockteacher is an OpenAI-compatible server for benchmarks of clients: it answers at once and always the same,
// limits rates and fails as its options say, and keeps books of what it was asked.
//
// An answer follows from the messages, the temperature, the seed and the choice's number. Whether a request meets a
// fault follows from its body and from how often that body came before. So two runs that send the same bodies get the
// same answers and meet the same faults, in whatever order their requests arrive.
//
// It differs from testkit.Teacher, which tests script with functions, in that it does nothing that costs time: it takes
// tens of thousands of requests a second.
package mockteacher

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how the server behaves. The zero value answers everything at once.
type Options struct {
	Latency time.Duration // how long an answer takes
	Jitter  float64       // Latency varies by this share up and down
	Words   int           // of an answer, give or take a quarter; 200 when 0
	Choices int           // the most choices of an answer, whatever n asks for; 0 is no bound

	Rate       float64 // requests a second, above which 429 is answered; 0 is no limit
	Burst      float64 // what the bucket of Rate holds; one second's worth when 0
	AtOnce     int     // requests at a time, above which 429 is answered; 0 is no limit
	RetryAfter string  // the header of 429 and 503, verbatim; "" sends none
	Headers    bool    // send x-ratelimit-* as OpenAI does: what is left of the bucket, and when it is full again

	Faults    map[string]float64 // the probability of each of FaultKinds that is wanted
	FaultsMax int                // faults a body meets at most; 0 is no bound
}

// FaultKinds are the faults that a request may meet.
var FaultKinds = []string{
	"fail500",  // 500 with an error in OpenAI's form
	"fail503",  // 503 with Retry-After
	"drop",     // the connection is closed in the middle of the body
	"garbage",  // 200 with something that is not JSON to its end
	"truncate", // half of the answer, with finish_reason length
}

// A Server is the mock. It is an http.Handler.
type Server struct {
	opts   Options
	bucket bucket
	books  books

	inFlight, most     atomic.Int64
	requests           atomic.Int64
	firstNS, lastOKNS  atomic.Int64
	statusMu           sync.Mutex
	byStatus, byFaults map[string]int64
}

// New makes a server.
func New(o Options) *Server {
	if o.Words == 0 {
		o.Words = 200
	}
	if o.Burst == 0 {
		o.Burst = max(1, o.Rate)
	}
	s := &Server{opts: o, byStatus: map[string]int64{}, byFaults: map[string]int64{}}
	s.bucket = bucket{rate: o.Rate, size: o.Burst, level: o.Burst, last: time.Now()}
	s.books.init()
	return s
}

// Serve listens on a free loopback port, tells the base URL, and serves until ctx is done.
func (s *Server) Serve(ctx context.Context, tell func(url string)) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	tell("http://" + listener.Addr().String() + "/v1")
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// ServeHTTP answers chat completions under /v1 and without it, /v1/models and /stats.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/chat/completions", "/chat/completions":
		s.chat(w, r)
	case "/v1/models", "/models":
		writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": []any{map[string]any{"id": "mock-teacher", "object": "model", "created": 1, "owned_by": "mock"}}})
	case "/stats":
		writeJSON(w, http.StatusOK, s.Stats())
	case "/health":
		_, _ = io.WriteString(w, "ok\n")
	default:
		writeError(w, http.StatusNotFound, "invalid_request_error", "unknown_url", "there is nothing at "+r.URL.Path)
	}
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	s.firstNS.CompareAndSwap(0, time.Now().UnixNano())
	atOnce := s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	for most := s.most.Load(); atOnce > most && !s.most.CompareAndSwap(most, atOnce); most = s.most.Load() {
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	body, err := readAll((*buffer)[:0], r.Body)
	*buffer = body
	if err != nil {
		s.met("gone")
		s.count(0)
		return
	}
	sum := sha256.Sum256(body)
	before := s.books.arrive(sum)
	if s.refuses(w, int(atOnce)) {
		return
	}
	fault := s.fault(sum, before)
	s.met(fault)
	status := s.answer(w, r, body, sum, fault)
	s.count(status)
	if status == http.StatusOK && fault != "garbage" {
		s.books.answered(sum)
		s.lastOKNS.Store(time.Now().UnixNano())
	}
}

// refuses turns away what is above a limit.
func (s *Server) refuses(w http.ResponseWriter, atOnce int) bool {
	if s.opts.AtOnce > 0 && atOnce > s.opts.AtOnce {
		s.retryAfter(w)
		writeError(w, http.StatusTooManyRequests, "requests", "rate_limit_exceeded", "there are too many requests at once")
		s.met("at once")
		s.count(http.StatusTooManyRequests)
		return true
	}
	if s.opts.Rate == 0 {
		return false
	}
	ok, level := s.bucket.take()
	if s.opts.Headers {
		h := w.Header()
		h.Set("x-ratelimit-limit-requests", strconv.Itoa(int(s.opts.Burst)))
		h.Set("x-ratelimit-remaining-requests", strconv.Itoa(int(level)))
		h.Set("x-ratelimit-reset-requests", time.Duration((s.opts.Burst-level)/s.opts.Rate*float64(time.Second)).Round(time.Millisecond).String())
	}
	if ok {
		return false
	}
	s.retryAfter(w)
	writeError(w, http.StatusTooManyRequests, "requests", "rate_limit_exceeded", "the rate limit is reached")
	s.met("rate")
	s.count(http.StatusTooManyRequests)
	return true
}

func (s *Server) retryAfter(w http.ResponseWriter) {
	if s.opts.RetryAfter != "" {
		w.Header().Set("Retry-After", s.opts.RetryAfter)
	}
}

// A bucket lets rate requests a second through, and size of them at once after a pause.
type bucket struct {
	mu                sync.Mutex
	rate, size, level float64
	last              time.Time
}

func (b *bucket) take() (ok bool, level float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.level = min(b.size, b.level+now.Sub(b.last).Seconds()*b.rate)
	b.last = now
	if b.level < 1 {
		return false, b.level
	}
	b.level--
	return true, b.level
}

func readAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

func writeError(w http.ResponseWriter, status int, kind, code, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": code}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
