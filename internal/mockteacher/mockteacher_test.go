package mockteacher

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ask(t *testing.T, url, body string) (*http.Response, []byte, error) {
	t.Helper()
	resp, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, text, err
}

const question = `{"model":"m","messages":[{"role":"user","content":"Why?"}],"seed":7,"n":2}`

type completion struct {
	Choices []struct {
		Index        int
		Message      struct{ Content string }
		FinishReason string `json:"finish_reason"`
	}
	Usage struct {
		CompletionTokens int `json:"completion_tokens"`
	}
}

func TestAnswersFollowFromTheRequest(t *testing.T) {
	server := httptest.NewServer(New(Options{}))
	defer server.Close()
	resp, first, err := ask(t, server.URL, question)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var c completion
	require.NoError(t, json.Unmarshal(first, &c))
	require.Len(t, c.Choices, 2)
	assert.NotEqual(t, c.Choices[0].Message.Content, c.Choices[1].Message.Content)
	assert.Equal(t, c.Usage.CompletionTokens, len(strings.Fields(c.Choices[0].Message.Content+" "+c.Choices[1].Message.Content)))
	_, again, err := ask(t, server.URL, question)
	require.NoError(t, err)
	assert.Equal(t, string(first), string(again))
	_, second, err := ask(t, server.URL, strings.Replace(question, `"seed":7,"n":2`, `"seed":8`, 1))
	require.NoError(t, err)
	var other completion
	require.NoError(t, json.Unmarshal(second, &other))
	assert.Equal(t, c.Choices[1].Message, other.Choices[0].Message, "choice i has the seed seed+i")
}

func TestFaults(t *testing.T) {
	for kind, check := range map[string]func(resp *http.Response, body []byte, err error){
		"fail500": func(r *http.Response, _ []byte, _ error) { assert.Equal(t, 500, r.StatusCode) },
		"fail503": func(r *http.Response, _ []byte, _ error) {
			assert.Equal(t, 503, r.StatusCode)
			assert.Equal(t, "3", r.Header.Get("Retry-After"))
		},
		"drop":    func(_ *http.Response, _ []byte, err error) { assert.ErrorIs(t, err, io.ErrUnexpectedEOF) },
		"garbage": func(_ *http.Response, b []byte, _ error) { assert.False(t, json.Valid(b)) },
		"truncate": func(_ *http.Response, b []byte, _ error) {
			var c completion
			assert.NoError(t, json.Unmarshal(b, &c))
			assert.Equal(t, "length", c.Choices[0].FinishReason)
		},
	} {
		mock := New(Options{Faults: map[string]float64{kind: 1}, FaultsMax: 1, RetryAfter: "3"})
		server := httptest.NewServer(mock)
		check(ask(t, server.URL, question))
		_, body, err := ask(t, server.URL, question)
		require.NoError(t, err)
		assert.True(t, json.Valid(body), "a body meets one fault")
		server.Close()
		assert.Equal(t, map[string]int64{kind: 1}, mock.Stats().ByFault)
	}
}

func TestRateAndBooks(t *testing.T) {
	mock := New(Options{Rate: 0.001, Burst: 2, Headers: true, RetryAfter: "1"})
	server := httptest.NewServer(mock)
	for i, want := range []struct {
		status    int
		remaining string
	}{{200, "1"}, {200, "0"}, {429, "0"}} {
		resp, _, err := ask(t, server.URL, question)
		require.NoError(t, err)
		assert.Equal(t, want.status, resp.StatusCode, i)
		assert.Equal(t, want.remaining, resp.Header.Get("x-ratelimit-remaining-requests"))
	}
	server.Close()
	s := mock.Stats()
	assert.Equal(t, map[string]int64{"200": 2, "429": 1}, s.ByStatus)
	assert.Equal(t, int64(1), s.AnsweredBodies)
	assert.Equal(t, int64(2), s.Resent)
	assert.Equal(t, int64(1), s.Bodies)
	assert.Greater(t, s.Window(), 0.0)
}
