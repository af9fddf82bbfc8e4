package prompts

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/chat/jinja"
	"stillhouse/internal/options"
	"stillhouse/internal/rowfile"
)

// A Template builds a conversation from a row's columns: messages whose contents are Jinja templates, in which each column
// is a variable by its name, and all of them are in the variable row, for names that are none of Jinja's (row['a.b']).
//
// They run in internal/chat/jinja, which is bounded and sees nothing else. It is strict: to print a column that the row
// lacks, or that is null, is an error of the row, since jinja2 would put nothing, or the word None, into the prompt.
type Template []TemplateMessage

// A TemplateMessage is one message of a [Template].
type TemplateMessage struct {
	Role    string `yaml:"role" json:"role" doc:"Who says it: system, user or assistant."`
	Content string `yaml:"content" json:"content" doc:"What it says, with the row's columns by name."`
}

// UnmarshalYAML reads the user's message alone, {system: …, user: …}, or a list of messages.
func (t *Template) UnmarshalYAML(n *yaml.Node) error {
	*t = nil
	switch n.Kind {
	case yaml.ScalarNode:
		if n.ShortTag() != "!!str" {
			return options.Wrongf("", "wants a text, {system: …, user: …} or a list of messages, not %q", n.Value)
		}
		*t = Template{{Role: "user", Content: n.Value}}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if !slices.Contains(roles, k.Value) {
				return options.Problem{Line: k.Line, Key: k.Value, Text: "is not a role: " + options.Nearest(k.Value, roles)}
			}
			if v.Kind != yaml.ScalarNode || v.ShortTag() != "!!str" {
				return options.Problem{Line: v.Line, Key: k.Value, Text: "wants a text"}
			}
			*t = append(*t, TemplateMessage{Role: k.Value, Content: v.Value})
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			var m TemplateMessage
			if err := options.Decode(item, &m); err != nil {
				return options.Under(fmt.Sprintf("[%d]", i), err)
			}
			*t = append(*t, m)
		}
	}
	return nil
}

var roles = []string{"system", "developer", "user", "assistant", "tool"}

// answers says whether the last message is the assistant's: the answer of an example.
func (t Template) answers() bool { return len(t) > 0 && t[len(t)-1].Role == "assistant" }

// parts are the prompt and the answer of an example.
func (t Template) parts() (prompt, answer Template) {
	if t.answers() {
		return t[:len(t)-1], t[len(t)-1:]
	}
	return t, nil
}

func (t Template) validate(fewShot bool) error {
	for i, m := range t {
		if !slices.Contains(roles, m.Role) {
			return options.Wrongf(fmt.Sprintf("[%d].role", i), "is %q: %s", m.Role, options.Nearest(m.Role, roles))
		}
	}
	prompt, answer := t.parts()
	if len(answer) > 0 && !fewShot {
		return options.Wrongf("", "ends with the assistant's message, which only few-shot examples have: end with the user's, or add few_shot")
	}
	if len(t) > 0 && (len(prompt) == 0 || prompt[len(prompt)-1].Role == "system" || prompt[len(prompt)-1].Role == "developer") {
		return options.Wrongf("", "has no message for the teacher to answer: add one of the user")
	}
	_, err := t.compile()
	return err
}

// rowVariable is the variable that holds all columns.
const rowVariable = "row"

// A compiled template is one that can be rendered.
type compiled struct {
	messages []*jinja.Template
	roles    []string
	columns  []string // that it reads
	all      bool     // it reads the variable row, and so may read any column
}

func (t Template) compile() (*compiled, error) {
	if len(t) == 0 {
		return nil, nil
	}
	c := &compiled{}
	for i, m := range t {
		p, err := jinja.Parse(m.Content)
		if err != nil {
			return nil, options.Wrongf(fmt.Sprintf("[%d]", i), "of the %s is no Jinja template: %v", m.Role, err)
		}
		for _, name := range p.Names() {
			switch {
			case name == "strftime_now":
				return nil, options.Wrongf(fmt.Sprintf("[%d]", i), "calls strftime_now: a prompt that changes from day to day cannot be found again among the answers")
			case name == rowVariable:
				c.all = true
			case !slices.Contains(c.columns, name):
				c.columns = append(c.columns, name)
			}
		}
		c.messages, c.roles = append(c.messages, p), append(c.roles, m.Role)
	}
	return c, nil
}

// render makes the messages of a row, of whose columns those there are known; the template's messages are numbered from
// first. A system message without text is left out; any other is an error.
func (c *compiled) render(row rowfile.Row, there []string, first int) ([]stillhouse.Message, error) {
	columns := c.columns
	if c.all {
		columns = there
	}
	vars, all := jinja.NewDict(), jinja.NewDict()
	for _, name := range columns {
		v, err := jinja.ParseJSON(orNull(row[name]))
		if err != nil {
			return nil, rowfile.BadRowf("column %q: %w", name, err)
		}
		vars.Set(name, v)
		all.Set(name, v)
	}
	if c.all {
		vars.Set(rowVariable, all)
	}
	var out []stillhouse.Message
	for i, m := range c.messages {
		text, _, err := m.Execute(vars, jinja.Options{Strict: true})
		if err != nil {
			return nil, c.hint(rowfile.BadRowf("template[%d]: %w", first+i, err), there)
		}
		if strings.TrimSpace(text) == "" {
			if c.roles[i] == "system" || c.roles[i] == "developer" {
				continue
			}
			return nil, rowfile.BadRowf("template[%d]: the message of the %s is empty", first+i, c.roles[i])
		}
		out = append(out, stillhouse.Message{Role: c.roles[i], Content: text})
	}
	return out, nil
}

// hint adds to an error which of the template's columns no row has had so far: most often a name is misspelt.
func (c *compiled) hint(err error, there []string) error {
	for _, name := range c.columns {
		if !slices.Contains(there, name) {
			return rowfile.BadRowf("%w; there is no column %q so far: the columns there are %s", err, name, strings.Join(there, ", "))
		}
	}
	return err
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
