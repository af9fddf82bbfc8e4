package distill

import (
	"context"
	"fmt"
	"math"
	"sync"

	"stillhouse/internal/options"
)

// Budget bounds what a run asks for. 0 is no bound.
type Budget struct {
	Requests         int64   `yaml:"requests" json:"requests" doc:"Requests, those that failed included; 0 sets no bound, as for the other keys."`
	PromptTokens     int64   `yaml:"prompt_tokens" json:"prompt_tokens" doc:"Tokens of prompts, once a request."`
	CompletionTokens int64   `yaml:"completion_tokens" json:"completion_tokens" doc:"Tokens of answers."`
	Dollars          float64 `yaml:"dollars" json:"dollars" doc:"What the tokens cost by distill.prices."`
}

// Prices are the endpoint's, in dollars for a million tokens. There is no list of prices in this program.
type Prices struct {
	Input       float64  `yaml:"input" json:"input" doc:"Dollars for a million tokens of prompts; 0 where nothing is charged."`
	Output      float64  `yaml:"output" json:"output" doc:"Dollars for a million tokens of answers."`
	CachedInput *float64 `yaml:"cached_input" json:"cached_input" doc:"Dollars for a million tokens of prompts that the endpoint says it had in its cache; by default the price of input."`
}

// Target is what a run is to reach.
type Target struct {
	Accepted int `yaml:"accepted" json:"accepted" doc:"Stop asking with the prompt by which so many rows are accepted, in the order of the prompts; 0 asks all prompts. By batches, some prompts after that one are asked as well, and are in no row. A prompt counts with at most curate.select.best rows."`
}

func (b Budget) validate() error {
	for key, v := range map[string]float64{"requests": float64(b.Requests), "prompt_tokens": float64(b.PromptTokens),
		"completion_tokens": float64(b.CompletionTokens), "dollars": b.Dollars} {
		if !(v >= 0 && v <= math.MaxInt64) {
			return options.Wrongf("budget."+key, "is %v: it must be above 0, or 0 for no bound", v)
		}
	}
	return nil
}

func (p Prices) validate() error {
	cached := 0.0
	if p.CachedInput != nil {
		cached = *p.CachedInput
	}
	for key, v := range map[string]float64{"input": p.Input, "output": p.Output, "cached_input": cached} {
		if !(v >= 0 && v <= 1e9) {
			return options.Wrongf("prices."+key, "is %v: it must be dollars for a million tokens", v)
		}
	}
	return nil
}

// Known reports whether there are prices.
func (p Prices) Known() bool { return p.Input > 0 || p.Output > 0 }

// Cost is what counters stand for in dollars.
func (p Prices) Cost(c Counters) float64 {
	cached := p.Input
	if p.CachedInput != nil {
		cached = *p.CachedInput
	}
	hits := min(c.CachedTokens, c.PromptTokens)
	return (float64(c.PromptTokens-hits)*p.Input + float64(hits)*cached + float64(c.CompletionTokens)*p.Output) / 1e6
}

// Over is what of the budget was overrun, in words; empty when nothing was.
func (b Budget) Over(c Counters, p Prices) string {
	switch dollars := p.Cost(c); {
	case b.Requests > 0 && c.Requests > b.Requests:
		return fmt.Sprintf("%d requests of %d", c.Requests, b.Requests)
	case b.PromptTokens > 0 && c.PromptTokens > b.PromptTokens:
		return fmt.Sprintf("%d prompt tokens of %d", c.PromptTokens, b.PromptTokens)
	case b.CompletionTokens > 0 && c.CompletionTokens > b.CompletionTokens:
		return fmt.Sprintf("%d completion tokens of %d", c.CompletionTokens, b.CompletionTokens)
	case b.Dollars > 0 && dollars > b.Dollars:
		return fmt.Sprintf("$%.4f of $%.4f", dollars, b.Dollars)
	}
	return ""
}

// Spent reports whether nothing more may be asked for.
func (b Budget) Spent(c Counters, p Prices) bool { return !b.allows(c, p, false) }

// allows reports whether the counters leave room in every bound: below it, or up to it where exact.
func (b Budget) allows(c Counters, p Prices, exact bool) bool {
	below := func(spent, bound float64) bool { return bound == 0 || spent < bound || exact && spent <= bound }
	return below(float64(c.Requests), float64(b.Requests)) && below(float64(c.PromptTokens), float64(b.PromptTokens)) &&
		below(float64(c.CompletionTokens), float64(b.CompletionTokens)) && below(p.Cost(c), b.Dollars)
}

// A purse lets requests through as long as the budget has something left. It is shared by all requests of a stage.
//
// A request is paid for when it is answered, so those let through before are reckoned with at what they are expected to
// cost: by the tokens of the answers so far, or by the length of the prompt and max_tokens before there are any. When that
// would exceed the budget, the next request waits until one of them is decided. So the budget is overrun by no more than the
// expectation is wrong for what was in flight at its end, and by one request where a bound falls inside it.
type purse struct {
	budget Budget
	prices Prices
	tally  *tally

	mu      sync.Mutex
	change  chan struct{} // closed when a hold is released
	holds   int
	held    Counters // what the requests let through are expected to cost
	ended   bool     // the budget is spent
	bytes   int64    // of the requests answered, and what they brought
	prompt  int64
	answers int64
	tokens  int64
}

// A hold is the part of the purse that is set aside for a request. It is released once, whether or not anything is sent.
type hold struct {
	Counters      // expected
	bytes    int  // of the request's body
	free     bool // of a purse without bounds
}

// admit sets aside what a request will cost, when there is so much, or says no when the budget is spent. bytes is the length
// of its body, n how many answers it asks for, limit the most tokens of each (0 for none).
func (p *purse) admit(ctx context.Context, bytes, n, limit int) (h *hold, ok bool, err error) {
	if p.budget == (Budget{}) {
		return &hold{free: true}, true, nil
	}
	for {
		p.mu.Lock()
		h = p.expect(bytes, n, limit)
		spent := p.tally.sums()
		if p.ended = p.ended || p.budget.Spent(spent, p.prices); p.ended {
			p.mu.Unlock()
			return nil, false, nil
		}
		spent.add(p.held)
		spent.add(h.Counters)
		if p.holds == 0 || p.budget.allows(spent, p.prices, true) {
			p.holds++
			p.held.add(h.Counters)
			p.mu.Unlock()
			return h, true, nil
		}
		if p.change == nil {
			p.change = make(chan struct{})
		}
		change := p.change
		p.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// expect is what a request will probably cost. Without answers to go by, a token is four bytes and an answer as long as
// it may be, or 1,000 tokens where nothing bounds it.
func (p *purse) expect(bytes, n, limit int) *hold {
	h := &hold{Counters: Counters{Requests: 1, PromptTokens: int64(bytes+3) / 4}, bytes: bytes}
	if p.bytes > 0 {
		h.PromptTokens = int64(float64(bytes) * float64(p.prompt) / float64(p.bytes))
	}
	each := float64(limit)
	if p.answers > 0 {
		each = float64(p.tokens) / float64(p.answers)
	} else if limit == 0 {
		each = 1000
	}
	h.CompletionTokens = int64(math.Ceil(each * float64(n)))
	return h
}

// send is told of a request just before it is sent.
func (p *purse) send(h *hold) error {
	if h.free {
		return p.tally.came(Counters{Requests: 1})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held.add(Counters{Requests: -h.Requests})
	h.Requests = 0
	return p.tally.came(Counters{Requests: 1})
}

// pay is told of an answer.
func (p *purse) pay(h *hold, c Counters) error {
	if h.free {
		return p.tally.came(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += int64(h.bytes)
	p.prompt += c.PromptTokens
	p.answers += c.Asked
	p.tokens += c.CompletionTokens
	if p.ended {
		c.Late = 1
	}
	err := p.tally.came(c)
	p.ended = p.ended || p.budget.Spent(p.tally.sums(), p.prices)
	return err
}

// release gives a hold back when its request was answered, failed, or was not needed.
func (p *purse) release(h *hold) {
	if h.free {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holds--
	p.held.add(Counters{Requests: -h.Requests, PromptTokens: -h.PromptTokens, CompletionTokens: -h.CompletionTokens})
	if p.change != nil {
		close(p.change)
		p.change = nil
	}
}

// paid is what a reply is paid for with, of a request for n answers. Where the endpoint does not say how many tokens it
// counted, four bytes are one.
func paid(r *reply, request []byte, n int) Counters {
	c := Counters{Answered: 1, Asked: int64(min(n, len(r.answers))), PromptTokens: r.promptTokens, CachedTokens: r.cachedTokens,
		CompletionTokens: r.completionTokens, ReasoningTokens: r.reasoningTokens}
	if c.PromptTokens == 0 {
		c.PromptTokens = int64(len(request)+3) / 4
	}
	if c.CompletionTokens == 0 {
		for _, a := range r.answers {
			c.CompletionTokens += int64(a.CompletionTokens)
		}
	}
	return c
}
