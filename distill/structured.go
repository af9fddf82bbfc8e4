package distill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/rowfile"
	"stillhouse/internal/schema"
)

// A ResponseFormat makes the teacher answer in JSON.
type ResponseFormat struct {
	Type       string            `yaml:"type" json:"type" doc:"json_schema, json_object, or text. Other kinds, which servers have of their own, go into extra_body."`
	JSONSchema *options.Document `yaml:"json_schema,omitempty" json:"json_schema,omitempty" doc:"The schema of the answers, or the path of a file that holds it; or name, schema and strict as in OpenAI's API. A schema alone is sent as strict, by the name answer."`
}

// ReadFiles reads the files that response_format and tools name, and puts what is in them in place of the paths. What
// the config says and what is asked then cannot differ when a run goes on.
func (o *Options) ReadFiles() error {
	if f := o.ResponseFormat; f != nil {
		schema, err := f.JSONSchema.Read()
		if err != nil {
			return options.Under("response_format.json_schema", err)
		}
		o.ResponseFormat = &ResponseFormat{Type: f.Type, JSONSchema: schema}
	}
	tools, err := o.Tools.Read()
	if err != nil {
		return options.Under("tools", err)
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
	if _, err := schema.Compile(w.Schema); err != nil {
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
			if _, err := schema.Compile(t.Function.Parameters); err != nil {
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
