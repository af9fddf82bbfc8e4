package reward

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"

	"go.yaml.in/yaml/v3"

	"stillhouse/internal/options"
)

// Shared are the options that every reward has.
type Shared struct {
	Name    string   `yaml:"name,omitempty" json:"name,omitempty" doc:"What its scores are called; by default the reward's kind. Two rewards of one kind need two names."`
	Weight  *float64 `yaml:"weight" json:"weight" doc:"What its score is multiplied by before the scores are added up; 0 scores without counting."`
	Timeout float64  `yaml:"timeout" json:"timeout" doc:"Seconds that it may think about one candidate, not counting the wait for its turn; judge has 300 unless it is said."`
	Cache   *bool    `yaml:"cache,omitempty" json:"cache,omitempty" doc:"Whether its scores are kept in the response store and found there by later runs. By default those of rewards are that wait for programs or endpoints; not those of rewards as quick as math."`
}

// An Entry is one reward of the config: {length: {max_tokens: 40, weight: 0.1}}, or only its kind: math.
type Entry struct {
	Kind string
	Shared
	Options Options // the zero options of Kind when nil
}

// patient are the options of a reward that needs other than 5 seconds.
type patient interface{ patience() (seconds float64) }

// EnsureDefaults fills in what is not said: weight 1, timeout 5 s, the name of the kind.
func (e *Entry) EnsureDefaults() {
	if e.Name == "" {
		e.Name = e.Kind
	}
	if e.Weight == nil {
		one := 1.0
		e.Weight = &one
	}
	if e.Options == nil {
		e.Options, _ = kinds.Zero(e.Kind)
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
func (e *Entry) Validate() error {
	if _, err := kinds.Zero(e.Kind); err != nil {
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
func (e *Entry) UnmarshalYAML(node *yaml.Node) (err error) {
	*e = Entry{}
	if e.Kind, e.Options, err = kinds.Decode(node, &e.Shared); err != nil {
		return err
	}
	e.EnsureDefaults()
	return options.At(node, e.Validate())
}

// MarshalYAML writes the entry with all its options.
func (e Entry) MarshalYAML() (any, error) {
	e.EnsureDefaults()
	return options.EncodeYAML(e.Kind, e.Options, e.Shared)
}

// UnmarshalJSON reads an entry and fills in its defaults.
func (e *Entry) UnmarshalJSON(data []byte) (err error) {
	*e = Entry{}
	if e.Kind, e.Options, err = kinds.DecodeJSON(data, &e.Shared); err != nil {
		return err
	}
	e.EnsureDefaults()
	return e.Validate()
}

// MarshalJSON writes the entry with all its options.
func (e Entry) MarshalJSON() ([]byte, error) {
	e.EnsureDefaults()
	return options.EncodeJSON(e.Kind, e.Options, e.Shared)
}

var (
	_ json.Marshaler   = Entry{}
	_ json.Unmarshaler = (*Entry)(nil)
	_ yaml.Unmarshaler = (*Entry)(nil)
)

// Filled is the entry with its defaults and options of its own, or an Invalid error. The entry may be shared between
// goroutines: nothing in it is changed.
func (e Entry) Filled() (Entry, error) {
	if e.Options != nil {
		v := reflect.New(reflect.TypeOf(e.Options).Elem())
		v.Elem().Set(reflect.ValueOf(e.Options).Elem())
		e.Options = v.Interface().(Options)
	}
	e.EnsureDefaults()
	return e, e.Validate()
}

// New makes the reward. As with Filled, nothing in the entry is changed.
func (e Entry) New() (Reward, error) {
	e, err := e.Filled()
	if err != nil {
		return nil, err
	}
	r, err := e.Options.New()
	if err != nil {
		return nil, fmt.Errorf("reward %q: %w", e.Name, err)
	}
	return r, nil
}
