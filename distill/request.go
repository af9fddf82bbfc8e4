package distill

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strings"

	"stillhouse"
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
	variants  []variant // what the samples are asked with: one, unless they are asked with several system prompts
	variantOf func(sample int) int
	limitName string // max_tokens, or max_completion_tokens where the endpoint calls it so
	maxTokens int
	stream    map[string]any // what a request has more where the answer is streamed; it is not part of the key
	keys      []Key          // by sample
	path      string         // where it is sent, in place of /chat/completions
	online    bool           // it is sent by itself, also where mode is batch
	inWords   bool           // where its schema is refused it is asked in words
}

// A variant is the request without the sample's own part.
type variant struct {
	fields map[string]any // the request's body, without n, seed and the limit of tokens
	system string         // the system prompt that stands before the prompt's own messages, "" for none
	seed   int64          // of sample 0; sample i has seed+i; negative for none
}

// newQuery makes the query of a prompt. Options must have their defaults.
func newQuery(o *Options, p stillhouse.Prompt) (*query, error) {
	q := &query{prompt: p, limitName: "max_tokens", maxTokens: o.MaxTokens}
	if o.Mode != ModeBatch {
		q.stream = o.streamFields()
	}
	shared, err := o.fields(p)
	if err != nil {
		return nil, err
	}
	systems := o.systemsFor(p)
	q.variantOf = o.variantOf(p, len(systems))
	for _, system := range systems {
		v := variant{fields: shared, system: system, seed: -1}
		if len(systems) > 1 {
			v.fields = maps.Clone(shared)
		}
		if v.fields["messages"], err = messagesWith(system, p); err != nil {
			return nil, err
		}
		if *o.Seed >= 0 {
			v.seed = seedOf(*o.Seed, v.fields)
		}
		q.variants = append(q.variants, v)
	}
	if strings.HasPrefix(o.teacher(), "api.openai.com") { // where max_tokens is refused by newer models
		q.limitName = "max_completion_tokens"
	}
	return q, q.addKeys(o, 0, o.Samples.Max)
}

// fields are the parts of a request that are the same for all samples of a prompt.
func (o *Options) fields(p stillhouse.Prompt) (map[string]any, error) {
	fields := make(map[string]any, 8+len(o.ExtraBody))
	for name, v := range o.ExtraBody {
		fields[name] = v
	}
	fields["model"] = o.Model
	fields["temperature"] = *o.Temperature
	if o.TopP != nil {
		fields["top_p"] = *o.TopP
	}
	if len(o.Stop) > 0 {
		fields["stop"] = o.Stop
	}
	if err := o.addTools(fields, p); err != nil {
		return nil, err
	}
	return fields, o.addStructure(fields)
}

// addKeys hashes the canonical request of each variant once up to the sample's own part, for n samples from the first on.
func (q *query) addKeys(o *Options, first, n int) error {
	shared := make([][]byte, len(q.variants))
	for i, v := range q.variants {
		var err error
		if shared[i], err = marshal(map[string]any{"v": keyVersion, "teacher": o.teacher(), "request": v.fields}); err != nil {
			return err
		}
	}
	q.keys = make([]Key, n)
	for i := range q.keys {
		own := map[string]any{"sample": first + i}
		if seed, ok := q.seed(first + i); ok {
			own["seed"] = seed
		}
		tail, err := marshal(own)
		if err != nil {
			return err
		}
		h := sha256.New()
		h.Write(shared[q.variantOf(first+i)])
		h.Write(tail)
		h.Sum(q.keys[i][:0])
	}
	return nil
}

// seed is that of a sample; there may be none.
func (q *query) seed(sample int) (int64, bool) {
	v := q.variants[q.variantOf(sample)]
	return v.seed + int64(sample), v.seed >= 0
}

// neighbours are the first samples that one request can ask for: they follow each other without a gap and are asked with
// the same system prompt. There are at most n.
func (q *query) neighbours(samples []int, n int) []int {
	end := 1
	for end < min(n, len(samples)) && samples[end] == samples[end-1]+1 && q.variantOf(samples[end]) == q.variantOf(samples[0]) {
		end++
	}
	return samples[:end]
}

// body is the request for n samples from the given one on. Servers that honour n and seed give choice i the seed
// seed+i, as vLLM does: the same that a request for sample from+i alone would have.
func (q *query) body(from, n int) ([]byte, error) {
	own := q.variants[q.variantOf(from)].fields
	fields := make(map[string]any, len(own)+5)
	maps.Copy(fields, own)
	maps.Copy(fields, q.stream)
	if q.maxTokens > 0 {
		fields[q.limitName] = q.maxTokens
	}
	if seed, ok := q.seed(from); ok {
		fields["seed"] = seed
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
