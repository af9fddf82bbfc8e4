package distill

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// A Key names an answer in the response store: the SHA-256 of the canonical request for one sample. The canonical
// request is JSON with sorted names that holds the endpoint's identity, the model, the messages, the tools, every
// sampling parameter, the sample's number and its seed. It does not hold the run, the row's id, how many samples were
// asked for in one request (an answer is the same answer either way), nor max_tokens: that stands beside the key in
// the store, so that a whole answer found under a lower limit is not bought again.
type Key [sha256.Size]byte

func (k Key) String() string { return hex.EncodeToString(k[:]) }

// keyVersion is part of every key. Raising it makes all stored answers strangers: it is for changes of the canonical
// form that would else file different requests under one key.
const keyVersion = 1

// A query is what one prompt asks of the teacher: its K samples, their keys and seeds.
type query struct {
	prompt    stillhouse.Prompt
	fields    map[string]any // the request's body, without n, seed and the limit of tokens
	limitName string         // max_tokens, or max_completion_tokens where the endpoint calls it so
	maxTokens int
	seed      int64  // of sample 0; sample i has seed+i; negative for none
	keys      []Key  // by sample
	path      string // where it is sent, in place of /chat/completions
	online    bool   // it is sent by itself, also where mode is batch
}

// newQuery makes the query of a prompt. Options must have their defaults.
func newQuery(o *Options, p stillhouse.Prompt) (*query, error) {
	q := &query{prompt: p, limitName: "max_tokens", maxTokens: o.MaxTokens, seed: -1, fields: make(map[string]any, 8+len(o.ExtraBody))}
	for name, v := range o.ExtraBody {
		q.fields[name] = v
	}
	q.fields["model"] = o.Model
	q.fields["messages"] = conversation(o.System, p.Prompt)
	q.fields["temperature"] = *o.Temperature
	if o.TopP != nil {
		q.fields["top_p"] = *o.TopP
	}
	if len(o.Stop) > 0 {
		q.fields["stop"] = o.Stop
	}
	if p.Tools != nil && strings.TrimSpace(*p.Tools) != "" {
		var tools any
		if err := rowfile.Decode([]byte(*p.Tools), &tools); err != nil {
			return nil, fmt.Errorf("tools are not JSON: %w", err)
		}
		q.fields["tools"] = tools
	}
	if strings.HasPrefix(o.teacher(), "api.openai.com") { // where max_tokens is refused by newer models
		q.limitName = "max_completion_tokens"
	}
	if *o.Seed >= 0 {
		q.seed = seedOf(*o.Seed, q.fields)
	}
	return q, q.addKeys(o, 0, o.Samples.Max)
}

// addKeys hashes the canonical request once up to the sample's own part, for n samples from the first on.
func (q *query) addKeys(o *Options, first, n int) error {
	shared, err := marshal(map[string]any{"v": keyVersion, "teacher": o.teacher(), "request": q.fields})
	if err != nil {
		return err
	}
	q.keys = make([]Key, n)
	for i := range q.keys {
		own := map[string]any{"sample": first + i}
		if q.seed >= 0 {
			own["seed"] = q.seed + int64(first+i)
		}
		tail, err := marshal(own)
		if err != nil {
			return err
		}
		h := sha256.New()
		h.Write(shared)
		h.Write(tail)
		h.Sum(q.keys[i][:0])
	}
	return nil
}

// body is the request for n samples from the given one on. Servers that honour n and seed give choice i the seed
// seed+i, as vLLM does: the same that a request for sample from+i alone would have.
func (q *query) body(from, n int) ([]byte, error) {
	fields := make(map[string]any, len(q.fields)+3)
	for name, v := range q.fields {
		fields[name] = v
	}
	if q.maxTokens > 0 {
		fields[q.limitName] = q.maxTokens
	}
	if q.seed >= 0 {
		fields["seed"] = q.seed + int64(from)
	}
	if n > 1 {
		fields["n"] = n
	}
	return marshal(fields)
}

// seedOf gives every prompt a place of its own among the seeds. With one seed for all, a server that draws the same
// random numbers for the same seed would make the same slip in every prompt's sample 0.
func seedOf(seed int64, fields map[string]any) int64 {
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, seed)
	_ = json.NewEncoder(h).Encode([]any{fields["messages"], fields["tools"]})
	return int64(binary.LittleEndian.Uint32(h.Sum(nil)) >> 2) // 30 bits: some servers keep seeds as int32
}

// conversation puts a system prompt before messages that have none.
func conversation(system string, ms []stillhouse.Message) []stillhouse.Message {
	if system == "" || (len(ms) > 0 && (ms[0].Role == "system" || ms[0].Role == "developer")) {
		return ms
	}
	return append([]stillhouse.Message{{Role: "system", Content: system}}, ms...)
}

// marshal writes JSON with sorted names and without escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
