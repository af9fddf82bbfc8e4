package curate

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

// compileSchema reads a JSON Schema. It is an error where the schema is none, or refers to something that is not in it.
func compileSchema(schema json.RawMessage) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, err
	}
	const here = "schema.json"
	c := jsonschema.NewCompiler()
	c.UseLoader(nothingElse{})
	if err := c.AddResource(here, doc); err != nil {
		return nil, schemaProblem(err)
	}
	s, err := c.Compile(here)
	if err != nil {
		return nil, schemaProblem(err)
	}
	return s, nil
}

// nothingElse keeps schemas from reading files or the network.
type nothingElse struct{}

func (nothingElse) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s, which is not in it", url)
}

var madeUpAddress = regexp.MustCompile(`file://[^"' ]*schema\.json#?`)

// schemaProblem says in one line what is wrong with a schema, or with a value by it: the library's own text is of several
// lines, and names an address that is made up. Of several problems it is the deepest, the first of them.
func schemaProblem(err error) error {
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
