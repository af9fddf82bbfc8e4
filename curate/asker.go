package curate

import (
	"context"
	"encoding/json"

	"stillhouse"
)

// An Asker asks one model of one endpoint. What was answered before is not asked again; rates and retries are its own
// business. Several goroutines may ask at once.
type Asker interface {
	// Ask gets the answers to a question, one for each of its samples, in their order. An error means that there are none: one
	// that is [stillhouse.ErrInvalid] will not pass by itself.
	Ask(ctx context.Context, q AskerQuestion) ([]AskerAnswer, error)
	Close() error
}

// AskerOptions are what is asked, and how fast.
type AskerOptions struct {
	Endpoint, Model string
	APIKeyEnv       string // the environment variable of the key; empty sends none
	Concurrency     int
	MaxRetries      int
	MaxRequests     int64 // 0 is no bound
	Seeds           bool  // whether seeds are sent
}

// An AskerQuestion is a conversation that is to be answered several times.
type AskerQuestion struct {
	Messages    []stillhouse.Message
	Samples     int
	Seed        int64 // sample i of a conversation has a seed that follows from this one and i
	Temperature float64
	MaxTokens   int
	Schema      json.RawMessage // of the answer, by response_format; nil for text
}

// An AskerAnswer is what one sample came to.
type AskerAnswer struct {
	Text      string
	Truncated bool  // at MaxTokens
	Err       error // why there is no answer
}

// OpenAsker makes an asker, which opens what it needs with its first question.
type OpenAsker func(AskerOptions) Asker

// asking is a Reward that asks a model.
type asking interface{ askThrough(open OpenAsker) }

// askThrough gives the rewards that ask models the way to them. Without one they fail.
func (p *panel) askThrough(open OpenAsker) {
	if open == nil {
		return
	}
	for _, s := range p.scorers {
		if a, ok := s.Reward.(asking); ok {
			a.askThrough(open)
		}
	}
}

// AskThrough gives the stage the way to the models that its rewards ask. It is called before the first batch.
func (s *Score) AskThrough(open OpenAsker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openAsker = open
}

// AskThrough gives the rewards that ask models the way to them. It is called before the first candidate.
func (a *Acceptor) AskThrough(open OpenAsker) { a.panel.askThrough(open) }
