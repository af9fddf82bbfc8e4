package mockteacher

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

type request struct {
	Model    string `json:"model"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	N             int      `json:"n"`
	Seed          int64    `json:"seed"`
	Temperature   *float64 `json:"temperature"`
	MaxTokens     int      `json:"max_tokens"`
	MaxCompletion int      `json:"max_completion_tokens"`
}

// answer answers one request, or does what the fault says. The status is 0 where no whole answer was sent.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, body []byte, sum [32]byte, fault string) (status int) {
	var q request
	if err := json.Unmarshal(body, &q); err != nil || len(q.Messages) == 0 {
		writeError(w, http.StatusBadRequest, "invalid_request_error", "invalid_json", "this is not a chat completion's request")
		return http.StatusBadRequest
	}
	wait := time.Duration(float64(s.opts.Latency) * (1 + s.opts.Jitter*(2*unit(binary.LittleEndian.Uint64(sum[:]))-1)))
	if !pause(r.Context(), wait) {
		return 0
	}
	switch fault {
	case "fail500":
		writeError(w, http.StatusInternalServerError, "server_error", "internal_error", "the server had an error")
		return http.StatusInternalServerError
	case "fail503":
		s.retryAfter(w)
		writeError(w, http.StatusServiceUnavailable, "server_error", "overloaded", "the engine is overloaded")
		return http.StatusServiceUnavailable
	case "garbage":
		w.Header()["Content-Type"] = isJSON
		_, _ = w.Write([]byte(`{"id":"chatcmpl-0","object":"chat.completion","choices":[{"index":0,"mess`))
		return http.StatusOK
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	b := s.completion((*buffer)[:0], &q, sum, fault == "truncate")
	*buffer = b
	if fault == "drop" {
		cut(w, b)
		return 0
	}
	w.Header()["Content-Type"] = isJSON
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(b))}
	if _, err := w.Write(b); err != nil || r.Context().Err() != nil {
		return 0
	}
	return http.StatusOK
}

var isJSON = []string{"application/json"}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// cut sends the first half of an answer and closes the connection.
func cut(w http.ResponseWriter, b []byte) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(b), b[:len(b)/2])
	_ = conn.Close()
}

// completion appends the body of an answer.
func (s *Server) completion(b []byte, q *request, sum [32]byte, half bool) []byte {
	n := max(1, q.N)
	if s.opts.Choices > 0 {
		n = min(n, s.opts.Choices)
	}
	limit := max(q.MaxTokens, q.MaxCompletion)
	if limit == 0 {
		limit = math.MaxInt
	}
	b = append(b, `{"id":"chatcmpl-`...)
	b = hex.AppendEncode(b, sum[:12])
	b = append(b, `","object":"chat.completion","created":1700000000,"model":`...)
	b = quoted(b, q.Model)
	b = append(b, `,"choices":[`...)
	total := 0
	base := draw(q)
	for i := range n {
		seed := base
		if q.Temperature == nil || *q.Temperature != 0 {
			seed = mix(base + uint64(int64(i)+q.Seed)*0x9e3779b97f4a7c15)
		}
		words, finish := s.opts.Words*3/4+int(seed%uint64(s.opts.Words/2+1)), "stop"
		if half {
			words, finish = words/2, "length"
		} else if words > limit {
			words, finish = limit, "length"
		}
		total += words
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, `,"message":{"role":"assistant","content":"`...)
		b = prose(b, seed, words, finish == "stop")
		b = append(b, `"},"logprobs":null,"finish_reason":"`...)
		b = append(b, finish...)
		b = append(b, `"}`...)
	}
	prompt := 0
	for _, m := range q.Messages {
		prompt += 4 + len(m.Content)/4
	}
	return fmt.Appendf(b, `],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`, prompt, total, prompt+total)
}

// draw is a number that follows from what an answer depends on, without the seed.
func draw(q *request) uint64 {
	h := fnv.New64a()
	for _, m := range q.Messages {
		_, _ = io.WriteString(h, m.Role)
		_, _ = h.Write(m.Content)
	}
	temperature := 1.0
	if q.Temperature != nil {
		temperature = *q.Temperature
	}
	return mix(h.Sum64() ^ math.Float64bits(temperature))
}

var words = strings.Fields(`the barley is steeped for two days and laid out on a floor until it sprouts then dried over
peat smoke milled into grist and mashed with hot water from the spring in a tun of copper or of oak where sugar goes into
wort that yeast turns to wash in three nights of slow warm work before it is boiled in a still whose neck sends vapour to
a worm of pipe under cold running water so heart comes between head and tail as every stillman knows who cuts by eye`)

// prose appends words, with a full stop after every twelfth. Only a whole answer ends with one.
func prose(b []byte, seed uint64, n int, whole bool) []byte {
	for i := range n {
		if i > 0 {
			b = append(b, ' ')
		}
		seed += 0x9e3779b97f4a7c15
		b = append(b, words[mix(seed)%uint64(len(words))]...)
		if last := i == n-1; !last && i%12 == 11 || last && whole {
			b = append(b, '.')
		}
	}
	return b
}

func quoted(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil { // a string always marshals
		return append(b, `""`...)
	}
	return append(b, q...)
}

// mix is the finaliser of SplitMix64.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// unit is a number from 0 to 1.
func unit(z uint64) float64 { return float64(mix(z)>>11) / (1 << 53) }
