package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"stillhouse"
	"stillhouse/internal/student"
)

// A problem is what keeps a request from being answered. It is sent as OpenAI sends errors, so that clients raise the
// exceptions that their users know.
type problem struct {
	status  int
	message string
	param   string // the key of the request that is wrong
	code    string
}

func (p problem) Error() string { return p.message }

func badRequest(param, format string, args ...any) error {
	return problem{status: http.StatusBadRequest, message: fmt.Sprintf(format, args...), param: param}
}

func noModel(name, served string) problem {
	return problem{status: http.StatusNotFound, message: fmt.Sprintf("the model %q is not served here: %q is", name, served), param: "model", code: "model_not_found"}
}

// asProblem is what a client is told of an error.
func asProblem(err error) problem {
	var p problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, student.ErrClosed):
		return problem{status: http.StatusServiceUnavailable, message: "the server is shutting down"}
	case stillhouse.KindOf(err) == stillhouse.Invalid:
		return problem{status: http.StatusBadRequest, message: err.Error()}
	}
	return problem{status: http.StatusInternalServerError, message: err.Error()}
}

// body is the error object.
func (p problem) body() any {
	kind := "invalid_request_error"
	switch {
	case p.status == http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case p.status >= 500:
		kind = "server_error"
	}
	null := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return map[string]any{"error": map[string]any{"message": p.message, "type": kind, "param": null(p.param), "code": null(p.code)}}
}

func writeError(w http.ResponseWriter, p problem) {
	if p.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, p.status, p.body())
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // an error is the client's going away
}
