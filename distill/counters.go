package distill

import (
	"maps"
	"sync"
	"time"
)

// Counters say what a stage did at the endpoint, for the report.
type Counters struct {
	Requests         int64            `json:"requests"`          // sent, those sent again included
	Answered         int64            `json:"answered"`          // requests that brought an answer
	Asked            int64            `json:"asked"`             // answers that came from the endpoint
	FromStore        int64            `json:"from_store"`        // answers that were there already
	Retries          map[string]int64 `json:"retries"`           // requests sent again, by what went wrong
	PromptTokens     int64            `json:"prompt_tokens"`     // paid for in this run, as the endpoint counts: once a request
	CachedTokens     int64            `json:"cached_tokens"`     // of them, those that the endpoint says it had in its cache
	CompletionTokens int64            `json:"completion_tokens"` // paid for in this run
	ReasoningTokens  int64            `json:"reasoning_tokens"`  // of them, those that the endpoint says are reasoning
	Late             int64            `json:"late"`              // requests that were in flight when the budget was spent, and were answered
}

// add adds what came of requests.
func (c *Counters) add(d Counters) {
	c.Requests += d.Requests
	c.Answered += d.Answered
	c.Asked += d.Asked
	c.PromptTokens += d.PromptTokens
	c.CachedTokens += d.CachedTokens
	c.CompletionTokens += d.CompletionTokens
	c.ReasoningTokens += d.ReasoningTokens
	c.Late += d.Late
}

// Plus are both together.
func (c Counters) Plus(d Counters) Counters {
	c.add(d)
	c.FromStore += d.FromStore
	retries := make(map[string]int64)
	for _, m := range []map[string]int64{c.Retries, d.Retries} {
		for kind, n := range m {
			retries[kind] += n
		}
	}
	c.Retries = retries
	return c
}

// A Book remembers counters from one run of a program to the next: what a run has spent of its budget, however it
// ended. What Save was given is there when the process is killed right after it returned.
type Book interface {
	// Load is what was saved last, nothing at first.
	Load() (Counters, error)
	Save(Counters) error
}

// tally is Counters that several goroutines count in.
type tally struct {
	mu    sync.Mutex
	book  Book // may be nil
	exact bool // every request is saved before it is sent, and when it was answered
	clock clock
	saved time.Time
	Counters

	earlier  Counters // those that the book had at the start
	walk     walk
	Judged   int64 // candidates that were judged since the start
	Accepted int64 // of them, those that are good enough
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

func (t *tally) judged(n, accepted int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Judged += int64(n)
	t.Accepted += int64(accepted)
}

// prompt counts a prompt that is decided.
func (t *tally) prompt(paid bool, rows int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.walk.prompts++
	t.walk.rows += rows
	if paid {
		t.walk.paid++
	}
}

// came counts a request before it is sent, and what came of it.
func (t *tally) came(c Counters) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Counters.add(c)
	if t.book == nil || !t.exact && t.clock.Now().Sub(t.saved) < time.Second {
		return nil
	}
	return t.save()
}

// save is called with the lock held.
func (t *tally) save() error {
	if t.book == nil {
		return nil
	}
	t.saved = t.clock.Now()
	return t.book.Save(t.Counters)
}

func (t *tally) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.save()
}

// sums are the counters without the map.
func (t *tally) sums() Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.Counters
	c.Retries = nil
	return c
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
