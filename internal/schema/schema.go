// Package schema compiles JSON Schemas that come from configs and rows: they refer to nothing outside of themselves, and what is
// wrong with one, or with a value by it, is told in one line.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Compile reads a JSON Schema. It is an error where the schema is none, or refers to something that is not in it.
func Compile(schema json.RawMessage) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, err
	}
	const here = "schema.json"
	c := jsonschema.NewCompiler()
	c.UseLoader(nothingElse{})
	if err := c.AddResource(here, doc); err != nil {
		return nil, Problem(err)
	}
	s, err := c.Compile(here)
	if err != nil {
		return nil, Problem(err)
	}
	return s, nil
}

// nothingElse keeps schemas from reading files or the network.
type nothingElse struct{}

func (nothingElse) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s, which is not in it", url)
}

var madeUpAddress = regexp.MustCompile(`file://[^"' ]*schema\.json#?`)

// Problem says in one line what is wrong with a schema, or with a value by it: the library's own text is of several
// lines, and names an address that is made up. Of several problems it is the deepest, the first of them.
func Problem(err error) error {
	var invalid *jsonschema.SchemaValidationError
	if errors.As(err, &invalid) {
		err = invalid.Err
	}
	var tree *jsonschema.ValidationError
	if !errors.As(err, &tree) {
		return errors.New(strings.Join(strings.Fields(madeUpAddress.ReplaceAllString(err.Error(), "")), " "))
	}
	for len(tree.Causes) > 0 {
		tree = slices.MaxFunc(tree.Causes, func(a, b *jsonschema.ValidationError) int {
			return len(a.InstanceLocation) - len(b.InstanceLocation)
		})
	}
	what := shorten(tree.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
	if len(tree.InstanceLocation) == 0 {
		return errors.New(what)
	}
	return fmt.Errorf("at %q: %s", shorten("/"+strings.Join(tree.InstanceLocation, "/")), what)
}

// shorten cuts text to 80 characters.
func shorten(s string) string {
	n := 0
	for i := range s {
		if n++; n > 80 {
			return s[:i] + "…"
		}
	}
	return s
}
