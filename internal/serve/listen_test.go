package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"stillhouse/internal/student"
)

func TestOtherRoutes(t *testing.T) {
	_, url := newServer(t, Options{})
	base := strings.TrimSuffix(url, "/v1")
	for _, tc := range []struct {
		method, path, host, kind string
		status                   int
		words                    string
	}{
		{"GET", "/v1/models", "", "", 200, `"id":"tiny"`},
		{"GET", "/v1/models/tiny", "", "", 200, `"id":"tiny"`},
		{"GET", "/v1/models/other", "", "", 404, "model_not_found"},
		{"GET", "/health", "", "", 200, "ok"},
		{"GET", "/health", "localhost:99", "", 200, "ok"},
		{"GET", "/v1/models", "evil.example:80", "", 403, "localhost only"},
		{"GET", "/v1/chat/completions", "", "", 405, "use POST"},
		{"GET", "/nowhere", "", "", 404, "/nowhere"},
		{"POST", "/v1/chat/completions", "", "text/plain", 415, "application/json"},
	} {
		r, err := http.NewRequest(tc.method, base+tc.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = tc.host
		r.Header.Set("Content-Type", tc.kind)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != tc.status || !strings.Contains(string(text), tc.words) || answer.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s (%s): %s %s, %v", tc.method, tc.path, tc.host, answer.Status, text, err)
		}
	}
}

func TestListen(t *testing.T) {
	s, _ := newServer(t, Options{})
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:80", "127.0.0.1"} {
		if _, _, err := s.Listen(context.Background(), addr); err == nil {
			t.Errorf("it listens on %s", addr)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	url, wait, err := s.Listen(ctx, "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := http.Get(url + "/models"); err != nil || r.StatusCode != 200 {
		t.Errorf("%v, %v", r, err)
	}
	taken := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/v1")
	if _, _, err := s.Listen(ctx, taken); err == nil || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "another port") {
		t.Errorf("a port that is taken: %v", err)
	}
	cancel()
	if err := wait(); err != nil {
		t.Errorf("ended by its context: %v", err)
	}
	if _, err := http.Get(url + "/models"); err == nil {
		t.Error("it still answers")
	}
	wrong := s.options
	wrong.Model = student.New(func() student.Config { c := wrong.Model.Config; c.VocabSize = 100; return c }(), 1, 0.02)
	if err := wrong.Validate(); err == nil || !strings.Contains(err.Error(), "vocabulary of 100") {
		t.Errorf("a tokenizer of another vocabulary: %v", err)
	}
}

func TestTooManyRequests(t *testing.T) {
	s, url := newServer(t, Options{MaxRequests: 1})
	s.places <- struct{}{}
	r := post(t, url, ask("x", nil))
	text, _ := io.ReadAll(r.Body)
	if r.StatusCode != 429 || r.Header.Get("Retry-After") != "1" || !strings.Contains(string(text), "rate_limit_error") {
		t.Errorf("%s %s", r.Status, text)
	}
	<-s.places
	complete(t, url, ask("x", fields{"max_tokens": 1}))
	complete(t, url, ask("x", fields{"max_tokens": 1})) // the first gave its place back
}

func TestShuttingDown(t *testing.T) {
	s, _ := newServer(t, Options{})
	s.generator.Close()
	for _, stream := range []bool{false, true} {
		raw, err := json.Marshal(ask("x", fields{"stream": stream}))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/v1/chat/completions", bytes.NewReader(raw))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), "shutting down") || !stream && w.Code != 503 || stream && strings.Contains(w.Body.String(), "[DONE]") {
			t.Errorf("stream %v: %d %s", stream, w.Code, w.Body)
		}
	}
}
