package distill

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"

	"stillhouse/internal/options"
)

var _ options.Forms = Samples{}

// Samples is how many answers a prompt gets. In a config it is a number, K for every prompt, or
// {min: 2, max: 16, enough: 1}: at least min, then more until enough of them are accepted, and never more than max.
type Samples struct {
	Min    int `yaml:"min" json:"min" doc:"Answers that every prompt gets."`
	Max    int `yaml:"max" json:"max" default:"-" doc:"The most answers that a prompt gets, however hard it is."`
	Enough int `yaml:"enough" json:"enough" doc:"A prompt with so many accepted answers gets no more of them. An answer is accepted when its reward reaches curate.select.min_reward."`
}

// Exactly is K answers for every prompt.
func Exactly(k int) Samples { return Samples{Min: k, Max: k} }

// Adaptive reports whether prompts may get different numbers of answers.
func (s Samples) Adaptive() bool { return s.Enough > 0 }

// OptionForms is for the page of the options.
func (Samples) OptionForms() (what string, keys any) {
	return "whole number, or keys and values", adaptive(adaptive{}.orDefaults())
}

func (s Samples) String() string {
	if !s.Adaptive() {
		return fmt.Sprint(s.Max)
	}
	return fmt.Sprintf("%d to %d", s.Min, s.Max)
}

// ensureDefaults makes nothing at all one answer a prompt.
func (s *Samples) ensureDefaults() {
	if *s == (Samples{}) {
		*s = Exactly(1)
	}
}

func (s Samples) validate() error {
	if !s.Adaptive() && s.Min == s.Max {
		if s.Max < 1 || s.Max > maxSamples {
			return options.Wrongf("samples", "is %d: it must be 1 to %d", s.Max, maxSamples)
		}
		return nil
	}
	switch {
	case s.Min < 1 || s.Min > maxSamples:
		return options.Wrongf("samples.min", "is %d: it must be 1 to %d", s.Min, maxSamples)
	case s.Max == 0:
		return options.Wrongf("samples.max", "is missing: say how many answers a hard prompt may get")
	case s.Max < s.Min || s.Max > maxSamples:
		return options.Wrongf("samples.max", "is %d: it must be samples.min (%d) to %d", s.Max, s.Min, maxSamples)
	case s.Enough < 1 || s.Enough > s.Max:
		return options.Wrongf("samples.enough", "is %d: it must be 1 to samples.max (%d)", s.Enough, s.Max)
	}
	return nil
}

// adaptive are the fields without the methods, which read and write keys and values.
type adaptive Samples

// orDefaults fills in what keys and values left out: one answer to begin with, and one that is accepted is enough.
func (a adaptive) orDefaults() Samples {
	if a.Min == 0 {
		a.Min = 1
	}
	if a.Enough == 0 {
		a.Enough = 1
	}
	return Samples(a)
}

// UnmarshalYAML reads both forms.
func (s *Samples) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.MappingNode {
		var a adaptive
		if err := options.Decode(node, &a); err != nil {
			return err
		}
		*s = a.orDefaults()
		return nil
	}
	var k int
	if node.ShortTag() != "!!int" || node.Decode(&k) != nil {
		return options.Problem{Line: node.Line, Text: "wants a whole number, or {min: 2, max: 16, enough: 1}, not " + options.Say(node)}
	}
	*s = Exactly(k)
	return nil
}

// MarshalYAML writes the form that it was read from.
func (s Samples) MarshalYAML() (any, error) {
	if !s.Adaptive() {
		return s.Max, nil
	}
	var n yaml.Node
	if err := n.Encode(adaptive(s)); err != nil {
		return nil, err
	}
	n.Style = yaml.FlowStyle
	return &n, nil
}

// UnmarshalJSON reads both forms.
func (s *Samples) UnmarshalJSON(data []byte) error {
	var k int
	if json.Unmarshal(data, &k) == nil {
		*s = Exactly(k)
		return nil
	}
	var a adaptive
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return options.Wrongf("samples", "wants a whole number, or {\"min\": 2, \"max\": 16, \"enough\": 1}: %v", err)
	}
	*s = a.orDefaults()
	return nil
}

// MarshalJSON writes the form that it was read from.
func (s Samples) MarshalJSON() ([]byte, error) {
	if !s.Adaptive() {
		return json.Marshal(s.Max)
	}
	return json.Marshal(adaptive(s))
}
