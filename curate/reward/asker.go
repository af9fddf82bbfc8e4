package reward

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
	Ask(ctx context.Context, q Question) ([]Answer, error)
	// Schemas says whether questions that can be put in words too are asked with their schemas. It is the same for all of
	// them, and known once one of them is answered.
	Schemas() (taken, known bool)
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

// A Question is a conversation that is to be answered several times.
type Question struct {
	Messages    []stillhouse.Message
	Samples     int
	Seed        int64 // sample i of a conversation has a seed that follows from this one and i
	Temperature float64
	MaxTokens   int
	Schema      json.RawMessage // of the answer, by response_format; nil for text

	// InWords are what is asked in place of Messages and Schema where the endpoint refuses schemas; nil makes that a failure.
	InWords []stillhouse.Message
}

// An Answer is what one sample came to.
type Answer struct {
	Text      string
	Truncated bool  // at MaxTokens
	Err       error // why there is no answer
}

// Usage is what was asked of a server that a reward asks by itself, and what the server says that it took.
type Usage struct {
	Requests, Answers              int64
	PromptTokens, CompletionTokens int64 // 0 where the server counts none
}

// A Meter takes in what is asked, before a request is sent and when it is answered. An error is that of the request. Several
// goroutines may call it at once.
type Meter func(Usage) error

// OpenAsker makes an asker, which opens what it needs with its first question.
type OpenAsker func(AskerOptions) Asker
