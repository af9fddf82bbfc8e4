// Package serve is an OpenAI-compatible server over a student: POST /v1/chat/completions, GET /v1/models, GET /health.
//
//	server.go    the server, its addresses and limits         errors.go  errors as OpenAI sends them
//	request.go   what a request may say                       text.go    tokens to text, piece by piece; stop strings
//	complete.go  an answer in one piece                       stream.go  an answer as server-sent events
package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/loopback"
	"stillhouse/internal/student"
)

// Options say what is served and within which limits.
type Options struct {
	Model     *student.Model
	Tokenizer *chat.Tokenizer
	Name      string // the model's name in requests; "" is student

	Weights student.Weights // how they are held; "" is f32

	MaxBatch    int   // samples decoded together at most; 0 is 64
	MaxRequests int   // requests under way at most, those after get status 429; 0 is 512
	MaxBody     int64 // bytes of a request at most; 0 is 8 MiB

	AllowRemote bool // listen on addresses that other machines reach; there is no authentication
}

// EnsureDefaults fills in what is empty.
func (o *Options) EnsureDefaults() {
	if o.Name == "" {
		o.Name = "student"
	}
	if o.MaxRequests <= 0 {
		o.MaxRequests = 512
	}
	if o.MaxBody <= 0 {
		o.MaxBody = 8 << 20
	}
}

// Validate is an error when the model and the tokenizer do not belong together.
func (o Options) Validate() error {
	if id, n := o.Tokenizer.MaxID(), o.Model.Config.VocabSize; int(id) >= n {
		return stillhouse.Invalidf("serve: the tokenizer gives ids up to %d, the model %s has a vocabulary of %d: use the tokenizer that came with the model", id, o.Name, n)
	}
	return nil
}

// A Server answers requests. Requests that come together are decoded together, and what an answer says does not depend
// on that.
type Server struct {
	options   Options
	generator *student.Generator
	stop      []int32 // tokens that end an answer
	places    chan struct{}
	started   time.Time

	mu      sync.Mutex
	servers []*http.Server
}

// New makes a server of its own copy of the model's weights. Close it after use.
func New(o Options) *Server {
	o.EnsureDefaults()
	s := &Server{
		options:   o,
		generator: student.NewGenerator(o.Model, student.GeneratorOptions{MaxBatch: o.MaxBatch, Weights: o.Weights}),
		places:    make(chan struct{}, o.MaxRequests),
		started:   time.Now(),
	}
	for _, id := range o.Model.Config.EOSTokenIDs {
		s.stop = append(s.stop, int32(id))
	}
	if id := o.Tokenizer.EOS(); id >= 0 {
		s.stop = append(s.stop, id)
	}
	return s
}

// Handler answers requests. It does not look at the Host header; [Server.Listen] does.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	route := func(path, method string, handle http.HandlerFunc) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != method && (method != http.MethodGet || r.Method != http.MethodHead) {
				w.Header().Set("Allow", method)
				writeError(w, problem{status: http.StatusMethodNotAllowed, message: r.Method + " is not allowed here: use " + method})
				return
			}
			handle(w, r)
		})
	}
	route("/v1/chat/completions", http.MethodPost, s.chatCompletions)
	route("/v1/models", http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": []any{s.model()}})
	})
	route("/v1/models/{name...}", http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
		if name := r.PathValue("name"); name != s.options.Name {
			writeError(w, noModel(name, s.options.Name))
			return
		}
		writeJSON(w, http.StatusOK, s.model())
	})
	route("/health", http.MethodGet, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, problem{status: http.StatusNotFound, message: "there is no " + r.URL.Path + ": there are /v1/chat/completions, /v1/models and /health"})
	})
	return mux
}

func (s *Server) model() any {
	return map[string]any{"id": s.options.Name, "object": "model", "created": s.started.Unix(), "owned_by": "stillhouse"}
}

// Listen serves on an address such as 127.0.0.1:8080; port 0 takes a free one. It returns the base URL for clients,
// http://127.0.0.1:8080/v1, as soon as connections are accepted. The server ends when ctx does or on Close; wait
// returns then, with nil unless serving failed. An address that other machines can reach is refused unless
// Options.AllowRemote is set.
func (s *Server) Listen(ctx context.Context, addr string) (url string, wait func() error, err error) {
	if err := s.options.Validate(); err != nil {
		return "", nil, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", nil, stillhouse.Invalidf("serve: address %q: %w: write it as 127.0.0.1:8080", addr, err)
	}
	local := loopback.Is(host)
	if !local && !s.options.AllowRemote {
		return "", nil, stillhouse.Invalidf("serve: address %q can be reached from other machines and the server asks for no key: use 127.0.0.1, or allow them with --allow-remote", addr)
	}
	listener, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", nil, stillhouse.Invalidf("serve: another program listens on %s: take another port, or 0 for a free one", addr)
	}
	if err != nil {
		return "", nil, stillhouse.Invalidf("serve: %w", err)
	}
	handler := s.Handler()
	if local {
		handler = loopback.Only(handler.ServeHTTP, func(w http.ResponseWriter, r *http.Request) {
			writeError(w, problem{status: http.StatusForbidden, message: "this server answers to localhost only, not to " + r.Host})
		})
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	s.mu.Lock()
	s.servers = append(s.servers, server)
	s.mu.Unlock()
	result := make(chan error, 1)
	go func() { result <- server.Serve(listener) }()
	leave := context.AfterFunc(ctx, func() { server.Close() })
	wait = sync.OnceValue(func() error {
		defer leave()
		if err := <-result; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return "http://" + listener.Addr().String() + "/v1", wait, nil
}

// Close ends listeners, connections and what is being generated.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []error
	for _, server := range s.servers {
		all = append(all, server.Close())
	}
	s.servers = nil
	s.generator.Close()
	return errors.Join(all...)
}
