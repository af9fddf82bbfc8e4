package options

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Document is a JSON value of a config: written out there, or in a file of its own, which the config names by its
// path. The names in it keep their order: models write the fields of an answer in the order of the schema.
type Document struct {
	Path string          // of the file, until Read has read it
	JSON json.RawMessage // compact
}

var _ Forms = (*Document)(nil)

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
	b, err := JSON(n)
	d.JSON = b
	return err
}

// MarshalYAML writes the value, or the path where it has not been read yet.
func (d Document) MarshalYAML() (any, error) {
	if d.JSON == nil {
		return d.Path, nil
	}
	return Node(d.JSON)
}

// UnmarshalJSON is UnmarshalYAML for JSON.
func (d *Document) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		return d.text(s)
	}
	return d.value(b)
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
	if s == "" || s == "null" {
		return nil
	}
	if s[0] != '{' && s[0] != '[' {
		d.Path = s
		return nil
	}
	return d.value([]byte(s))
}

func (d *Document) value(b []byte) error {
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return Wrongf("", "is not JSON: %v", err)
	}
	d.JSON = out.Bytes()
	return nil
}

// Read is the document with what is in the file in place of its path. Its error stands under the document's key.
func (d *Document) Read() (*Document, error) {
	if d == nil || d.Path == "" || d.JSON != nil {
		return d, nil
	}
	b, err := os.ReadFile(d.Path)
	if err != nil {
		return nil, Wrongf("", "names a file that cannot be read: %v", err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, Wrongf("", "names the file %s, which is not JSON: %v", d.Path, err)
	}
	return &Document{JSON: out.Bytes()}, nil
}
