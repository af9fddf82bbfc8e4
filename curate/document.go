package curate

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"stillhouse/internal/options"
)

// A Document is a JSON value of a config: written out there, or in a file, which the config names by its path. A file is
// read when the options get their defaults, so that what the run writes down of its config holds what counted.
type Document struct {
	Path string // of a file that is not read yet, or could not be
	JSON json.RawMessage
}

var _ options.Forms = (*Document)(nil)

// OptionForms is for the page of the options.
func (*Document) OptionForms() (what string, keys any) { return "JSON, or a path", struct{}{} }

// IsZero reports whether there is none.
func (d Document) IsZero() bool { return d.Path == "" && d.JSON == nil }

// UnmarshalYAML reads a text as a path, or as JSON where it begins as a list or an object does; anything else is the
// value itself.
func (d *Document) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		return d.text(n.Value)
	}
	b, err := options.JSON(n)
	d.JSON = b
	return err
}

// MarshalYAML writes the value, or the path where it has not been read.
func (d Document) MarshalYAML() (any, error) {
	if d.JSON == nil {
		return d.Path, nil
	}
	return options.Node(d.JSON)
}

// UnmarshalJSON is UnmarshalYAML for JSON.
func (d *Document) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		return d.text(s)
	}
	d.JSON = append(json.RawMessage(nil), b...)
	return nil
}

// MarshalJSON is MarshalYAML for JSON.
func (d Document) MarshalJSON() ([]byte, error) {
	if d.JSON == nil {
		return json.Marshal(d.Path)
	}
	return d.JSON, nil
}

func (d *Document) text(s string) error {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[") {
		if !json.Valid([]byte(s)) {
			return fmt.Errorf("is %q, which is no JSON", shorten(s))
		}
		d.JSON = json.RawMessage(s)
		return nil
	}
	d.Path = s
	return nil
}

// read takes the value from its file, where it can: what cannot be read stays a path, of which problem tells.
func (d *Document) read() {
	if d != nil && d.JSON == nil && d.Path != "" && d.problem() == nil {
		b, _ := os.ReadFile(d.Path)
		d.Path, d.JSON = "", b
	}
}

// problem says why there is no value.
func (d *Document) problem() error {
	if d.JSON != nil {
		return nil
	}
	b, err := os.ReadFile(d.Path)
	switch {
	case err != nil:
		return fmt.Errorf("is %q, which cannot be read (%w): write the JSON itself or the path of a file that holds it", d.Path, err)
	case !json.Valid(b):
		return fmt.Errorf("is %q, a file that holds no JSON", d.Path)
	}
	return nil
}

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
