package distill

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

const planted = "sk-planted-3f9c&2b7a1e"

func TestKeyIsRequiredAndNamed(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "")
	t.Setenv("MY_KEY", "")
	for name, tc := range map[string]struct {
		endpoint string
		env      *string
		says     string
	}{
		"elsewhere":           {"https://api.example.com/v1", nil, "OPENAI_API_KEY"},
		"elsewhere, own":      {"https://api.example.com/v1", new("MY_KEY"), "MY_KEY"},
		"elsewhere, none":     {"https://api.example.com/v1", new(""), ""},
		"loopback":            {"http://127.0.0.1:1/v1", nil, ""},
		"loopback by name":    {"http://localhost:1/v1", nil, ""},
		"loopback, IPv6":      {"http://[::1]:1/v1", nil, ""},
		"loopback, own":       {"http://127.0.0.1:1/v1", new("MY_KEY"), "MY_KEY"},
		"looks like loopback": {"http://127.0.0.1.example.com/v1", nil, "OPENAI_API_KEY"},
	} {
		d := &Distill{Options: Options{Endpoint: tc.endpoint, Model: "m", APIKeyEnv: tc.env, Store: filepath.Join(t.TempDir(), "s.db")}}
		err := d.Open(context.Background())
		if tc.says == "" {
			assert.NoError(t, err, name)
			assert.NoError(t, d.Close())
			continue
		}
		require.ErrorContains(t, err, tc.says, name)
		assert.ErrorContains(t, err, "api_key_env", name)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)
	}
}

// A key goes to the endpoint and nowhere else, even when the endpoint echoes it.
func TestKeyIsNowhere(t *testing.T) {
	t.Setenv("MY_KEY", planted+"\n")
	echo := `{"error":{"message":"you sent %KEY%","code":"%KEY%"}}`
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Key: planted,
		Answer: func(c testkit.Call) testkit.Choice {
			return testkit.Choice{Content: "your key is " + strings.TrimPrefix(c.Header.Get("Authorization"), "Bearer ")}
		},
		Fault: func(c testkit.Call) *testkit.Fault {
			switch c.Prompt() {
			case question(1):
				return &testkit.Fault{Status: 400, Body: echo}
			case question(2):
				return &testkit.Fault{Status: 500, Body: "%KEY%"}
			case question(3):
				return &testkit.Fault{Body: echo}
			}
			return nil
		}})
	d := newStage(t, teacher, func(d *Distill) { d.APIKeyEnv, d.MaxRetries = new("MY_KEY"), new(1) })
	r := mustRun(t, d, questions(5))
	assert.Len(t, r.Rows, 8)
	assert.Len(t, r.Failed, 12)
	options, err := json.Marshal(d)
	require.NoError(t, err)
	rows, err := json.Marshal(r)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	for name, data := range map[string][]byte{"options": options, "rows": rows, "text": []byte(d.String())} {
		assert.NotContains(t, string(data), planted, name)
	}
	assert.Contains(t, string(rows), "your key is [key]")

	s, err := OpenStore(context.Background(), d.Store)
	require.NoError(t, err)
	defer s.Close()
	all, err := s.db.Query(`SELECT request, header, body FROM responses`)
	require.NoError(t, err)
	defer all.Close()
	n := 0
	for ; all.Next(); n++ {
		var parts [3][]byte
		require.NoError(t, all.Scan(&parts[0], &parts[1], &parts[2]))
		for _, p := range parts {
			text, err := unpacker().DecodeAll(p, nil)
			require.NoError(t, err)
			assert.NotContains(t, string(text), planted)
		}
	}
	assert.Equal(t, 2, n)
	files, err := filepath.Glob(d.Store + "*")
	require.NoError(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		assert.False(t, bytes.Contains(data, []byte(planted)), f)
	}
}

func TestKeyIsNotInTheErrorOfARefusal(t *testing.T) {
	t.Setenv("MY_KEY", planted)
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(testkit.Call) *testkit.Fault {
		return &testkit.Fault{Status: 401, Body: `{"error":{"message":"Incorrect API key provided: %KEY%"}}`}
	}})
	_, err := run(context.Background(), newStage(t, teacher, func(d *Distill) { d.APIKeyEnv = new("MY_KEY") }), questions(1))
	require.ErrorContains(t, err, "Incorrect API key provided: [key]")
	assert.NotContains(t, err.Error(), planted)
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Endpoint: "http://127.0.0.1:1/v1", Model: "m"}
	for says, change := range map[string]func(*Options){
		"endpoint: is missing":        func(o *Options) { o.Endpoint = "" },
		"endpoint: is not an http":    func(o *Options) { o.Endpoint = "127.0.0.1:8000" },
		"endpoint: holds a user name": func(o *Options) { o.Endpoint = "https://user:pass@example.com/v1" },
		"endpoint: has a query":       func(o *Options) { o.Endpoint = "https://example.com/v1?key=1" },
		"model: is missing":           func(o *Options) { o.Model = "" },
		"samples: is -1":              func(o *Options) { o.Samples = Exactly(-1) },
		"temperature: is 9":           func(o *Options) { o.Temperature = new(9.0) },
		"top_p: is 0":                 func(o *Options) { o.TopP = new(0.0) },
		"max_tokens: is -5":           func(o *Options) { o.MaxTokens = -5 },
		"concurrency: is -1":          func(o *Options) { o.Concurrency = -1 },
		"max_retries: is -1":          func(o *Options) { o.MaxRetries = new(-1) },
		"timeout: is -1ns":            func(o *Options) { o.Timeout = -1 },
		"give_up_after: is -1ns":      func(o *Options) { o.GiveUpAfter = -1 },
		`extra_body.n: has a key of its own: use distill.samples`:    func(o *Options) { o.ExtraBody = map[string]any{"n": 4} },
		"extra_body.stream: cannot be set: answers are not streamed": func(o *Options) { o.ExtraBody = map[string]any{"stream": true} },
		"extra_body.x: cannot be":                                    func(o *Options) { o.ExtraBody = map[string]any{"x": map[any]any{1: 2}} },
		`seed: is 9007199254740992`:                                  func(o *Options) { o.Seed = new(int64(1) << 53) },
	} {
		o := good
		change(&o)
		o.EnsureDefaults()
		err := o.Validate()
		require.ErrorContains(t, err, says)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), says)
		assert.NotContains(t, err.Error(), "pass@")
	}
	wrong := good
	wrong.Samples = Exactly(-1)
	require.EqualError(t, (&Distill{Options: wrong}).Open(context.Background()), "distill.samples: is -1: it must be 1 to 1024", "outside of its block")
	good.EnsureDefaults()
	assert.NoError(t, good.Validate())
}
