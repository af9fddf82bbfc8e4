package reward

import (
	"encoding/json"

	"go.yaml.in/yaml/v3"

	"stillhouse/internal/options"
)

// Structured says whether a judge is asked for JSON with a schema: true, false, or auto, which is with one unless the
// endpoint refuses it.
type Structured string

// What can be said.
const (
	StructuredAuto Structured = "auto"
	StructuredYes  Structured = "true"
	StructuredNo   Structured = "false"
)

var _ options.Forms = StructuredAuto

// OptionForms is for the page of the options.
func (Structured) OptionForms() (what string, keys any) { return "true, false or auto", struct{}{} }

// UnmarshalYAML reads true, false or auto.
func (s *Structured) UnmarshalYAML(n *yaml.Node) error {
	var yes bool
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == string(StructuredAuto):
		*s = StructuredAuto
	case n.ShortTag() != "!!bool" || n.Decode(&yes) != nil:
		return options.Problem{Line: n.Line, Text: "wants true, false or auto, not " + options.Say(n)}
	case yes:
		*s = StructuredYes
	default:
		*s = StructuredNo
	}
	return nil
}

// MarshalYAML writes true, false or auto.
func (s Structured) MarshalYAML() (any, error) {
	if s == StructuredAuto {
		return string(s), nil
	}
	return s == StructuredYes, nil
}

// MarshalJSON writes true, false or "auto".
func (s Structured) MarshalJSON() ([]byte, error) {
	v, err := s.MarshalYAML()
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
