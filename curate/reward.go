// Package curate turns candidates into training rows: [Score] lets rewards say what each candidate is worth, [Select]
// keeps the best candidates of each prompt.
package curate

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/options"
)

// A Reward says what a candidate is worth and why. It may be asked from several goroutines at once.
type Reward interface {
	// Name is the reward's kind, such as math.
	Name() string

	// Version changes whenever a score may change for the same options and the same candidate: scores that are kept are
	// those of a version. What lies in files that the options name is part of it.
	Version() string

	// Score judges one candidate: a score, a verdict and the evidence for it. The name in it is filled in by the stage.
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

// RewardOptions are the options of one kind of reward, a struct that the config is read into.
type RewardOptions interface {
	options.Struct
	// New makes the reward. The options are valid and have their defaults.
	New() (Reward, error)
}

var rewards = options.Kinds[RewardOptions]{Thing: "a reward", New: map[string]func() RewardOptions{
	"choice":       func() RewardOptions { return &ChoiceOptions{} },
	"code":         func() RewardOptions { return &CodeOptions{} },
	"command":      func() RewardOptions { return &CommandOptions{} },
	"contains":     func() RewardOptions { return &ContainsOptions{} },
	"exact":        func() RewardOptions { return &ExactOptions{} },
	"expr":         func() RewardOptions { return &ExprOptions{} },
	"format":       func() RewardOptions { return &FormatOptions{} },
	"http":         func() RewardOptions { return &HTTPOptions{} },
	"ifeval":       func() RewardOptions { return &IFEvalOptions{} },
	"json":         func() RewardOptions { return &JSONOptions{} },
	"json_field":   func() RewardOptions { return &JSONFieldOptions{} },
	"judge":        func() RewardOptions { return &JudgeOptions{} },
	"length":       func() RewardOptions { return &LengthOptions{} },
	"likelihood":   func() RewardOptions { return &LikelihoodOptions{} },
	"majority":     func() RewardOptions { return &MajorityOptions{} },
	"math":         func() RewardOptions { return &MathOptions{} },
	"numeric":      func() RewardOptions { return &NumericOptions{} },
	"regex":        func() RewardOptions { return &RegexOptions{} },
	"repetition":   func() RewardOptions { return &RepetitionOptions{} },
	"reward_model": func() RewardOptions { return &RewardModelOptions{} },
	"tool_call":    func() RewardOptions { return &ToolCallOptions{} },
}}

// Kinds maps the name of each kind of reward to its zero options, for the documentation.
func Kinds() map[string]any {
	out := map[string]any{}
	for name, zero := range rewards.New {
		out[name] = zero()
	}
	return out
}

// Shared are the options that every reward has.
type Shared struct {
	Name    string   `yaml:"name,omitempty" json:"name,omitempty" doc:"What its scores are called; by default the reward's kind. Two rewards of one kind need two names."`
	Weight  *float64 `yaml:"weight" json:"weight" doc:"What its score is multiplied by before the scores are added up; 0 scores without counting."`
	Timeout float64  `yaml:"timeout" json:"timeout" doc:"Seconds that it may think about one candidate, not counting the wait for its turn; judge has 300 unless it is said."`
	Cache   *bool    `yaml:"cache,omitempty" json:"cache,omitempty" doc:"Whether its scores are kept in the response store and found there by later runs. By default those of rewards are that wait for programs or endpoints; not those of rewards as quick as math."`
}

// A RewardEntry is one reward of the config: {length: {max_tokens: 40, weight: 0.1}}, or only its kind: math.
type RewardEntry struct {
	Kind string
	Shared
	Options RewardOptions // the zero options of Kind when nil
}

// patient are the options of a reward that needs other than 5 seconds.
type patient interface{ patience() (seconds float64) }

// EnsureDefaults fills in what is not said: weight 1, timeout 5 s, the name of the kind.
func (e *RewardEntry) EnsureDefaults() {
	if e.Name == "" {
		e.Name = e.Kind
	}
	if e.Weight == nil {
		one := 1.0
		e.Weight = &one
	}
	if e.Options == nil {
		e.Options, _ = rewards.Zero(e.Kind)
	}
	if e.Timeout == 0 {
		e.Timeout = 5
		if p, ok := e.Options.(patient); ok {
			e.Timeout = p.patience()
		}
	}
	if e.Options != nil {
		e.Options.EnsureDefaults()
	}
}

// Validate is an Invalid error that names the option that is wrong, under the entry's kind.
func (e *RewardEntry) Validate() error {
	if _, err := rewards.Zero(e.Kind); err != nil {
		return err
	}
	var err error
	switch {
	case e.Weight != nil && (math.IsNaN(*e.Weight) || math.IsInf(*e.Weight, 0)):
		err = options.Wrongf("weight", "is %v: it must be a finite number", *e.Weight)
	case !(e.Timeout >= 0 && e.Timeout <= 86400):
		err = options.Wrongf("timeout", "is %v: it must be between 0 and 86400 seconds", e.Timeout)
	case e.Options != nil:
		err = e.Options.Validate()
	}
	return options.Under(e.Kind, err)
}

// UnmarshalYAML reads an entry and fills in its defaults. Its errors name the line.
func (e *RewardEntry) UnmarshalYAML(node *yaml.Node) (err error) {
	*e = RewardEntry{}
	if e.Kind, e.Options, err = rewards.Decode(node, &e.Shared); err != nil {
		return err
	}
	e.EnsureDefaults()
	return options.At(node, e.Validate())
}

// MarshalYAML writes the entry with all its options.
func (e RewardEntry) MarshalYAML() (any, error) {
	e.EnsureDefaults()
	return options.EncodeYAML(e.Kind, e.Options, e.Shared)
}

// UnmarshalJSON reads an entry and fills in its defaults.
func (e *RewardEntry) UnmarshalJSON(data []byte) (err error) {
	*e = RewardEntry{}
	if e.Kind, e.Options, err = rewards.DecodeJSON(data, &e.Shared); err != nil {
		return err
	}
	e.EnsureDefaults()
	return e.Validate()
}

// MarshalJSON writes the entry with all its options.
func (e RewardEntry) MarshalJSON() ([]byte, error) {
	e.EnsureDefaults()
	return options.EncodeJSON(e.Kind, e.Options, e.Shared)
}

var (
	_ json.Marshaler   = RewardEntry{}
	_ json.Unmarshaler = (*RewardEntry)(nil)
	_ yaml.Unmarshaler = (*RewardEntry)(nil)
)

// scorer makes the reward of an entry. The entry may be shared between goroutines: nothing in it is changed.
func (e RewardEntry) scorer() (scorer, error) {
	if e.Options != nil {
		v := reflect.New(reflect.TypeOf(e.Options).Elem())
		v.Elem().Set(reflect.ValueOf(e.Options).Elem())
		e.Options = v.Interface().(RewardOptions)
	}
	e.EnsureDefaults()
	if err := e.Validate(); err != nil {
		return scorer{}, err
	}
	r, err := e.Options.New()
	if err != nil {
		return scorer{}, fmt.Errorf("reward %q: %w", e.Name, err)
	}
	s := scorer{Reward: r, name: e.Name, weight: *e.Weight, timeout: time.Duration(e.Timeout * float64(time.Second)), kind: e.Kind, cached: costly(r)}
	if e.Cache != nil {
		s.cached = *e.Cache
	}
	if s.identity, err = identity(e.Kind, r, e.Options); err != nil {
		return scorer{}, err
	}
	return s, nil
}

// NewReward makes one reward from its kind's options, outside of any stage.
func NewReward(e RewardEntry) (Reward, error) {
	s, err := e.scorer()
	return s.Reward, err
}
