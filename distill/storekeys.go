package distill

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
)

// notInKey are the fields of a request that are no part of its key, or are told apart by the sample's own part. The
// limit of tokens goes by one of two names.
var notInKey = []string{"n", "seed", "stream", "stream_options"}

var limitNames = []string{"max_tokens", "max_completion_tokens"}

// matches reports whether an answer lies under the key of its request, as addKeys makes it. It is told from what the
// store holds alone: a store can be checked without the config and the prompts that it was filled by.
func (a *answerRow) matches(teacher string, request []byte) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(request, &fields) != nil {
		return false
	}
	own := map[string]any{"sample": a.sample}
	if raw, ok := fields["seed"]; ok {
		var seed int64
		if json.Unmarshal(raw, &seed) != nil {
			return false
		}
		own["seed"] = seed + a.choice
	}
	for _, name := range notInKey {
		delete(fields, name)
	}
	tail, err := marshal(own)
	if err != nil {
		return false
	}
	same := func() bool {
		for version := keyVersion; version > 0; version-- {
			shared, err := marshal(map[string]any{"v": version, "teacher": teacher, "request": fields})
			if err != nil {
				return false
			}
			h := sha256.New()
			h.Write(shared)
			h.Write(tail)
			if bytes.Equal(h.Sum(nil), a.key) {
				return true
			}
		}
		return false
	}
	if a.maxTokens == 0 {
		return same()
	}
	for _, name := range limitNames { // one is the limit, the other may be a field of extra_body
		limit, ok := fields[name]
		if !ok {
			continue
		}
		delete(fields, name)
		if same() {
			return true
		}
		fields[name] = limit
	}
	return false
}
