package reward

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"stillhouse"
	"stillhouse/internal/options"
)

// Post is what the rewards that ask a server have in common: where, how many at a time, how often.
type Post struct {
	URL         string `yaml:"url" json:"url" doc:"Where rows are posted to, such as http://127.0.0.1:8080/score."`
	APIKeyEnv   string `yaml:"api_key_env" json:"api_key_env" doc:"The environment variable that holds the key, which is sent as a bearer token; empty sends none."`
	Concurrency int    `yaml:"concurrency" json:"concurrency" doc:"The most requests at a time."`
	MaxRetries  *int   `yaml:"max_retries" json:"max_retries" doc:"How often a request is sent again after an error that may pass (no connection, 408, 429, 5xx), within timeout."`
	Version     string `yaml:"version" json:"version" doc:"Changes whenever the server may score otherwise, so that its scores are made again."`
}

// EnsureDefaults fills in: 8 at a time, 3 retries.
func (o *Post) EnsureDefaults() {
	if o.Concurrency == 0 {
		o.Concurrency = 8
	}
	if o.MaxRetries == nil {
		o.MaxRetries = new(3)
	}
}

// Validate is an Invalid error for an address that is none, or holds a secret.
func (o *Post) Validate() error {
	u, err := url.Parse(o.URL)
	switch {
	case o.URL == "":
		return options.Wrongf("url", "is missing: give one such as http://127.0.0.1:8080/score")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return options.Wrongf("url", "is not an http or https URL: give one such as http://127.0.0.1:8080/score")
	case u.User != nil || u.RawQuery != "":
		return options.Wrongf("url", "holds a user name, a password or a query: put the secret into an environment variable and its name into api_key_env")
	case o.Concurrency < 0 || o.Concurrency > 4096:
		return options.Wrongf("concurrency", "is %d: it must be 1 to 4096", o.Concurrency)
	case o.MaxRetries != nil && (*o.MaxRetries < 0 || *o.MaxRetries > 100):
		return options.Wrongf("max_retries", "is %d: it must be 0 to 100", *o.MaxRetries)
	}
	return nil
}

// maxPosted is the most that is read of a server's answer for a row.
const maxPosted = 1 << 20

// A poster posts JSON to one address.
type poster struct {
	o      Post
	key    string
	client *http.Client
	meter  Meter // nil where nobody counts
	wait   func(ctx context.Context, d time.Duration) error
}

func newPoster(o Post) *poster {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = o.Concurrency, o.Concurrency
	return &poster{o: o, wait: waitFor, client: &http.Client{Transport: t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}} // it would carry the key elsewhere
}

func waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Open reads the key.
func (p *poster) Open() error {
	if p.o.APIKeyEnv == "" {
		return nil
	}
	if p.key = os.Getenv(p.o.APIKeyEnv); p.key == "" {
		return stillhouse.Invalidf("the environment variable %s (api_key_env) is not set: put the key into it", p.o.APIKeyEnv)
	}
	return nil
}

// Close closes connections that are not in use.
func (p *poster) Close() error {
	p.client.CloseIdleConnections()
	return nil
}

// Meter has what is asked counted.
func (p *poster) Meter(m Meter) { p.meter = m }

func (p *poster) count(u Usage) error {
	if p.meter == nil {
		return nil
	}
	return p.meter(u)
}

// usageOf is what an answer says of its tokens, in the form of OpenAI's API: vLLM says it, text-embeddings-inference doesn't.
func usageOf(answer []byte) (u Usage) {
	var said struct {
		Usage struct {
			Prompt     int64 `json:"prompt_tokens"`
			Completion int64 `json:"completion_tokens"`
			Total      int64 `json:"total_tokens"`
		} `json:"usage"`
	}
	if json.Unmarshal(answer, &said) != nil {
		return u
	}
	u.PromptTokens, u.CompletionTokens = max(0, said.Usage.Prompt), max(0, said.Usage.Completion)
	if u.PromptTokens == 0 {
		u.PromptTokens = max(0, said.Usage.Total-u.CompletionTokens)
	}
	return u
}

// Concurrency is how many requests there may be at a time.
func (p *poster) Concurrency() int { return p.o.Concurrency }

// post gets the answer to a body, of which at most so many bytes are read. The error holds no key.
func (p *poster) post(ctx context.Context, body []byte, most int64) ([]byte, error) {
	for n := 0; ; n++ {
		answer, after, err := p.once(ctx, body, most)
		if err == nil {
			return answer, nil
		}
		if after < 0 || n >= *p.o.MaxRetries || ctx.Err() != nil {
			return nil, err
		}
		if p.wait(ctx, max(after, min(8*time.Second, 100*time.Millisecond<<min(n, 10)))) != nil {
			return nil, err
		}
	}
}

// once sends one request. After an error, after is how long the server wants to be left alone, negative for ever.
func (p *poster) once(ctx context.Context, body []byte, most int64) (answer []byte, after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.o.URL, bytes.NewReader(body))
	if err != nil {
		return nil, -1, err
	}
	req.Header.Set("Content-Type", "application/json")
	if p.key != "" {
		req.Header.Set("Authorization", "Bearer "+p.key)
	}
	if err := p.count(Usage{Requests: 1}); err != nil {
		return nil, -1, err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("the server cannot be asked: %w", err)
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("the server's answer broke off: %w", err)
	case int64(len(answer)) > most:
		return nil, -1, fmt.Errorf("the server answered with more than %d bytes", most)
	case res.StatusCode/100 == 2:
		u := usageOf(answer)
		u.Answers = 1
		return answer, -1, p.count(u)
	}
	said := strings.TrimSpace(string(answer))
	if p.key != "" {
		said = strings.ReplaceAll(said, p.key, "[key]")
	}
	if after = -1; res.StatusCode >= 500 || slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooManyRequests}, res.StatusCode) {
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		after = time.Duration(min(max(seconds, 0), 3600)) * time.Second
	}
	return nil, after, fmt.Errorf("the server said %s: %q", res.Status, shorten(said))
}

// unanswered is the score of a request that failed.
func unanswered(ctx context.Context, err error) stillhouse.Score {
	if ctx.Err() != nil {
		return outOfTime
	}
	return failed("%s", shortenTo(strings.ToValidUTF8(err.Error(), "\uFFFD"), 300))
}

// postVersion puts a version of the user's behind the reward's own.
func postVersion(ours, theirs string) string {
	if theirs == "" {
		return ours
	}
	return ours + "-" + theirs
}
