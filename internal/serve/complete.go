package serve

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"stillhouse/internal/student"
)

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"` // of all samples, the tokens that ended them included
	TotalTokens      int `json:"total_tokens"`
}

type completion struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   usage    `json:"usage"`
}

type choice struct {
	Index        int       `json:"index"`
	Message      message   `json:"message"`
	Logprobs     *logprobs `json:"logprobs"`
	FinishReason string    `json:"finish_reason"`
}

type message struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type logprobs struct {
	Content []tokenLogprob `json:"content"`
	Refusal []tokenLogprob `json:"refusal"`
}

type tokenLogprob struct {
	Token   string         `json:"token"`
	Logprob float64        `json:"logprob"`
	Bytes   []int          `json:"bytes"`
	Top     []tokenLogprob `json:"top_logprobs"`
}

func (s *Server) chatCompletions(w http.ResponseWriter, r *http.Request) {
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	default:
		writeError(w, problem{status: http.StatusTooManyRequests, message: "too many requests are under way: try again"})
		return
	}
	in, err := s.readRequest(w, r)
	if err != nil {
		writeError(w, asProblem(err))
		return
	}
	request, err := s.generation(in)
	if err != nil {
		writeError(w, asProblem(err))
		return
	}
	if in.Stream {
		s.stream(w, r, in, request)
		return
	}
	writers, texts := s.writers(in, request.N), make([]strings.Builder, request.N)
	out, err := s.generator.Generate(r.Context(), request, func(sample int, token int32) bool {
		texts[sample].WriteString(writers[sample].add(token))
		return !writers[sample].stopped
	})
	if r.Context().Err() != nil {
		return // the client has gone
	}
	if err != nil {
		writeError(w, asProblem(err))
		return
	}
	answer := completion{ID: newID(), Object: "chat.completion", Created: time.Now().Unix(), Model: s.options.Name}
	for i, c := range out {
		texts[i].WriteString(writers[i].finish())
		answer.Choices = append(answer.Choices, choice{
			Index: i, Message: message{Role: "assistant", Content: texts[i].String()}, Logprobs: s.logprobs(in, c), FinishReason: reason(c, writers[i]),
		})
	}
	answer.Usage = count(request, out)
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) writers(in *chatRequest, n int) []*writer {
	out := make([]*writer, n)
	for i := range out {
		out[i] = &writer{tokenizer: s.options.Tokenizer, stops: in.Stop}
	}
	return out
}

// reason says why a sample ended.
func reason(c student.Completion, w *writer) string {
	if c.Stopped || w.stopped {
		return "stop"
	}
	return "length"
}

func count(r student.Request, out []student.Completion) usage {
	u := usage{PromptTokens: len(r.Tokens)}
	for _, c := range out {
		u.CompletionTokens += len(c.Tokens)
		if c.Stopped {
			u.CompletionTokens++
		}
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return u
}

func (s *Server) logprobs(in *chatRequest, c student.Completion) *logprobs {
	if !in.Logprobs {
		return nil
	}
	out := &logprobs{Content: []tokenLogprob{}}
	for i, id := range c.Tokens {
		text := s.options.Tokenizer.Decode([]int32{id}, false)
		t := tokenLogprob{Token: text, Logprob: c.Logprobs[i], Top: []tokenLogprob{}}
		for _, b := range []byte(text) {
			t.Bytes = append(t.Bytes, int(b))
		}
		out.Content = append(out.Content, t)
	}
	return out
}

func newID() string {
	var random [12]byte
	rand.Read(random[:]) // never fails
	return "chatcmpl-" + hex.EncodeToString(random[:])
}
