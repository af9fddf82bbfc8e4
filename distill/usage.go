package distill

import (
	"encoding/json"
	"math"
	"sort"
)

// wireUsage is what endpoints count. OpenAI, vLLM, Azure and OpenRouter give the details of both counts in objects of
// their own; DeepSeek gives the cached ones as prompt_cache_hit_tokens, SGLang the reasoning ones as reasoning_tokens.
type wireUsage struct {
	PromptTokens     json.RawMessage `json:"prompt_tokens"`
	CompletionTokens json.RawMessage `json:"completion_tokens"`
	PromptDetails    *struct {
		CachedTokens json.RawMessage `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CompletionDetails *struct {
		ReasoningTokens json.RawMessage `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
	CacheHitTokens  json.RawMessage `json:"prompt_cache_hit_tokens"`
	ReasoningTokens json.RawMessage `json:"reasoning_tokens"`
}

func (u *wireUsage) cached() (int64, bool) {
	if u.PromptDetails != nil {
		if n, ok := tokens(u.PromptDetails.CachedTokens); ok {
			return n, true
		}
	}
	return tokens(u.CacheHitTokens)
}

func (u *wireUsage) reasoning() (int64, bool) {
	if u.CompletionDetails != nil {
		if n, ok := tokens(u.CompletionDetails.ReasoningTokens); ok {
			return n, true
		}
	}
	return tokens(u.ReasoningTokens)
}

// count shares out among the answers what the endpoint counted for all of them.
func (r *reply) count(u *wireUsage) {
	counted, cached, thought := false, false, false
	if u != nil {
		r.promptTokens, _ = tokens(u.PromptTokens)
		r.completionTokens, counted = tokens(u.CompletionTokens)
		r.cachedTokens, cached = u.cached()
		r.reasoningTokens, thought = u.reasoning()
		r.cachedTokens = min(r.cachedTokens, r.promptTokens)
		r.reasoningTokens = min(r.reasoningTokens, r.completionTokens)
	}
	weights, reasoning := make([]int64, len(r.answers)), make([]int64, len(r.answers))
	for i, a := range r.answers {
		weights[i] = int64(len(a.Content) + len(a.Reasoning) + len(a.ToolCalls))
		reasoning[i] = int64(len(a.Reasoning))
	}
	shares, thoughts := share(r.completionTokens, weights), share(r.reasoningTokens, reasoning)
	for i := range r.answers {
		a := &r.answers[i]
		a.PromptTokens = int(r.promptTokens)
		a.CompletionTokens = int(shares[i])
		if !counted || r.completionTokens == 0 {
			a.CompletionTokens = int(min((weights[i]+3)/4, math.MaxInt32))
		}
		a.CachedTokens, a.ReasoningTokens = -1, -1
		if cached {
			a.CachedTokens = int(r.cachedTokens)
		}
		if thought {
			a.ReasoningTokens = int(thoughts[i])
		}
	}
}

// share splits total in proportion to the weights by largest remainders; the parts add up to total.
func share(total int64, weights []int64) []int64 {
	out := make([]int64, len(weights))
	if len(weights) == 1 {
		out[0] = total
		return out
	}
	var sum int64
	for _, w := range weights {
		sum += max(w, 1)
	}
	left := total
	order := make([]int, len(weights))
	rest := make([]float64, len(weights))
	for i, w := range weights {
		exact := float64(total) * float64(max(w, 1)) / float64(sum)
		out[i] = int64(exact)
		rest[i] = exact - float64(out[i])
		left -= out[i]
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return rest[order[a]] > rest[order[b]] })
	for i := 0; left > 0; i = (i + 1) % len(order) {
		out[order[i]]++
		left--
	}
	return out
}

// tokens reads a count leniently: endpoints send null, floats and worse. It is 0 to 2³¹-1.
func tokens(raw json.RawMessage) (int64, bool) {
	var f float64
	if !isValue(raw) || json.Unmarshal(raw, &f) != nil || f < 0 {
		return 0, false
	}
	return int64(min(f, math.MaxInt32)), true
}
