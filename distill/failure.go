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
)

// A failure is a request that brought no answer.
type failure struct {
	scope   scope
	kind    string        // what the report counts: a status, timeout, reset, connect, cut, html, garbage, empty, error
	code    string        // the endpoint's own word for it
	message string        // what happened and, where the user must act, what would help
	wait    time.Duration // what the endpoint asked for by Retry-After; negative when it asked for nothing
	status  int           // 0 when none came
	n       int           // how many answers had been asked for
}

func (f *failure) Error() string { return f.message }

// same reports whether two failures have one cause, as far as can be seen.
func (f *failure) same(g *failure) bool { return f.kind == g.kind && f.code == g.code }

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
	return e.refusal(t.status, said, retryAfter(t.header, time.Now()))
}

// bodyFailure is for responses whose status promised an answer that the body does not hold.
func (e *endpoint) bodyFailure(t *trip, err error) *failure {
	var said *apiError
	if errors.As(err, &said) {
		// Some relays answer 200 and put the status of whom they asked into the error.
		if status, convErr := strconv.Atoi(said.Code); convErr == nil && status >= 400 && status < 600 {
			return e.refusal(status, said, retryAfter(t.header, time.Now()))
		}
		return &failure{scope: again, kind: "error", code: word(said), wait: retryAfter(t.header, time.Now()), status: t.status,
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
func (e *endpoint) refusal(status int, said *apiError, wait time.Duration) *failure {
	f := &failure{scope: rowOnly, kind: strconv.Itoa(status), code: word(said), wait: wait, status: status}
	f.message = fmt.Sprintf("the endpoint %s answered %d %s", e.url, status, http.StatusText(status))
	if text := brief(said.Message); text != "" {
		f.message += ": " + text
	}
	advise := func(text string) { f.scope, f.message = runEnds, f.message+": "+text }
	switch {
	case f.code == "insufficient_quota" || status == http.StatusPaymentRequired:
		advise("there is nothing left to spend; add credit, then run again: every answer is kept")
	case status == http.StatusUnauthorized:
		advise("check the key in the variable that distill.api_key_env names")
	case status == http.StatusForbidden:
		advise(fmt.Sprintf("check that the key may use the model %q", e.model))
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		advise(fmt.Sprintf("check distill.model (%q) and distill.endpoint: it is the base URL, usually ending in /v1", e.model))
	case status >= 300 && status < 400:
		advise("it points elsewhere; put the address it points to into distill.endpoint")
	case status == http.StatusTooManyRequests:
		f.scope = rateOnly
	case status == http.StatusServiceUnavailable && wait >= 0:
		f.scope = rateOnly
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status == http.StatusTooEarly, status >= 500:
		f.scope = again
	}
	return f
}

// retryAfter reads the header in both its forms, and the newer one in milliseconds; negative when there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(strings.TrimSpace(h.Get("Retry-After-Ms")), 64); err == nil && ms >= 0 && ms < maxWait.Seconds()*1e3 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	v := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 {
		return time.Duration(min(s, maxWait.Seconds()) * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), maxWait)
	}
	return -1
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
