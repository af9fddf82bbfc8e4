package reward

import (
	"context"
	"errors"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/schema"
)

// JSON is the reward json: 1 and right when the answer is one JSON value, alone or in the answer's
// only block in fences, and valid by the schema where there is one; 0 and wrong when not. Schemas are of JSON Schema, draft
// 2020-12 unless "$schema" names an earlier one, and refer to nothing outside of themselves. What the model reasons before
// its answer does not count.
//
// An answer that is empty, of more than 1 MiB, nested deeper than 200 or with numbers of more than 400 digits is
// unparsable.
type JSON struct {
	Schema *options.Document `yaml:"schema,omitempty" json:"schema,omitempty" doc:"A JSON Schema that the answer must be valid by: the schema itself, or the path of a file that holds it."`
	Bare   bool              `yaml:"bare" json:"bare" doc:"Whether the answer must be nothing but JSON, without fences and words around it."`
}

// EnsureDefaults reads the schema's file.
func (o *JSON) EnsureDefaults() { o.Schema = ready(o.Schema) }

// ready is a copy of a document whose file has been read where it can be.
func ready(d *options.Document) *options.Document {
	if d == nil || d.IsZero() {
		return nil
	}
	if c, err := d.Read(); err == nil {
		return c
	}
	return d
}

// Validate is an Invalid error when the schema is none.
func (o *JSON) Validate() error {
	if o.Schema == nil {
		return nil
	}
	if _, err := o.Schema.Read(); err != nil {
		return options.Under("schema", err)
	}
	if _, err := schema.Compile(o.Schema.JSON); err != nil {
		return options.Wrongf("schema", "is no JSON Schema: %v", err)
	}
	return nil
}

// New makes the reward.
func (o *JSON) New() (Reward, error) {
	r := jsonReward{bare: o.Bare}
	if o.Schema != nil {
		var err error
		if r.schema, err = schema.Compile(o.Schema.JSON); err != nil {
			return nil, err
		}
	}
	return r, nil
}

type jsonReward struct {
	schema *jsonschema.Schema
	bare   bool
}

func (jsonReward) Version() string { return "1" }

func (r jsonReward) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	text, s, ok := parsed(c)
	if !ok {
		return s
	}
	read := jsonIn
	if r.bare {
		read = readJSON
	}
	v, err := read(text)
	switch {
	case errors.Is(err, errTooMuch):
		return cannotTell("%v", err)
	case err != nil:
		return judged(false, "%v: %q", err, shorten(text))
	case r.schema == nil:
		return judged(true, "JSON: %s", brief(v))
	}
	if err := r.schema.Validate(v); err != nil {
		return judged(false, "not valid %v", schema.Problem(err))
	}
	return judged(true, "valid by the schema: %s", brief(v))
}
