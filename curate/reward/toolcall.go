package reward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/schema"
)

// ToolCall is the reward tool_call: 1 and right when the candidate's calls of tools are as they
// should be, 0 and wrong when not. There are two checks:
//
//   - schema: every call is of one of the prompt's tools, and its arguments are valid by that tool's JSON Schema: those
//     that are required are there, and of their types. Arguments that the schema does not name are wrong, unless it says
//     additionalProperties.
//   - reference: the calls are those of the prompt's reference, up to the order of keys and the format of numbers, and up
//     to the order of the calls unless ordered. The reference is JSON: one call or a list, each {"name", "arguments"} or
//     as in OpenAI's API; an empty list means that no tool must be called.
//
// The calls are those of the column tool_calls; where there are none, those that are written in the text: in
// <tool_call>, after [TOOL_CALLS], as <function=NAME>{…}</function>, or an answer that is nothing but calls as JSON. Calls
// that are no JSON are unparsable, and so is a candidate without any, unless the reference tells that it is wrong or right.
type ToolCall struct {
	Check   string `yaml:"check" json:"check" doc:"What is checked: schema, reference or both."`
	Ordered bool   `yaml:"ordered" json:"ordered" doc:"Whether parallel calls must stand in the order of the reference."`
}

// EnsureDefaults checks by the tools' schemas.
func (o *ToolCall) EnsureDefaults() {
	if o.Check == "" {
		o.Check = "schema"
	}
}

// Validate is an Invalid error when there is no such check.
func (o *ToolCall) Validate() error {
	switch {
	case !slices.Contains([]string{"schema", "reference", "both"}, o.Check):
		return options.Wrongf("check", "is %q: it must be schema, reference or both", o.Check)
	case o.Ordered && o.Check == "schema":
		return options.Wrongf("ordered", "is true and check is schema: an order is compared only with check: reference or both")
	}
	return nil
}

// New makes the reward.
func (o *ToolCall) New() (Reward, error) {
	return &toolCallReward{o: *o, tools: map[string]toolbox{}}, nil
}

type toolCallReward struct {
	o     ToolCall
	mu    sync.Mutex
	tools map[string]toolbox // by their JSON: the prompts of a run mostly have the same
}

// A toolbox is the tools of a prompt, or why they can't be read.
type toolbox struct {
	tools map[string]tool
	err   error
}

type tool struct {
	schema *jsonschema.Schema // nil where the tool says nothing of its arguments
	closed map[string]bool    // the arguments that it names; nil where others are allowed too
}

var _ Comparer = (*toolCallReward)(nil)

func (*toolCallReward) Version() string        { return "1" }
func (r *toolCallReward) NeedsReference() bool { return r.o.Check != "schema" }

func (r *toolCallReward) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	var want []call
	compares := r.o.Check != "schema"
	if compares {
		if s, missing := noReference(c); missing {
			return s
		}
		v, err := readJSON(strings.TrimSpace(*c.Reference))
		if err == nil {
			want, err = readCalls(v)
		}
		if err != nil {
			return cannotTell("the reference is no call: %v", err)
		}
	}
	calls, err := callsOf(c)
	switch {
	case err != nil:
		return cannotTell("%v", err)
	case len(calls) == 0 && !compares:
		return cannotTell("no tool is called")
	}
	if r.o.Check != "reference" && len(calls) > 0 {
		if c.Tools == nil {
			return cannotTell("the prompt has no tools")
		}
		box := r.toolbox(*c.Tools)
		if box.err != nil {
			return cannotTell("the prompt's tools: %v", box.err)
		}
		for i, called := range calls {
			if err := box.check(called); err != nil {
				return judged(false, "call %d: %v", i+1, err)
			}
		}
	}
	if compares {
		return r.compare(want, calls)
	}
	return judged(true, "%s", callsBriefly(calls))
}

// compare has the calls against those of the reference.
func (r *toolCallReward) compare(want, got []call) stillhouse.Score {
	if len(want) != len(got) {
		return judged(false, "%s; the reference has %s", callsBriefly(got), callsBriefly(want))
	}
	plain := func(calls []call) (out []string) {
		for _, c := range calls {
			out = append(out, canonical(c.name)+canonical(c.arguments))
		}
		if !r.o.Ordered {
			slices.Sort(out)
		}
		return out
	}
	if slices.Equal(plain(want), plain(got)) {
		return judged(true, "%s, as the reference", callsBriefly(got))
	}
	return judged(false, "%s; the reference has %s", callsBriefly(got), callsBriefly(want))
}

// toolbox reads the tools of a prompt, or finds them among those that were read before.
func (r *toolCallReward) toolbox(text string) toolbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	if box, ok := r.tools[text]; ok {
		return box
	}
	if len(r.tools) >= 1000 {
		clear(r.tools)
	}
	tools, err := readTools(text)
	r.tools[text] = toolbox{tools, err}
	return r.tools[text]
}

// readTools reads a list of tools in the form of OpenAI's API, or of {"name", "parameters"} alone.
func readTools(text string) (map[string]tool, error) {
	type function struct {
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters"`
	}
	var list []struct {
		function
		Function *function `json:"function"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, errors.New("are not a list of tools")
	}
	out := map[string]tool{}
	for i, entry := range list {
		f := entry.function
		if entry.Function != nil {
			f = *entry.Function
		}
		if f.Name == "" {
			return nil, fmt.Errorf("tool %d has no name", i+1)
		}
		var t tool
		if p := strings.TrimSpace(string(f.Parameters)); p != "" && p != "null" {
			var err error
			if t.schema, err = schema.Compile(f.Parameters); err != nil {
				return nil, fmt.Errorf("%s: its parameters are no JSON Schema: %w", shorten(f.Name), err)
			}
			t.closed = closed(f.Parameters)
		}
		out[f.Name] = t
	}
	return out, nil
}

// closed are the arguments that a schema names, where it says nothing of others.
func closed(schema json.RawMessage) map[string]bool {
	var keys map[string]json.RawMessage
	if json.Unmarshal(schema, &keys) != nil {
		return nil
	}
	for key := range keys {
		switch key {
		case "type", "properties", "required", "title", "description", "$schema", "$defs", "definitions", "strict", "examples", "default", "$id", "$comment":
		default: // additionalProperties, allOf, $ref and so on say it in their way
			return nil
		}
	}
	var properties map[string]json.RawMessage
	if json.Unmarshal(keys["properties"], &properties) != nil {
		return nil
	}
	names := map[string]bool{}
	for name := range properties {
		names[name] = true
	}
	return names
}

// check says what is wrong with a call.
func (b toolbox) check(c call) error {
	t, ok := b.tools[c.name]
	if !ok {
		return fmt.Errorf("there is no tool %q", shorten(c.name))
	}
	if t.closed != nil {
		for name := range c.arguments {
			if !t.closed[name] {
				return fmt.Errorf("%s has no argument %q", shorten(c.name), shorten(name))
			}
		}
	}
	if t.schema != nil {
		if err := t.schema.Validate(any(c.arguments)); err != nil {
			return fmt.Errorf("%s: %w", shorten(c.name), schema.Problem(err))
		}
	}
	return nil
}
