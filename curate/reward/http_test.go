package reward

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

// served makes a reward whose waits take no time, and is closed with the test.
func served(t testing.TB, o Options, waits *[]time.Duration) Reward {
	t.Helper()
	o.EnsureDefaults()
	require.NoError(t, o.Validate())
	r, err := o.New()
	require.NoError(t, err)
	require.NoError(t, r.(Opener).Open())
	t.Cleanup(func() { require.NoError(t, r.(io.Closer).Close()) })
	var p *poster
	switch r := r.(type) {
	case httpReward:
		p = r.poster
	case httpBatch:
		p = r.poster
	case *rewardModel:
		p = r.poster
	}
	p.wait = func(_ context.Context, d time.Duration) error {
		if waits != nil {
			*waits = append(*waits, d)
		}
		return nil
	}
	return r
}

// answers serves answers one after another, the last for ever, and keeps what was posted.
func answers(t testing.TB, posted *[]string, header http.Header, said ...string) string {
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*posted = append(*posted, string(body))
		answer := said[min(n, len(said)-1)]
		n++
		if code, ok := map[string]int{"busy": 429, "down": 503, "no": 400, "moved": 307}[strings.Fields(answer)[0]]; ok {
			w.Header().Set("Retry-After", "2")
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
		}
		for k := range header {
			answer = strings.ReplaceAll(answer, "KEY", r.Header.Get(k))
		}
		io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestHTTP(t *testing.T) {
	t.Setenv("REWARD_KEY", "sk-secret")
	const right = `{"id": "p/0", "score": 1, "evidence": "fine"}`
	for _, tc := range []struct {
		name, verdict, evidence string
		requests                int
		said                    []string
	}{
		{"right", stillhouse.Right, "fine", 1, []string{right}},
		{"again", stillhouse.Right, "fine", 3, []string{"busy", "down", right}},
		{"down for long", stillhouse.Errored, "503", 4, []string{"down"}},
		{"refused", stillhouse.Errored, `400 Bad Request: "no such thing Bearer [key]"`, 1, []string{"no such thing KEY"}},
		{"a redirect is not followed", stillhouse.Errored, "307", 1, []string{"moved"}},
		{"garbage", stillhouse.Errored, `it said "<html>"`, 1, []string{"<html>"}},
		{"another's", stillhouse.Errored, `it answered to id "q/0"`, 1, []string{`{"id": "q/0", "score": 1}`}},
		{"10 MB", stillhouse.Errored, "more than 1048576 bytes", 1, []string{strings.Repeat("x", 10_000_000)}},
		{"deep nesting", stillhouse.Errored, "it said", 1, []string{strings.Repeat("[", 1_000_000)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var posted []string
			var waits []time.Duration
			url := answers(t, &posted, http.Header{"Authorization": nil}, tc.said...)
			r := served(t, &HTTP{Post: Post{URL: url, APIKeyEnv: "REWARD_KEY"}}, &waits)
			got := r.Score(context.Background(), candidate("p", 0, "7", "seven", 3))
			assert.Equal(t, tc.verdict, got.Verdict, got.Evidence)
			assert.Contains(t, got.Evidence, tc.evidence)
			assert.NotContains(t, got.Evidence, "sk-secret")
			assert.Len(t, posted, tc.requests)
			for _, d := range waits {
				assert.Equal(t, 2*time.Second, d, "as the server asks")
			}
			var row map[string]any
			require.NoError(t, json.Unmarshal([]byte(posted[0]), &row))
			assert.Equal(t, "seven", row["completion"])
			assert.Equal(t, "7", row["reference"])
		})
	}
}

// What is asked is counted before it is sent, with the tokens that the server says; what cannot be counted is not sent.
func TestPostsAreCounted(t *testing.T) {
	for _, tc := range []struct {
		said []string
		want Usage
	}{
		{[]string{`{"data":[{"score":1}],"usage":{"prompt_tokens":7,"total_tokens":7,"completion_tokens":0}}`}, Usage{Requests: 1, Answers: 1, PromptTokens: 7}},
		{[]string{"busy", "down", `{"data":[{"score":1}],"usage":{"total_tokens":9,"completion_tokens":2}}`}, Usage{Requests: 3, Answers: 1, PromptTokens: 7, CompletionTokens: 2}},
		{[]string{`{"data":[{"score":1}]}`}, Usage{Requests: 1, Answers: 1}},
		{[]string{`{"data":[{"score":1}],"usage":"seven"}`}, Usage{Requests: 1, Answers: 1}},
		{[]string{`{"data":[{"score":1}],"usage":{"prompt_tokens":-7}}`}, Usage{Requests: 1, Answers: 1}},
		{[]string{`[1]`}, Usage{Requests: 1, Answers: 1}},
		{[]string{"no"}, Usage{Requests: 1}},
	} {
		var posted []string
		r := served(t, &Model{API: "score", Post: Post{URL: answers(t, &posted, nil, tc.said...)}}, nil)
		var got Usage
		r.(Metered).Meter(func(u Usage) error {
			got.Requests, got.Answers = got.Requests+u.Requests, got.Answers+u.Answers
			got.PromptTokens, got.CompletionTokens = got.PromptTokens+u.PromptTokens, got.CompletionTokens+u.CompletionTokens
			return nil
		})
		r.Score(context.Background(), candidate("p", 0, "", "x", 1))
		assert.Equal(t, tc.want, got, tc.said)
	}
	var posted []string
	r := served(t, &HTTP{Post: Post{URL: answers(t, &posted, nil, `{"id": "p/0", "score": 1}`)}}, nil)
	r.(Metered).Meter(func(Usage) error { return errors.New("the disk is full") })
	got := r.Score(context.Background(), candidate("p", 0, "", "x", 1))
	assert.Equal(t, stillhouse.Errored, got.Verdict)
	assert.Equal(t, "the disk is full", got.Evidence)
	assert.Empty(t, posted)
}

// A server that hangs costs its own row, in its time.
func TestHTTPHangs(t *testing.T) {
	asked := make(chan bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // without which the server doesn't see that the client is gone
		asked <- true
		<-r.Context().Done()
	}))
	defer s.Close()
	r := served(t, &HTTP{Post: Post{URL: s.URL}}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan stillhouse.Score)
	go func() { got <- r.Score(ctx, candidate("p", 0, "", "x", 1)) }()
	<-asked
	cancel()
	assert.Equal(t, stillhouse.Timeout, (<-got).Verdict)
}

func TestHTTPBatch(t *testing.T) {
	var posted []string
	url := answers(t, &posted, nil, `[{"id": "p/1", "score": false}, {"id": "p/0", "score": 2}, {"id": "p/3", "score": 1}, {"id": "p/3", "score": 0}, {"id": "p/4"}]`, "no")
	r := served(t, &HTTP{Post: Post{URL: url}, Batch: true}, nil).(Group)
	var cs []stillhouse.Candidate
	for i := range 5 {
		cs = append(cs, candidate("p", i, "", "x", 1))
	}
	var verdicts []string
	got := r.ScoreGroup(context.Background(), cs)
	for _, s := range got {
		verdicts = append(verdicts, s.Verdict)
	}
	assert.Equal(t, []string{stillhouse.Right, stillhouse.Wrong, stillhouse.Errored, stillhouse.Errored, stillhouse.Errored}, verdicts)
	assert.Contains(t, got[2].Evidence, `no answer to id "p/2"`)
	assert.Contains(t, got[3].Evidence, "two answers")
	assert.Contains(t, got[4].Evidence, "no score")
	assert.Len(t, posted, 1)
	for _, s := range r.ScoreGroup(context.Background(), cs) {
		assert.Equal(t, stillhouse.Errored, s.Verdict)
	}
}

func TestRewardModel(t *testing.T) {
	for _, tc := range []struct {
		o            Model
		posts, said  string
		score        float64
		verdict, why string
	}{
		{Model{API: "score", Model: "m"}, `{"model":"m","text_1":"How many, p?","text_2":"seven"}`,
			`{"id":"s","object":"list","data":[{"index":0,"object":"score","score":0.75}],"usage":{}}`, 0.75, stillhouse.Right, "the model gave 0.75"},
		{Model{API: "score", Threshold: 0.8}, "", `{"data":[{"score":0.75}]}`, 0.75, stillhouse.Wrong, ""},
		{Model{API: "classify", Model: "m"}, `{"input":"How many, p?\n\nseven","model":"m"}`,
			`{"data":[{"index":0,"label":"LABEL_0","probs":[-1.5],"num_classes":1}]}`, -1.5, stillhouse.Wrong, ""},
		{Model{API: "classify", Label: "1", Chat: true}, `{"messages":[{"role":"user","content":"How many, p?"},{"role":"assistant","content":"seven"}],"model":""}`,
			`{"data":[{"probs":[0.2,0.8]}]}`, 0.8, stillhouse.Right, ""},
		{Model{API: "classify"}, "", `{"data":[{"probs":[0.2,0.8]}]}`, 0, stillhouse.Errored, "scores of 2 classes: name one as label"},
		{Model{API: "rerank", Model: "m"}, `{"documents":["seven"],"model":"m","query":"How many, p?"}`,
			`{"results":[{"index":0,"document":{"text":"seven"},"relevance_score":0.5}]}`, 0.5, stillhouse.Right, ""},
		{Model{API: "tei_rerank"}, `{"query":"How many, p?","texts":["seven"]}`, `[{"index":0,"score":0.25}]`, 0.25, stillhouse.Right, ""},
		{Model{API: "tei_predict"}, `{"inputs":[["How many, p?","seven"]]}`, `[[{"score":0.9,"label":"good"}]]`, 0.9, stillhouse.Right, ""},
		{Model{API: "tei_predict", Label: "bad"}, "", `[{"score":0.9,"label":"good"},{"score":0.1,"label":"bad"}]`, 0.1, stillhouse.Right, ""},
		{Model{API: "tei_predict", Label: "ugly"}, "", `[[{"score":0.9,"label":"good"}]]`, 0, stillhouse.Errored, "there is no number"},
		{Model{API: "json", Path: "out.1.value"}, "", `{"out":[0,{"value":3}]}`, 3, stillhouse.Right, ""},
		{Model{API: "json", Path: "out.7"}, "", `{"out":[0]}`, 0, stillhouse.Errored, `there is no number at "out.7"`},
		{Model{API: "score"}, "", `{"data":[{"score":"NaN"}]}`, 0, stillhouse.Errored, "there is no number"},
		{Model{API: "score"}, "", `garbage`, 0, stillhouse.Errored, "not JSON"},
	} {
		var posted []string
		tc.o.URL = answers(t, &posted, nil, tc.said)
		got := served(t, &tc.o, nil).Score(context.Background(), candidate("p", 0, "", "seven", 3))
		assert.Equal(t, tc.verdict, got.Verdict, "%s: %s", tc.said, got.Evidence)
		assert.Contains(t, got.Evidence, tc.why, tc.said)
		if tc.verdict == stillhouse.Errored {
			assert.True(t, math.IsNaN(got.Score))
		} else {
			assert.Equal(t, tc.score, got.Score)
		}
		if tc.posts != "" {
			assert.Equal(t, []string{tc.posts}, posted)
		}
	}
}

func TestPostOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"url: is missing":                                &HTTP{},
		"url: is not an http or https URL":               &HTTP{Post: Post{URL: "ftp://x"}},
		"url: holds a user name":                         &HTTP{Post: Post{URL: "http://me:pass123@x"}},
		"concurrency: is -1":                             &HTTP{Post: Post{URL: "http://x", Concurrency: -1}},
		"max_retries: is -1":                             &HTTP{Post: Post{URL: "http://x", MaxRetries: new(-1)}},
		`api: is "scor": did you mean "score"?`:          &Model{API: "scor"},
		`path: is ""`:                                    &Model{API: "json"},
		`path: is "x"`:                                   &Model{API: "score", Path: "x"},
		`label: is "good": classify numbers its classes`: &Model{API: "classify", Label: "good"},
		"threshold: is NaN":                              &Model{API: "score", Threshold: math.NaN()},
	} {
		o.EnsureDefaults()
		err := o.Validate()
		if assert.ErrorContains(t, err, want) {
			assert.NotContains(t, err.Error(), "pass123")
			assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
		}
	}
	require.NoError(t, os.Unsetenv("NO_SUCH_KEY"))
	r, err := Entry{Kind: "http", Options: &HTTP{Post: Post{URL: "http://127.0.0.1:1", APIKeyEnv: "NO_SUCH_KEY"}}}.New()
	require.NoError(t, err)
	err = r.(Opener).Open()
	assert.ErrorContains(t, err, "the environment variable NO_SUCH_KEY (api_key_env) is not set")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
}

func FuzzReadScore(f *testing.F) {
	f.Add([]byte(`{"data":[{"score":1}]}`), "score", "", "")
	f.Add([]byte(`[[{"score":1,"label":"a"}]]`), "tei_predict", "", "a")
	f.Add([]byte(`{"a":[1]}`), "json", "a.0", "")
	f.Fuzz(func(t *testing.T, answer []byte, api, path, label string) {
		o := &Model{API: api, Path: path, Label: label, Post: Post{URL: "http://x"}}
		if o.Validate() != nil {
			return
		}
		if score, err := readScore(answer, o); err == nil && (math.IsNaN(score) || math.IsInf(score, 0)) {
			t.Errorf("%q: %v", answer, score)
		}
	})
}
