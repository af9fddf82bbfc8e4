package distill

import (
	"context"
	"os"

	"stillhouse"
	"stillhouse/internal/options"
)

// A Span is the least and the most that something can come to.
type Span struct {
	Least int64 `json:"least"`
	Most  int64 `json:"most"`
}

func (s *Span) add(least, most int64) { s.Least, s.Most = s.Least+least, s.Most+most }

// A Forecast is what asking would take, said before anything is asked: how much of it is in the response store, and what
// the rest would cost. A budget and a target are not in it.
//
// The least is when every prompt that the store does not settle is settled by its next round, and the endpoint honours n;
// the most is when every prompt is asked for all its samples, one by one.
type Forecast struct {
	Prompts  int   `json:"prompts"`
	Answers  Span  `json:"answers"`  // in the rows
	Stored   int64 `json:"stored"`   // of them, those that are in the store
	ToAsk    Span  `json:"to_ask"`   // answers that are not
	Requests Span  `json:"requests"` // to be sent for those

	PromptTokens     Span    `json:"prompt_tokens"`     // of the requests, estimated
	CompletionTokens Span    `json:"completion_tokens"` // of the answers, estimated
	TokensPerAnswer  float64 `json:"tokens_per_answer"` // that the estimate takes; 0 where nothing is known of it
	PerAnswerOf      string  `json:"tokens_per_answer_of,omitempty"`

	Dollars *DollarSpan `json:"dollars,omitempty"` // nil where prices are not given, or nothing is known of the answers' length
}

// A DollarSpan is the least and the most in dollars.
type DollarSpan struct {
	Least float64 `json:"least"`
	Most  float64 `json:"most"`
}

// A Forecaster adds up a forecast prompt by prompt. It asks nobody but the response store.
type Forecaster struct {
	opts  Options
	judge Judge
	store *Store // nil where there is none yet
	batch []*query

	f                   Forecast
	promptTokens        Span
	answers, completion int64 // of the answers seen in the store, their number and tokens
	bytes, tokens       int64 // of the prompts of these answers
}

// NewForecaster begins a forecast for options. judge may be nil for a fixed number of samples.
func NewForecaster(ctx context.Context, o Options, judge Judge) (*Forecaster, error) {
	o.EnsureDefaults()
	if err := options.Under("distill", o.Validate()); err != nil {
		return nil, err
	}
	f := &Forecaster{opts: o, judge: judge}
	path := o.Store
	if path == "" {
		var err error
		if path, err = DefaultStore(); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(path); err != nil { // OpenStore would make it
		return f, nil
	}
	var err error
	f.store, err = OpenStore(ctx, o.Store)
	return f, err
}

// Close closes the store.
func (f *Forecaster) Close() error {
	if f.store == nil {
		return nil
	}
	return f.store.Close()
}

// forecastBatch is how many answers are looked up at a time.
const forecastBatch = 512

// Add takes in a prompt.
func (f *Forecaster) Add(ctx context.Context, p stillhouse.Prompt) error {
	f.f.Prompts++
	q, err := newQuery(&f.opts, p)
	if err != nil {
		return nil // it will fail, and cost nothing
	}
	f.batch = append(f.batch, q)
	if len(f.batch)*f.opts.Samples.Max < forecastBatch {
		return nil
	}
	return f.flush(ctx)
}

func (f *Forecaster) flush(ctx context.Context) error {
	found := map[Key]Answer{}
	if f.store != nil && len(f.batch) > 0 {
		var keys []Key
		for _, q := range f.batch {
			keys = append(keys, q.keys...)
		}
		var err error
		if found, err = f.store.Get(ctx, keys, f.opts.MaxTokens); err != nil {
			return err
		}
	}
	for _, q := range f.batch {
		if err := f.query(ctx, q, found); err != nil {
			return err
		}
	}
	f.batch = f.batch[:0]
	return nil
}

// query makes the rounds of a prompt as far as the store has their answers.
func (f *Forecaster) query(ctx context.Context, q *query, found map[Key]Answer) error {
	asked, accepted := 0, 0
	length := promptBytes(q)
	for {
		n := f.opts.Samples.next(asked, accepted)
		if n == 0 {
			f.f.Answers.add(int64(asked), int64(asked))
			return nil
		}
		var there []stillhouse.Candidate
		gaps, missing := int64(0), int64(0)
		for s, before := asked, true; s < asked+n; s++ {
			a, ok := found[q.keys[s]]
			if ok {
				there = append(there, candidate(q, s, a))
				f.answers++
				f.completion += int64(a.CompletionTokens)
				f.bytes += length
				f.tokens += int64(a.PromptTokens)
			} else {
				if missing++; before {
					gaps++
				}
			}
			before = ok
		}
		f.f.Stored += int64(len(there))
		if missing > 0 {
			later := int64(0) // that the rounds to come can ask for
			for s := asked + n; s < len(q.keys); s++ {
				if _, ok := found[q.keys[s]]; !ok {
					later++
				}
			}
			f.f.Answers.add(int64(asked+n), int64(len(q.keys)))
			f.f.ToAsk.add(missing, missing+later)
			f.f.Requests.add(gaps, missing+later)
			f.promptTokens.add(gaps*length, (missing+later)*length)
			return nil
		}
		asked += n
		if f.judge != nil {
			good, err := f.judge.Accept(ctx, there)
			if err != nil {
				return err
			}
			accepted += good
		}
	}
}

// promptBytes is the length of what a prompt says.
func promptBytes(q *query) int64 {
	messages, err := marshal(q.fields["messages"])
	if err != nil {
		return 0
	}
	return int64(len(messages))
}

// Forecast is what the prompts so far come to.
func (f *Forecaster) Forecast(ctx context.Context) (Forecast, error) {
	if err := f.flush(ctx); err != nil {
		return Forecast{}, err
	}
	r := f.f
	perByte := 0.25
	if f.tokens > 0 && f.bytes > 0 {
		perByte = float64(f.tokens) / float64(f.bytes)
	}
	r.PromptTokens = Span{int64(float64(f.promptTokens.Least) * perByte), int64(float64(f.promptTokens.Most) * perByte)}
	switch {
	case f.answers > 0:
		r.TokensPerAnswer, r.PerAnswerOf = float64(f.completion)/float64(f.answers), "the mean of the stored answers"
	case f.opts.MaxTokens > 0:
		r.TokensPerAnswer, r.PerAnswerOf = float64(f.opts.MaxTokens), "distill.max_tokens, the most"
	}
	r.CompletionTokens = Span{int64(float64(r.ToAsk.Least) * r.TokensPerAnswer), int64(float64(r.ToAsk.Most) * r.TokensPerAnswer)}
	if f.opts.Prices.Known() && (r.TokensPerAnswer > 0 || r.ToAsk.Most == 0) {
		cost := func(prompt, completion int64) float64 {
			return f.opts.Prices.Cost(Counters{PromptTokens: prompt, CompletionTokens: completion})
		}
		r.Dollars = &DollarSpan{cost(r.PromptTokens.Least, r.CompletionTokens.Least), cost(r.PromptTokens.Most, r.CompletionTokens.Most)}
	}
	return r, nil
}
