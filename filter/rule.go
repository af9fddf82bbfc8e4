// Package filter leaves out training rows that teach nothing or teach twice: rules look at one row after the other and
// say why a row goes.
package filter

import (
	"encoding/json"

	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/options"
)

// A Rule decides about one row at a time, in the order of the input. It may remember rows.
type Rule interface {
	// Judge says whether the row is to be dropped, and in detail why. It remembers nothing: other rules have a say yet.
	Judge(row stillhouse.Sample) (detail string, drop bool)

	// Keep tells the rule that the row which it judged last is kept, so that it can hold later rows against it.
	Keep(row stillhouse.Sample)
}

// RuleOptions are the options of one kind of rule, a struct that the config is read into.
type RuleOptions interface {
	options.Struct
	// New makes the rule, which remembers no row yet. The options are valid and have their defaults.
	New() (Rule, error)
}

var rules = options.Kinds[RuleOptions]{Thing: "a filter", New: map[string]func() RuleOptions{
	"length":     func() RuleOptions { return &Length{} },
	"truncated":  func() RuleOptions { return &Truncated{} },
	"refusal":    func() RuleOptions { return &Refusal{} },
	"exact":      func() RuleOptions { return &Exact{} },
	"minhash":    func() RuleOptions { return &MinHash{} },
	"per_prompt": func() RuleOptions { return &PerPrompt{} },
}}

// Kinds maps the name of each kind of rule to its zero options, for the documentation.
func Kinds() map[string]any {
	out := map[string]any{}
	for name, zero := range rules.New {
		out[name] = zero()
	}
	return out
}

// A RuleEntry is one rule of the config: {minhash: {threshold: 0.8}}, or only its kind: truncated.
type RuleEntry struct {
	Kind    string
	Options RuleOptions // the zero options of Kind when nil
}

// EnsureDefaults fills in what is not said.
func (e *RuleEntry) EnsureDefaults() {
	if e.Options == nil {
		e.Options, _ = rules.Zero(e.Kind)
	}
	if e.Options != nil {
		e.Options.EnsureDefaults()
	}
}

// Validate is an Invalid error that names the option that is wrong, under the entry's kind.
func (e *RuleEntry) Validate() error {
	zero, err := rules.Zero(e.Kind)
	if err != nil {
		return err
	}
	o := e.Options
	if o == nil {
		o = zero
		o.EnsureDefaults()
	}
	return options.Under(e.Kind, o.Validate())
}

// UnmarshalYAML reads an entry and fills in its defaults. Its errors name the line.
func (e *RuleEntry) UnmarshalYAML(node *yaml.Node) (err error) {
	*e = RuleEntry{}
	if e.Kind, e.Options, err = rules.Decode(node); err != nil {
		return err
	}
	e.EnsureDefaults()
	return options.At(node, e.Validate())
}

// MarshalYAML writes the entry with all its options.
func (e RuleEntry) MarshalYAML() (any, error) {
	e.EnsureDefaults()
	return options.EncodeYAML(e.Kind, e.Options)
}

// UnmarshalJSON reads an entry and fills in its defaults.
func (e *RuleEntry) UnmarshalJSON(data []byte) (err error) {
	*e = RuleEntry{}
	if e.Kind, e.Options, err = rules.DecodeJSON(data); err != nil {
		return err
	}
	e.EnsureDefaults()
	return e.Validate()
}

// MarshalJSON writes the entry with all its options.
func (e RuleEntry) MarshalJSON() ([]byte, error) {
	e.EnsureDefaults()
	return options.EncodeJSON(e.Kind, e.Options)
}

var (
	_ json.Unmarshaler = (*RuleEntry)(nil)
	_ yaml.Unmarshaler = (*RuleEntry)(nil)
)
