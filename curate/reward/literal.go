package reward

import (
	"encoding/json"

	"go.yaml.in/yaml/v3"

	"stillhouse/internal/options"
)

// A Literal is a JSON value that is written out in a config.
type Literal struct{ JSON json.RawMessage }

var _ options.Forms = (*Literal)(nil)

// OptionForms is for the page of the options.
func (*Literal) OptionForms() (what string, keys any) { return "any value", struct{}{} }

// UnmarshalYAML takes any value.
func (l *Literal) UnmarshalYAML(n *yaml.Node) (err error) {
	l.JSON, err = options.JSON(n)
	return err
}

// MarshalYAML writes the value.
func (l Literal) MarshalYAML() (any, error) { return options.Node(l.JSON) }

// UnmarshalJSON takes any value.
func (l *Literal) UnmarshalJSON(b []byte) error {
	l.JSON = append(json.RawMessage(nil), b...)
	return nil
}

// MarshalJSON writes the value.
func (l Literal) MarshalJSON() ([]byte, error) { return l.JSON, nil }
