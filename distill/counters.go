package distill

import (
	"maps"
	"sync"
)

// Counters say what a stage did at the endpoint, for the report.
type Counters struct {
	Requests         int64            `json:"requests"`          // sent, those sent again included
	Answered         int64            `json:"answered"`          // requests that brought an answer
	Asked            int64            `json:"asked"`             // answers that came from the endpoint
	FromStore        int64            `json:"from_store"`        // answers that were there already
	Retries          map[string]int64 `json:"retries"`           // requests sent again, by what went wrong
	PromptTokens     int64            `json:"prompt_tokens"`     // paid for in this run, as the endpoint counts: once a request
	CompletionTokens int64            `json:"completion_tokens"` // paid for in this run
	CachedTokens     int64            `json:"cached_tokens"`     // of the prompts', those that the endpoint had in its cache
	ReasoningTokens  int64            `json:"reasoning_tokens"`  // of the completions', those of reasoning
}

// tally is Counters that several goroutines count in.
type tally struct {
	mu sync.Mutex
	Counters
}

func (t *tally) add(change func(*Counters)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.Counters)
}

func (t *tally) retry(kind string) {
	t.add(func(c *Counters) {
		if c.Retries == nil {
			c.Retries = make(map[string]int64)
		}
		c.Retries[kind]++
	})
}

func (t *tally) snapshot() Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.Counters
	if c.Retries = maps.Clone(c.Retries); c.Retries == nil {
		c.Retries = map[string]int64{}
	}
	return c
}
