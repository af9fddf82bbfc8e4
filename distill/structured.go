package distill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/rowfile"
)

// A Document is a JSON value of a config: written out there, or in a file of its own, which the config names by its
// path. The names in it keep their order: models write the fields of an answer in the order of the schema.
type Document struct {
	Path string          // of the file, until [Options.ReadFiles] has read it
	JSON json.RawMessage // compact
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

// MarshalYAML writes the value, or the path where it has not been read yet.
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
	return d.text(string(b))
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
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		return options.Wrongf("", "is not JSON: %v", err)
	}
	d.JSON = b.Bytes()
	return nil
}

// read is the document with what is in the file in place of its path.
func (d *Document) read(key string) (*Document, error) {
	if d == nil || d.Path == "" || d.JSON != nil {
		return d, nil
	}
	b, err := os.ReadFile(d.Path)
	if err != nil {
		return nil, options.Wrongf(key, "names a file that cannot be read: %v", err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, options.Wrongf(key, "names the file %s, which is not JSON: %v", d.Path, err)
	}
	return &Document{JSON: out.Bytes()}, nil
}

// A ResponseFormat makes the teacher answer in JSON.
type ResponseFormat struct {
	Type       string    `yaml:"type" json:"type" doc:"json_schema, json_object, or text. Other kinds, which servers have of their own, go into extra_body."`
	JSONSchema *Document `yaml:"json_schema,omitempty" json:"json_schema,omitempty" doc:"The schema of the answers, or the path of a file that holds it; or name, schema and strict as in OpenAI's API. A schema alone is sent as strict, by the name answer."`
}

// ReadFiles reads the files that response_format and tools name, and puts what is in them in place of the paths. What
// the config says and what is asked then cannot differ when a run goes on.
func (o *Options) ReadFiles() error {
	if f := o.ResponseFormat; f != nil {
		schema, err := f.JSONSchema.read("response_format.json_schema")
		if err != nil {
			return err
		}
		o.ResponseFormat = &ResponseFormat{Type: f.Type, JSONSchema: schema}
	}
	tools, err := o.Tools.read("tools")
	if err != nil {
		return err
	}
	o.Tools = tools
	return o.validateStructure()
}

// validateStructure checks what makes an answer more than text, as far as its files have been read.
func (o *Options) validateStructure() error {
	if f := o.ResponseFormat; f != nil {
		if err := options.Under("response_format", f.validate()); err != nil {
			return err
		}
		if _, twice := o.ExtraBody["response_format"]; twice {
			return options.Wrongf("extra_body.response_format", "stands beside distill.response_format: take one of them out")
		}
	}
	if o.Tools != nil && o.Tools.JSON != nil {
		if err := validateTools(o.Tools.JSON); err != nil {
			return options.Wrongf("tools", "%v", err)
		}
	}
	switch v := o.ToolChoice.(type) {
	case nil:
	case string:
		if !slices.Contains([]string{"auto", "none", "required"}, v) {
			return options.Wrongf("tool_choice", `is %q: it must be auto, none, required, or {type: function, function: {name: NAME}}`, v)
		}
	case map[string]any:
		if _, err := json.Marshal(v); err != nil {
			return options.Wrongf("tool_choice", "cannot be written as JSON: %v", err)
		}
	default:
		return options.Wrongf("tool_choice", `is %v: it must be auto, none, required, or {type: function, function: {name: NAME}}`, v)
	}
	return nil
}

var schemaName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

func (f *ResponseFormat) validate() error {
	switch f.Type {
	case "text", "json_object":
		if f.JSONSchema != nil && !f.JSONSchema.IsZero() {
			return options.Wrongf("json_schema", "is there though type is %s: write type: json_schema, or take it out", f.Type)
		}
		return nil
	case "json_schema":
	case "":
		return options.Wrongf("type", "is missing: it must be json_schema, json_object or text")
	default:
		return options.Wrongf("type", "is %q: it must be json_schema, json_object or text; what only some servers know goes into extra_body.response_format", f.Type)
	}
	if f.JSONSchema == nil || f.JSONSchema.IsZero() {
		return options.Wrongf("json_schema", "is missing: give the schema, or the path of a file that holds it")
	}
	if f.JSONSchema.JSON == nil {
		return nil
	}
	w, err := f.schema()
	if err != nil {
		return options.Wrongf("json_schema", "%v", err)
	}
	if !schemaName.MatchString(w.Name) {
		return options.Wrongf("json_schema.name", "is %q: it must have 1 to 64 letters, digits, dashes and underscores", w.Name)
	}
	if err := compileSchema(w.Schema); err != nil {
		return options.Wrongf("json_schema", "is not a JSON schema: %v", err)
	}
	return nil
}

// namedSchema is the form in which OpenAI's API takes a schema, and with it most servers.
type namedSchema struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema"`
	Strict      *bool           `json:"strict,omitempty"`
}

// schema reads both forms of the document: a schema has no keyword "schema".
func (f *ResponseFormat) schema() (w namedSchema, err error) {
	var names map[string]json.RawMessage
	if json.Unmarshal(f.JSONSchema.JSON, &names) != nil {
		return w, errors.New("is not an object: give a schema such as {type: object, properties: {…}}")
	}
	if _, named := names["schema"]; !named {
		return namedSchema{Name: "answer", Schema: f.JSONSchema.JSON, Strict: new(true)}, nil
	}
	d := json.NewDecoder(bytes.NewReader(f.JSONSchema.JSON))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return w, fmt.Errorf("is not {name, schema, strict}: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return w, nil
}

// compileSchema is an error where a schema is none, or refers to something that is not in it.
func compileSchema(schema json.RawMessage) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return err
	}
	const here = "schema.json"
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource(here, doc); err != nil {
		return plainSchemaError(err)
	}
	_, err = c.Compile(here)
	return plainSchemaError(err)
}

// noLoader keeps schemas from reading files or the network.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s, which is not in it", url)
}

// plainSchemaError says in one line what is wrong with a schema: the compiler's own text is of several lines, and names an
// address that is made up.
func plainSchemaError(err error) error {
	var invalid *jsonschema.SchemaValidationError
	var tree *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid) && errors.As(invalid.Err, &tree):
		for len(tree.Causes) > 0 {
			tree = slices.MaxFunc(tree.Causes, func(a, b *jsonschema.ValidationError) int {
				return len(a.InstanceLocation) - len(b.InstanceLocation)
			})
		}
		at := "/" + strings.Join(tree.InstanceLocation, "/")
		return fmt.Errorf("at %s: %s", at, tree.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
	}
	return errors.New(strings.Join(strings.Fields(schemaAddress.ReplaceAllString(err.Error(), "")), " "))
}

var schemaAddress = regexp.MustCompile(`file://[^"' ]*schema\.json#?`)

// validateTools checks a list of tools: each an object with a type and, where that is function, a name.
func validateTools(tools json.RawMessage) error {
	var list []struct {
		Type     string `json:"type"`
		Function *struct {
			Name       string          `json:"name"`
			Parameters json.RawMessage `json:"parameters"`
		} `json:"function"`
	}
	if err := json.Unmarshal(tools, &list); err != nil {
		return errors.New(`are not a list of tools such as [{type: function, function: {name: NAME, parameters: {…}}}]`)
	}
	for i, t := range list {
		switch {
		case t.Type == "":
			return fmt.Errorf("tool %d has no type: most are {type: function, function: {…}}", i)
		case t.Type == "function" && (t.Function == nil || t.Function.Name == ""):
			return fmt.Errorf("tool %d is a function without a name", i)
		case t.Function != nil && isValue(t.Function.Parameters):
			if err := compileSchema(t.Function.Parameters); err != nil {
				return fmt.Errorf("tool %d (%s): its parameters are not a JSON schema: %w", i, t.Function.Name, err)
			}
		}
	}
	return nil
}

// toolsOf are the tools that a prompt is asked with: its own, else the run's; nil for none.
func (o *Options) toolsOf(p stillhouse.Prompt) *string {
	if p.Tools != nil && strings.TrimSpace(*p.Tools) != "" {
		return p.Tools
	}
	if o.Tools == nil || len(o.Tools.JSON) == 0 || string(o.Tools.JSON) == "[]" {
		return nil
	}
	return new(string(o.Tools.JSON))
}

// addTools puts the tools into a request. Without tools there is no tool_choice either: servers refuse it alone.
func (o *Options) addTools(fields map[string]any, p stillhouse.Prompt) error {
	text := o.toolsOf(p)
	if text == nil {
		return nil
	}
	fields["tools"] = json.RawMessage(*text)
	if text == p.Tools { // in the order of the names, as the keys of stored answers have always had it
		var tools any
		if err := rowfile.Decode([]byte(*text), &tools); err != nil {
			return fmt.Errorf("tools are not JSON: %w", err)
		}
		fields["tools"] = tools
	}
	if o.ToolChoice != nil {
		fields["tool_choice"] = o.ToolChoice
	}
	if o.ParallelToolCalls != nil {
		fields["parallel_tool_calls"] = *o.ParallelToolCalls
	}
	return nil
}

// addStructure puts into a request what says how the answer is written, and what comes beside it.
func (o *Options) addStructure(fields map[string]any) error {
	if f := o.ResponseFormat; f != nil && f.Type == "json_schema" {
		w, err := f.schema()
		if err != nil {
			return err
		}
		fields["response_format"] = map[string]any{"type": f.Type, "json_schema": w}
	} else if f != nil {
		fields["response_format"] = map[string]any{"type": f.Type}
	}
	if o.LogProbs {
		fields["logprobs"] = true
		if o.TopLogProbs > 0 {
			fields["top_logprobs"] = o.TopLogProbs
		}
	}
	if o.ReasoningEffort != "" {
		fields["reasoning_effort"] = o.ReasoningEffort
	}
	if o.PresencePenalty != nil {
		fields["presence_penalty"] = *o.PresencePenalty
	}
	if o.FrequencyPenalty != nil {
		fields["frequency_penalty"] = *o.FrequencyPenalty
	}
	return nil
}
