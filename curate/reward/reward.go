// Package reward says what candidates are worth: what a [Reward] is, how one is asked, and a file for each kind that a
// config can name. A kind is a struct of options that makes its reward; where that is nothing but its options, they are it.
package reward

import (
	"context"

	"stillhouse"
	"stillhouse/internal/options"
)

// A Reward says what a candidate is worth and why. It may be asked from several goroutines at once.
type Reward interface {
	// Version changes whenever a score may change for the same options and the same candidate: scores that are kept are
	// those of a version. What lies in files that the options name is part of it.
	Version() string

	// Score judges one candidate: a score, a verdict and the evidence for it. Who asks fills in its name.
	//
	// What can't be read is Unparsable with score 0, never Wrong. A reward that works long gives up when ctx is done;
	// one that panics or doesn't give up is recorded as an error or a timeout, with a score that is not a number.
	Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score
}

// A Comparer is a Reward that compares with the reference answer of the prompt.
type Comparer interface {
	Reward
	NeedsReference() bool
}

// A Group is a Reward that judges the candidates of a prompt together, such as by what most of them say. It is never asked
// while a teacher may still be asked for more of them.
type Group interface {
	Reward
	// ScoreGroup judges all candidates of one prompt: a score for each, in their order. It has as much time as all of them
	// one by one.
	ScoreGroup(ctx context.Context, candidates []stillhouse.Candidate) []stillhouse.Score
}

// A Follower is a Reward that looks at what the rewards before it say, such as an expression over their scores.
type Follower interface {
	Reward
	// ScoreAfter is asked in place of Score. The scores are those of the rewards before it, in the order of the config.
	ScoreAfter(ctx context.Context, c stillhouse.Candidate, before []stillhouse.Score) stillhouse.Score
}

// A Concurrent is a Reward that waits more than it works: it is asked about so many candidates at once. Any other has as
// many turns as there are processors. A Reward that holds processes or connections is an [io.Closer] too.
type Concurrent interface {
	Reward
	Concurrency() int
}

// An Opener is a Reward that must see whether it can work here before it is asked. The error says what is missing.
type Opener interface {
	Reward
	Open() error
}

// A Costly is a Reward that says whether its scores are worth keeping from one process to the next: whether it takes
// longer to ask than the tenth of a millisecond of looking up, or costs money. A [Concurrent] one is taken to be, unless it
// says otherwise; others are not.
type Costly interface {
	Reward
	Costly() bool
}

// An Asking is a Reward that asks a model. Without a way to it, it fails.
type Asking interface {
	Reward
	AskThrough(open OpenAsker)
}

// A Metered is a Reward that asks a server by itself. What an [Asking] one asks is counted by its asker.
type Metered interface {
	Reward
	Meter(m Meter)
}

// A Deciding is a Reward that can ask in several ways and finds out which: see [Undecided].
type Deciding interface {
	Reward
	// Way is the place of the way in which it asks among those of its options; negative until it is found out.
	Way() int
}

// Options are the options of one kind of reward, a struct that the config is read into.
type Options interface {
	options.Struct
	// New makes the reward. The options are valid, have their defaults and are the reward's from now on.
	New() (Reward, error)
}

// Bounded are the options of a reward whose scores are within bounds that are known beforehand.
type Bounded interface {
	Options
	// Bounds are the least and the greatest score.
	Bounds() (least, most float64)
}

// Following are the options of a reward that names rewards before it.
type Following interface {
	Options
	// ValidateAfter is Validate where it stands after rewards of these names.
	ValidateAfter(names []string) error
}

// Undecided are the options of a reward that can ask in several ways.
type Undecided interface {
	Options
	// Ways are the options that say each way, nil where these do. Scores are those of the way in which they came about.
	Ways() []Options
}

// Risky are the options of a reward that can be of harm.
type Risky interface {
	Options
	// Warning is what people should know before the reward is asked; empty for nothing.
	Warning() string
}

var kinds = options.Kinds[Options]{Thing: "a reward", New: map[string]func() Options{
	"choice":       func() Options { return &Choice{} },
	"code":         func() Options { return &Code{} },
	"command":      func() Options { return &Command{} },
	"contains":     func() Options { return &Contains{} },
	"exact":        func() Options { return &Exact{} },
	"expr":         func() Options { return &Expr{} },
	"format":       func() Options { return &Format{} },
	"http":         func() Options { return &HTTP{} },
	"ifeval":       func() Options { return &IFEval{} },
	"json":         func() Options { return &JSON{} },
	"json_field":   func() Options { return &JSONField{} },
	"judge":        func() Options { return &Judge{} },
	"length":       func() Options { return &Length{} },
	"likelihood":   func() Options { return &Likelihood{} },
	"majority":     func() Options { return &Majority{} },
	"math":         func() Options { return &Math{} },
	"numeric":      func() Options { return &Numeric{} },
	"regex":        func() Options { return &Regex{} },
	"repetition":   func() Options { return &Repetition{} },
	"reward_model": func() Options { return &Model{} },
	"tool_call":    func() Options { return &ToolCall{} },
}}

// Names are the kinds of rewards.
func Names() []string { return kinds.Names() }

// Kinds maps the name of each kind of reward to its zero options, for the documentation.
func Kinds() map[string]any {
	out := map[string]any{}
	for name, zero := range kinds.New {
		out[name] = zero()
	}
	return out
}
