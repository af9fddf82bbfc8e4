package distill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sashabaranov/go-openai"
)

// maxBody is the most that is read of a response's body.
const maxBody = 64 << 20

// An endpoint sends requests to an OpenAI-compatible server. go-openai builds the URL and the headers; the body is
// ours and so is the reading of what comes back, since go-openai v1.43.0 leaves temperature 0 out of requests, keeps no
// headers in its errors, and does not know the field reasoning. Our [recorder] stands in between.
type endpoint struct {
	client   *openai.Client
	idle     func() // closes connections that are not in use
	url      string
	key      string
	keyEnv   string // the variable that it is from
	model    string
	renames  bool // it calls the model otherwise than requests do
	timeout  time.Duration
	answered atomic.Bool   // it has brought an answer
	drain    time.Duration // how long a request in flight may go on after the run was cancelled
}

func newEndpoint(o *EndpointOptions, key string, timeout time.Duration) *endpoint {
	config := openai.DefaultConfig(key)
	config.BaseURL = strings.TrimRight(o.Endpoint, "/")
	transport := newTransport(o.Concurrency)
	config.HTTPClient = &http.Client{
		Transport: recorder{transport},
		// A redirect would turn the request into one without a body, or carry the key elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &endpoint{client: openai.NewClientWithConfig(config), idle: transport.CloseIdleConnections, url: config.BaseURL,
		key: key, keyEnv: *o.APIKeyEnv, model: o.Model, timeout: timeout, drain: 5 * time.Second}
}

// keyName says where the key is from.
func (e *endpoint) keyName() string {
	if e.keyEnv == "" {
		return "a variable that distill.api_key_env names: none is sent now"
	}
	return "the variable " + e.keyEnv + " (distill.api_key_env)"
}

// newTransport keeps so many idle connections.
func newTransport(idle int) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment, // never for loopback
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          idle,
		MaxIdleConnsPerHost:   idle,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// A trip is one request and what came for it.
type trip struct {
	path    string // in place of /chat/completions
	request []byte // as it is stored
	sent    []byte // the same, with the name that the endpoint has for the model
	status  int
	header  http.Header
	body    []byte
	err     error // of the network, or of reading the body
	silence *silence
}

// send makes one request. It goes on for a while after ctx is cancelled, since an answer that arrives is paid for. The
// error is a [failure], or that of ctx when the run ended first.
func (e *endpoint) send(ctx context.Context, body []byte) (*trip, reply, error) {
	return e.sendTo(ctx, "", body)
}

// sendTo is send to another path than that of chats, where it names one.
func (e *endpoint) sendTo(ctx context.Context, path string, body []byte) (*trip, reply, error) {
	t := &trip{path: path, request: body, sent: body}
	if e.renames {
		t.sent = withModel(body, e.model)
	}
	sent, silence, cancel := limitSilence(context.WithoutCancel(context.WithValue(ctx, tripKey{}, t)), e.timeout)
	defer cancel()
	t.silence = silence
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(e.drain, cancel)
	})
	defer stop()
	_, err := e.client.CreateChatCompletion(sent, openai.ChatCompletionRequest{Model: e.model})
	if t.status == 0 && t.err == nil {
		t.err = err // go-openai refused to send
	}
	if t.err != nil && errors.Is(context.Cause(sent), context.DeadlineExceeded) {
		t.err = context.DeadlineExceeded
	}
	t.scrub(e.key)
	if t.err != nil && ctx.Err() != nil && errors.Is(context.Cause(sent), context.Canceled) {
		return t, reply{}, ctx.Err()
	}
	if t.err != nil {
		return t, reply{}, e.networkFailure(t)
	}
	if t.status < 200 || t.status > 299 {
		return t, reply{}, e.statusFailure(t)
	}
	r, err := parseReply(t.body)
	if err != nil {
		return t, reply{}, e.bodyFailure(t, err)
	}
	e.answered.Store(true)
	return t, r, nil
}

// withModel is a request under another name of the model.
func withModel(body []byte, model string) []byte {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil { // we wrote it
		return body
	}
	name, err := json.Marshal(model)
	if err != nil {
		return body
	}
	fields["model"] = name
	if renamed, err := marshal(fields); err == nil {
		return renamed
	}
	return body
}

type tripKey struct{}

// A recorder is the transport under go-openai. It sends the trip's body in place of go-openai's, and keeps what comes.
type recorder struct{ base http.RoundTripper }

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	t, ok := req.Context().Value(tripKey{}).(*trip)
	if !ok {
		return r.base.RoundTrip(req)
	}
	if req.Body != nil {
		_ = req.Body.Close()
	}
	req = req.Clone(req.Context())
	if t.path != "" {
		req.URL.Path = strings.TrimSuffix(req.URL.Path, "/chat/completions") + t.path
	}
	inject(req.Context(), req.Header)
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(t.sent)), nil }
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(t.sent))
	resp, err := r.base.RoundTrip(req)
	if err != nil {
		t.err = err
		return nil, err
	}
	defer resp.Body.Close()
	t.status, t.header = resp.StatusCode, resp.Header
	if t.body, err = readBody(resp, t.silence); err != nil {
		t.err = err
		return nil, err
	}
	// go-openai has nothing to do with the body: that is read by parseReply.
	resp.Body = io.NopCloser(strings.NewReader("{}"))
	return resp, nil
}

var errTooLong = errors.New("the body is longer than 64 MiB")

// scrub takes the key out of what an endpoint echoed, so that it gets into no error, log or store. Very short keys
// only fill the place for servers that want some word or other; they may well be words of an answer.
func (t *trip) scrub(key string) {
	if len(key) < 8 {
		return
	}
	const instead = "[key]"
	t.body = bytes.ReplaceAll(t.body, []byte(key), []byte(instead))
	if quoted, err := json.Marshal(key); err == nil { // as it stands in JSON
		t.body = bytes.ReplaceAll(t.body, bytes.Trim(quoted, `"`), []byte(instead))
	}
	for _, values := range t.header {
		for i := range values {
			values[i] = strings.ReplaceAll(values[i], key, instead)
		}
	}
	if t.err != nil && strings.Contains(t.err.Error(), key) {
		t.err = errors.New(strings.ReplaceAll(t.err.Error(), key, instead))
	}
}

// keptHeaders are those of an answer's headers that the store keeps: what helps to find a request again at the
// provider's and to know its limits. Cookies and the like are not among them.
var keptHeaders = []string{"Date", "Content-Type", "Server", "X-Request-Id", "Request-Id", "Openai-Processing-Ms", "Openai-Version",
	"X-Ratelimit-Limit-Requests", "X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Remaining-Tokens",
	"X-Ratelimit-Reset-Requests", "X-Ratelimit-Reset-Tokens"}

func (t *trip) headerJSON() []byte {
	kept := make(map[string]string, 4)
	for _, name := range keptHeaders {
		if v := t.header.Get(name); v != "" {
			kept[name] = v
		}
	}
	b, err := marshal(kept)
	if err != nil { // strings always marshal
		return []byte("{}")
	}
	return b
}
