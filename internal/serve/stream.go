package serve

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"stillhouse/internal/student"
)

// A chunk is one server-sent event. Its usage is null in all but the last, and absent unless asked for.
type chunk struct {
	ID      string        `json:"id"`
	Object  string        `json:"object"`
	Created int64         `json:"created"`
	Model   string        `json:"model"`
	Choices []chunkChoice `json:"choices"`
	Usage   **usage       `json:"usage,omitempty"`
}

type chunkChoice struct {
	Index        int       `json:"index"`
	Delta        delta     `json:"delta"`
	Logprobs     *logprobs `json:"logprobs"`
	FinishReason *string   `json:"finish_reason"`
}

type delta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// An events is a stream of server-sent events to a client.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	failed  bool // the client takes no more
}

// maxWait is how long a client may take for one event.
const maxWait = time.Minute

func (e *events) send(body any) {
	if e.failed {
		return
	}
	var text bytes.Buffer
	text.WriteString("data: ")
	if done, ok := body.(string); ok {
		text.WriteString(done + "\n")
	} else if err := json.NewEncoder(&text).Encode(body); err != nil { // ends with a newline
		e.failed = true
		return
	}
	text.WriteString("\n")
	e.control.SetWriteDeadline(time.Now().Add(maxWait)) // a recorder in a test has none
	if _, err := e.w.Write(text.Bytes()); err != nil || e.control.Flush() != nil {
		e.failed = true
	}
}

// stream answers with chunks as the tokens come: for each sample its role, pieces of text, and why it ended. The
// log-probabilities of all its tokens, where they are asked for, come with the last: clients join what the chunks have.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, in *chatRequest, request student.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	out := &events{w: w, control: http.NewResponseController(w)}
	base := chunk{ID: newID(), Object: "chat.completion.chunk", Created: time.Now().Unix(), Model: s.options.Name, Choices: []chunkChoice{}}
	withUsage := in.StreamOptions != nil && in.StreamOptions.IncludeUsage
	if withUsage {
		base.Usage = new(*usage)
	}
	say := func(choice chunkChoice) {
		c := base
		c.Choices = []chunkChoice{choice}
		out.send(c)
	}
	text := func(sample int, text string) {
		if text != "" {
			say(chunkChoice{Index: sample, Delta: delta{Content: &text}})
		}
	}
	writers := s.writers(in, request.N)
	empty := ""
	for i := range writers {
		say(chunkChoice{Index: i, Delta: delta{Role: "assistant", Content: &empty}})
	}
	completions, err := s.generator.Generate(r.Context(), request, func(sample int, token int32) bool {
		text(sample, writers[sample].add(token))
		return !writers[sample].stopped && !out.failed
	})
	if r.Context().Err() != nil || out.failed {
		return // the client has gone
	}
	if err != nil {
		out.send(asProblem(err).body())
		return
	}
	for i, c := range completions {
		text(i, writers[i].finish())
		why := reason(c, writers[i])
		say(chunkChoice{Index: i, Logprobs: s.logprobs(in, c), FinishReason: &why})
	}
	if withUsage {
		c, u := base, count(request, completions)
		last := &u
		c.Usage = &last
		out.send(c)
	}
	out.send("[DONE]")
}
