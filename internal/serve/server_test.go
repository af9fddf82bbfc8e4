package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"stillhouse/internal/chat"
	"stillhouse/internal/student"
)

const tinyLlama = "../../testdata/parity/train/models/tiny-llama"

// newServer is a server of the tiny Llama at a loopback address; url ends in /v1.
func newServer(t *testing.T, o Options) (s *Server, url string) {
	t.Helper()
	var err error
	if o.Model, err = student.Load(tinyLlama); err != nil {
		t.Fatal(err)
	}
	if o.Tokenizer, err = chat.Load(tinyLlama); err != nil {
		t.Fatal(err)
	}
	o.Name = "tiny"
	s = New(o)
	url, wait, err := s.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := wait(); err != nil {
			t.Error(err)
		}
	})
	return s, url
}

type fields = map[string]any

func ask(question string, more fields) fields {
	out := fields{"model": "tiny", "messages": []fields{{"role": "user", "content": question}}}
	for k, v := range more {
		out[k] = v
	}
	return out
}

func post(t *testing.T, url string, body any) *http.Response {
	t.Helper()
	text, ok := body.(string)
	if !ok {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(raw)
	}
	r, err := http.Post(url+"/chat/completions", "application/json", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	return r
}

func complete(t *testing.T, url string, body fields) (out completion) {
	t.Helper()
	r := post(t, url, body)
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != 200 {
		t.Fatalf("%s: %s, %v", r.Status, text, err)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

func contents(c completion) (out []string) {
	for _, c := range c.Choices {
		out = append(out, c.Message.Content)
	}
	return out
}

func TestCompletion(t *testing.T) {
	s, url := newServer(t, Options{})
	got := complete(t, url, ask("Hello", fields{"n": 3, "seed": 4, "max_tokens": 20, "logprobs": true}))
	if got.Object != "chat.completion" || got.Model != "tiny" || !strings.HasPrefix(got.ID, "chatcmpl-") || len(got.Choices) != 3 {
		t.Errorf("%+v", got)
	}
	prompt, err := s.options.Tokenizer.Render([]chat.Message{{Role: "user", Content: "Hello"}}, chat.RenderOptions{AddGenerationPrompt: true})
	if err != nil {
		t.Fatal(err)
	}
	tokens := s.options.Tokenizer.Encode(prompt)
	made := 0
	for i, c := range got.Choices {
		if c.Index != i || c.Message.Role != "assistant" || (c.FinishReason == "length") != (len(c.Logprobs.Content) == 20) {
			t.Errorf("choice %d: %+v", i, c)
		}
		if made += len(c.Logprobs.Content); c.FinishReason == "stop" {
			made++
		}
		for _, l := range c.Logprobs.Content {
			if l.Logprob > 0 {
				t.Errorf("a logprob is %v", l.Logprob)
			}
		}
	}
	if want := (usage{len(tokens), made, len(tokens) + made}); got.Usage != want {
		t.Errorf("usage is %+v, not %+v", got.Usage, want)
	}
	// Temperature is 1 unless given, and without a seed the answers differ.
	if a, b := contents(complete(t, url, ask("Hello", fields{"max_tokens": 40}))), contents(complete(t, url, ask("Hello", fields{"max_tokens": 40}))); slices.Equal(a, b) {
		t.Errorf("two answers without a seed are both %q", a)
	}
	if a, b := contents(complete(t, url, ask("Hello", fields{"max_completion_tokens": 40, "top_p": 0}))), contents(complete(t, url, ask("Hello", fields{"max_tokens": 40, "temperature": 0}))); !slices.Equal(a, b) {
		t.Errorf("top_p 0 gives %q, temperature 0 %q", a, b)
	}
}

// A seed gives the same answers whatever else is in flight, and each sample is its own.
func TestSeeds(t *testing.T) {
	_, url := newServer(t, Options{MaxBatch: 5})
	body := func(i int) fields {
		return ask(strings.Repeat("why ", i), fields{"seed": 7, "n": 2 + i%3, "max_tokens": 10 + i, "temperature": 0.5 + float64(i%4)/4})
	}
	var alone [12][]string
	for i := range alone {
		alone[i] = contents(complete(t, url, body(i)))
	}
	var wg sync.WaitGroup
	for i := range alone {
		for _, stream := range []bool{false, true} {
			wg.Go(func() {
				b := body(i)
				var got []string
				if b["stream"] = stream; stream {
					got = readStream(t, post(t, url, b)).texts
				} else {
					got = contents(complete(t, url, b))
				}
				if !slices.Equal(got, alone[i]) {
					t.Errorf("request %d, stream %v: %q, alone %q", i, stream, got, alone[i])
				}
			})
		}
	}
	wg.Wait()
	if alone[1][0] == alone[1][1] {
		t.Errorf("both samples are %q", alone[1][0])
	}
	// Choice i has the seed + i: whoever asks n times, with seeds one after the other, gets what n gives.
	for i := range alone {
		for sample, want := range alone[i] {
			b := body(i)
			b["n"], b["seed"] = 1, 7+sample
			if got := contents(complete(t, url, b)); len(got) != 1 || got[0] != want {
				t.Errorf("request %d with the seed of choice %d: %q, that choice was %q", i, sample, got, want)
			}
		}
	}
}

type streamed struct {
	texts   []string
	finish  []string
	roles   []string
	usage   *usage
	pieces  int
	problem string
}

func readStream(t *testing.T, r *http.Response) (out streamed) {
	t.Helper()
	if kind := r.Header.Get("Content-Type"); r.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("%s, %s", r.Status, kind)
	}
	lines := bufio.NewScanner(r.Body)
	done := false
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case lines.Text() == "":
			continue
		case !ok || done:
			t.Fatalf("line %q", lines.Text())
		case data == "[DONE]":
			done = true
			continue
		}
		var c struct {
			Object  string
			Choices []chunkChoice
			Usage   *usage
			Error   struct{ Message string }
		}
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if c.Error.Message != "" {
			out.problem = c.Error.Message
			return out
		}
		if out.usage = c.Usage; c.Object != "chat.completion.chunk" {
			t.Fatalf("%s", data)
		}
		for _, choice := range c.Choices {
			for len(out.texts) <= choice.Index {
				out.texts, out.finish, out.roles = append(out.texts, ""), append(out.finish, ""), append(out.roles, "")
			}
			out.roles[choice.Index] += choice.Delta.Role
			if p := choice.Delta.Content; p != nil {
				if out.texts[choice.Index] += *p; !utf8.ValidString(*p) {
					t.Errorf("a piece is no UTF-8: %q", *p)
				}
				out.pieces++
			}
			if choice.FinishReason != nil {
				out.finish[choice.Index] += *choice.FinishReason
			}
		}
	}
	if err := lines.Err(); err != nil || !done {
		t.Fatalf("the stream is cut: %v", err)
	}
	return out
}

func TestStream(t *testing.T) {
	_, url := newServer(t, Options{})
	body := ask("Say something", fields{"n": 2, "seed": 11, "max_tokens": 60})
	want := complete(t, url, body)
	body["stream"] = true
	body["stream_options"] = fields{"include_usage": true}
	got := readStream(t, post(t, url, body))
	if !slices.Equal(got.texts, contents(want)) {
		t.Errorf("streamed %q, in one piece %q", got.texts, contents(want))
	}
	for i, c := range want.Choices {
		if got.finish[i] != c.FinishReason || got.roles[i] != "assistant" {
			t.Errorf("finish reason %q, role %q", got.finish[i], got.roles[i])
		}
	}
	if got.usage == nil || *got.usage != want.Usage || got.pieces < 20 {
		t.Errorf("usage %v in %d pieces, not %v", got.usage, got.pieces, want.Usage)
	}
	delete(body, "stream_options")
	r := post(t, url, body)
	if text, err := io.ReadAll(r.Body); err != nil || bytes.Contains(text, []byte("usage")) {
		t.Errorf("usage is sent without being asked for: %s", text)
	}
}

// A stop string ends the text before it wherever the tokens' boundaries lie, streamed or not.
func TestStopStrings(t *testing.T) {
	_, url := newServer(t, Options{})
	body := ask("Count", fields{"seed": 3, "max_tokens": 60})
	whole := contents(complete(t, url, body))[0]
	runes := []rune(whole)
	if len(runes) < 30 {
		t.Fatalf("the answer %q is too short for this test", whole)
	}
	for from := 4; from < 24; from++ {
		for _, length := range []int{1, 2, 5} {
			stop := string(runes[from : from+length])
			if strings.Contains(stop, "\uFFFD") {
				continue
			}
			want := whole[:strings.Index(whole, stop)]
			for _, stream := range []bool{false, true} {
				body["stop"], body["stream"] = []string{"never to be seen", stop}, stream
				var text, finish string
				if stream {
					got := readStream(t, post(t, url, body))
					text, finish = got.texts[0], got.finish[0]
				} else {
					got := complete(t, url, body)
					text, finish = got.Choices[0].Message.Content, got.Choices[0].FinishReason
					if got.Usage.CompletionTokens >= 60 {
						t.Errorf("%d tokens were made in spite of the stop string %q", got.Usage.CompletionTokens, stop)
					}
				}
				if text != want || finish != "stop" {
					t.Errorf("stop %q, stream %v: %q (%s), not %q", stop, stream, text, finish, want)
				}
			}
		}
	}
	body["stop"], body["stream"] = "never to be seen", false
	if got := contents(complete(t, url, body))[0]; got != whole {
		t.Errorf("a stop string that does not occur changes %q to %q", whole, got)
	}
}

func TestBadRequests(t *testing.T) {
	_, url := newServer(t, Options{MaxBody: 4096})
	for name, tc := range map[string]struct {
		body         any
		status       int
		param, words string
	}{
		"not json":        {"{", 400, "", "valid JSON"},
		"a list":          {"[]", 400, "", "wrong type"},
		"empty":           {"", 400, "", "valid JSON"},
		"no model":        {`{"messages":[{"role":"user","content":"x"}]}`, 400, "model", "tiny"},
		"unknown model":   {ask("x", fields{"model": "gpt-4"}), 404, "model", `"gpt-4"`},
		"no messages":     {ask("x", fields{"messages": []fields{}}), 400, "messages", "at least one"},
		"role":            {ask("x", fields{"messages": []fields{{"role": "robot", "content": "x"}}}), 400, "messages", `"robot"`},
		"image":           {ask("x", fields{"messages": []fields{{"role": "user", "content": []fields{{"type": "image_url"}}}}}), 400, "", "image_url"},
		"n type":          {ask("x", fields{"n": "two"}), 400, "n", "wrong type"},
		"n zero":          {ask("x", fields{"n": 0}), 400, "n", "from 1"},
		"n huge":          {ask("x", fields{"n": 1000000}), 400, "n", "to 128"},
		"temperature":     {ask("x", fields{"temperature": -1}), 400, "temperature", "from 0"},
		"top_p":           {ask("x", fields{"top_p": 1.1}), 400, "top_p", "to 1"},
		"max_tokens":      {ask("x", fields{"max_tokens": 0}), 400, "max_tokens", "at least 1"},
		"too many tokens": {ask("x", fields{"max_tokens": 512}), 400, "", "positions"},
		"long prompt":     {ask(strings.Repeat("x ", 600), nil), 400, "", "positions"},
		"stop empty":      {ask("x", fields{"stop": ""}), 400, "stop", "stop[0]"},
		"stop type":       {ask("x", fields{"stop": 5}), 400, "", "stop must be"},
		"penalty":         {ask("x", fields{"presence_penalty": 0.5}), 400, "presence_penalty", "not supported"},
		"json mode":       {ask("x", fields{"response_format": fields{"type": "json_object"}}), 400, "response_format", "not supported"},
		"body":            {ask(strings.Repeat("x", 5000), nil), 413, "", "too large"},
	} {
		r := post(t, url, tc.body)
		var got struct {
			Error struct{ Message, Type, Param, Code string }
		}
		text, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(text, &got)
		}
		e := got.Error
		if err != nil || r.StatusCode != tc.status || e.Type != "invalid_request_error" || e.Param != tc.param || !strings.Contains(e.Message, tc.words) {
			t.Errorf("%s: %s %s, %v", name, r.Status, text, err)
		}
		if (e.Code == "context_length_exceeded") != (tc.words == "positions") {
			t.Errorf("%s: code %q", name, e.Code)
		}
	}
	// What changes nothing may be there.
	complete(t, url, ask("x", fields{"max_tokens": 1, "presence_penalty": 0.0, "top_k": -1, "user": "me", "logit_bias": nil, "response_format": fields{"type": "text"}}))
}

func BenchmarkChatCompletions(b *testing.B) {
	m, err := student.Load(tinyLlama)
	if err != nil {
		b.Fatal(err)
	}
	tokenizer, err := chat.Load(tinyLlama)
	if err != nil {
		b.Fatal(err)
	}
	s := New(Options{Model: m, Tokenizer: tokenizer})
	defer s.Close()
	body := fmt.Sprintf(`{"model":"student","n":8,"max_tokens":40,"messages":[{"role":"user","content":%q}]}`, "2+2?")
	for b.Loop() {
		r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		if s.Handler().ServeHTTP(w, r); w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
