package distill

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"stillhouse"
)

// A scope says what a failed request means for the rest.
type scope int

const (
	again    scope = iota // this request may be sent again
	rateOnly              // the same, and it does not count as a try: the endpoint had no room for it
	rowOnly               // this request will always fail, others may not
	runEnds               // no request will succeed until the user acts
	noMoney               // the request was not sent: the budget is spent
)

// A failure is a request that brought no answer.
type failure struct {
	scope   scope
	kind    string        // what the report counts: a status, timeout, reset, connect, cut, html, garbage, empty, error, context_length
	reason  string        // why the row is dropped; empty where it fails
	code    string        // the endpoint's own word for it
	message string        // what happened and, where the user must act, what would help
	wait    time.Duration // what the endpoint asked for by Retry-After; negative when it asked for nothing
	exact   bool          // wait is not rounded up to whole seconds
	status  int           // 0 when none came
	n       int           // how many answers had been asked for
	schema  bool          // it may be the schema of the answer that was refused
}

func (f *failure) Error() string { return f.message }

// same reports whether two failures have one cause, as far as can be seen.
func (f *failure) same(g *failure) bool { return f.kind == g.kind && f.code == g.code }

// loaded reports whether the failure may be one of too much load.
func (f *failure) loaded() bool {
	switch f.kind {
	case "timeout", "reset", "cut", "connect", "network":
		return true
	}
	return f.status >= 500
}

// asError gives the failure the kind of error that it is for a row.
func (f *failure) asError(format string, args ...any) error {
	switch f.scope {
	case runEnds:
		return stillhouse.Invalidf(format, args...)
	case rowOnly:
		return stillhouse.Permanentf(format, args...)
	default:
		return stillhouse.Transientf(format, args...)
	}
}

// networkFailure is for requests that brought no whole response.
func (e *endpoint) networkFailure(t *trip) *failure {
	f := &failure{scope: again, wait: -1, status: t.status}
	var op *net.OpError
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var timeout interface{ Timeout() bool }
	switch err := t.err; {
	case errors.As(err, &cert), errors.As(err, &authority):
		f.scope, f.kind = runEnds, "certificate"
		f.message = fmt.Sprintf("the endpoint %s shows a certificate that is not trusted: %v", e.url, err)
	case errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		f.kind = "connect"
		f.message = fmt.Sprintf("cannot connect to the endpoint %s: %v", e.url, err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		f.kind = "timeout"
		f.message = fmt.Sprintf("the endpoint %s gave no whole answer, nor a piece of one where it is streamed, within %v (distill.timeout)", e.url, e.timeout)
	case errors.Is(err, errTooLong):
		f.scope, f.kind = rowOnly, "long"
		f.message = fmt.Sprintf("the endpoint %s answered too much: %v", e.url, err)
	case t.status != 0:
		f.kind = "cut"
		f.message = fmt.Sprintf("the endpoint %s cut its answer short: %v", e.url, err)
	case errors.Is(err, io.EOF), errors.As(err, &op), strings.Contains(err.Error(), "EOF"), strings.Contains(err.Error(), "connection"):
		f.kind = "reset"
		f.message = fmt.Sprintf("the endpoint %s closed the connection: %v", e.url, err)
	default:
		f.kind = "network"
		f.message = fmt.Sprintf("the request to the endpoint %s failed: %v", e.url, err)
	}
	return f
}

// statusFailure is for responses whose status says that there is no answer.
func (e *endpoint) statusFailure(t *trip) *failure {
	said := parseError(t.body)
	if said == nil {
		said = &apiError{Message: string(t.body)}
		if looksLikeHTML(t.body) {
			said.Message = "a page of HTML"
		}
	}
	return e.refusal(t, t.status, said)
}

// bodyFailure is for responses whose status promised an answer that the body does not hold.
func (e *endpoint) bodyFailure(t *trip, err error) *failure {
	var said *apiError
	if errors.As(err, &said) {
		// Some relays answer 200 and put the status of whom they asked into the error.
		if status, convErr := strconv.Atoi(said.Code); convErr == nil && status >= 400 && status < 600 {
			return e.refusal(t, status, said)
		}
		if tooLong(t.status, said) {
			return e.refusal(t, t.status, said)
		}
		wait, _ := retryAfter(t.header, time.Now())
		return &failure{scope: again, kind: "error", code: word(said), wait: wait, status: t.status,
			message: fmt.Sprintf("the endpoint %s answered with an error: %s", e.url, brief(said.Message))}
	}
	f := &failure{scope: again, kind: "garbage", wait: -1, status: t.status,
		message: fmt.Sprintf("the endpoint %s answered with something else than a chat completion: %v", e.url, err)}
	switch {
	case errors.Is(err, errHTML):
		f.kind = "html"
		f.message += "; check distill.endpoint: it is the base URL, usually ending in /v1"
	case errors.Is(err, errEmpty):
		f.kind = "empty"
	}
	return f
}

// refusal sorts an endpoint's error by its status.
func (e *endpoint) refusal(t *trip, status int, said *apiError) *failure {
	f := &failure{scope: rowOnly, kind: strconv.Itoa(status), code: word(said), status: status, schema: refusesSchema(status, said)}
	f.wait, f.exact = retryAfter(t.header, time.Now())
	f.message = fmt.Sprintf("the endpoint %s answered %d %s", e.url, status, http.StatusText(status))
	if text := brief(said.Message); text != "" {
		f.message += ": " + text
	}
	advise := func(text string) { f.scope, f.message = runEnds, f.message+": "+text }
	answered := e.answered.Load()
	switch {
	case tooLong(status, said):
		f.kind, f.reason = contextLength, contextLength
	case status == http.StatusPaymentRequired && f.wait >= 0: // OpenRouter's bound on what is in flight
		f.scope = rateOnly
	case f.code == "insufficient_quota" || status == http.StatusPaymentRequired:
		advise("there is nothing left to spend; add credit, then run again: every answer is kept")
	case status == http.StatusUnauthorized:
		advise("check the key in " + e.keyName())
	case status == http.StatusForbidden && flagged(said): // OpenRouter's moderation of one prompt
	case status == http.StatusForbidden:
		advise(fmt.Sprintf("check that the key may use the model %q", e.model))
	case (status == http.StatusNotFound || status == http.StatusMethodNotAllowed) && answered: // the model was there
		f.scope = again
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		advise(fmt.Sprintf("check distill.model (%q) and distill.endpoint: it is the base URL, usually ending in /v1", e.model))
	case status >= 300 && status < 400:
		advise("it points elsewhere; put the address it points to into distill.endpoint")
	case status == http.StatusTooManyRequests:
		f.scope = rateOnly
	case (status == http.StatusServiceUnavailable || status == statusOverloaded) && f.wait >= 0:
		f.scope = rateOnly
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooEarly, status >= 500:
		f.scope = again
	}
	return f
}

const statusOverloaded = 529 // Anthropic's and some relays'

// contextLength is the reason of the drop of a row that does not fit into the model's context.
const contextLength = "context_length"

// tooLong reports whether an error says that prompt and answer do not fit into the model's context. There is no common
// code for it: OpenAI and those after it have one, llama.cpp has another, most others only say so.
func tooLong(status int, said *apiError) bool {
	for _, word := range []string{said.Code, said.Type} {
		if word == "context_length_exceeded" || word == "exceed_context_size_error" {
			return true
		}
	}
	if status == http.StatusTooManyRequests || status == http.StatusUnauthorized {
		return false
	}
	text := strings.ToLower(said.Message)
	for _, phrase := range []string{
		"maximum context length", "context length exceeded", "context_length_exceeded", "exceeds the context", // OpenAI, vLLM, DeepSeek, Groq
		"exceeds the available context size",                                                      // llama.cpp
		"longer than the maximum model length",                                                    // vLLM
		"longer than the model's context length",                                                  // SGLang
		"greater than the context length",                                                         // LM Studio
		"prompt is too long", "input is too long", "exceeds the maximum number of tokens allowed", // Anthropic, Bedrock, Gemini
		"`inputs` tokens + `max_new_tokens` must be",                   // TGI
		"maximum context length.", "reduce the length of the messages", // Mistral, Groq
	} {
		if strings.Contains(text, phrase) {
			return true
		}
	}
	return false
}

// flagged reports whether it is the prompt that is forbidden, not the key.
func flagged(said *apiError) bool {
	text := strings.ToLower(said.Message)
	return strings.Contains(text, "flagged") || strings.Contains(text, "moderation")
}

// retryAfter reads the header in both its forms, and the newer one in milliseconds; negative when there is none. exact
// is false where it came in whole seconds, to which servers round up.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, exact bool) {
	if ms, err := strconv.ParseFloat(strings.TrimSpace(h.Get("Retry-After-Ms")), 64); err == nil && ms >= 0 && ms < maxWait.Seconds()*1e3 {
		return time.Duration(ms * float64(time.Millisecond)), true
	}
	v := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 {
		return time.Duration(min(s, maxWait.Seconds()) * float64(time.Second)), strings.Contains(v, ".")
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), maxWait), true
	}
	return -1, false
}

// maxWait bounds what an endpoint can ask for; anything near it ends the run by give_up_after.
const maxWait = 30 * 24 * time.Hour

// word is the endpoint's shortest name for an error.
func word(e *apiError) string {
	if e.Code != "" {
		return e.Code
	}
	return e.Type
}

// brief makes a message fit for one line.
func brief(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "�")), " ")
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return s
}
