package chat

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"stillhouse"
	"stillhouse/internal/chat/jinja"
)

// FallbackTemplate is the chat template of a tokenizer without one: System, User and Assistant with blank lines
// between them. A generation prompt changes nothing.
const FallbackTemplate = `{% for message in messages %}
                {% if message['role'] == 'system' %}System: {{ message['content'] }}

                {% elif message['role'] == 'user' %}User: {{ message['content'] }}

                {% elif message['role'] == 'assistant' %}Assistant: {{ message['content'] }} <|endoftext|>
                {% endif %}
                {% endfor %}`

// RenderOptions say how a conversation is rendered. The zero value renders it as it is.
type RenderOptions struct {
	AddGenerationPrompt bool            // end where the assistant is to speak
	Tools               json.RawMessage // a JSON array of tool schemas
	Vars                map[string]any  // further variables of the template, such as enable_thinking
	Now                 time.Time       // the time that strftime_now gives; the zero value is the time of the call
}

// TemplateVars are variables of a template that are read from JSON: their objects keep the order of their keys, their
// whole numbers all digits.
type TemplateVars map[string]any

// UnmarshalJSON reads an object.
func (v *TemplateVars) UnmarshalJSON(raw []byte) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	*v = make(TemplateVars, len(values))
	for name, value := range values {
		(*v)[name] = value
	}
	return nil
}

// templates holds the chat templates of a tokenizer, parsed when they are first used.
type templates struct {
	source map[string]string
	mu     sync.Mutex
	parsed map[string]*jinja.Template
}

// Template is the source of the chat template: the tokenizer's own, else [FallbackTemplate].
func (t *Tokenizer) Template() string {
	if source, ok := t.templates.source["default"]; ok {
		return source
	}
	return FallbackTemplate
}

// SetTemplate puts another chat template in the place of the tokenizer's own. It must not be called while the tokenizer
// is in use.
func (t *Tokenizer) SetTemplate(source string) {
	t.templates = templates{source: map[string]string{"default": source}}
}

// HasTemplate says whether the tokenizer has a chat template of its own.
func (t *Tokenizer) HasTemplate() bool { return len(t.templates.source) > 0 }

// named gives the template to use, of several that for tools where there are any, else the default: its name, and its
// source, which is "" where there is none of that name.
func (t *templates) named(tools bool) (name, source string) {
	if len(t.source) == 0 {
		return "default", FallbackTemplate
	}
	if source, ok := t.source["tool_use"]; ok && tools && len(t.source) > 1 {
		return "tool_use", source
	}
	return "default", t.source["default"]
}

// choose gives the template to use, parsed.
func (t *templates) choose(tools bool) (*jinja.Template, error) {
	name, source := t.named(tools)
	if _, ok := t.source[name]; !ok && len(t.source) > 0 {
		return nil, stillhouse.Invalidf("chat template: the tokenizer has several templates and none is named default")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, ok := t.parsed[name]; ok {
		return p, nil
	}
	p, err := jinja.Parse(source)
	if err != nil {
		return nil, stillhouse.Invalidf("chat template: %w", err)
	}
	if t.parsed == nil {
		t.parsed = map[string]*jinja.Template{}
	}
	t.parsed[name] = p
	return p, nil
}

// Render gives the text of a conversation, as transformers' apply_chat_template(tokenize=False) does.
func (t *Tokenizer) Render(messages []Message, o RenderOptions) (string, error) {
	text, _, err := t.render(messages, o)
	return text, err
}

func (t *Tokenizer) render(messages []Message, o RenderOptions) (string, []jinja.Span, error) {
	if len(messages) == 0 {
		return "", nil, stillhouse.Invalidf("chat template: the conversation has no message")
	}
	template, err := t.templates.choose(!null(o.Tools))
	if err != nil {
		return "", nil, err
	}
	vars, err := t.variables(messages, o)
	if err != nil {
		return "", nil, stillhouse.Invalidf("chat template: %w", err)
	}
	text, generated, err := template.Execute(vars, jinja.Options{Now: o.Now})
	if err != nil {
		return "", nil, stillhouse.Invalidf("chat template: %w", err)
	}
	return text, generated, nil
}

// arguments are those of apply_chat_template that no template sees: among a row's chat_template_kwargs they would change
// what transformers does.
var arguments = []string{"conversation", "chat_template", "continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length",
	"return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"}

// variables are what the template sees: the special tokens by name, what the caller adds, and the conversation.
func (t *Tokenizer) variables(messages []Message, o RenderOptions) (*jinja.Dict, error) {
	vars := jinja.NewDict()
	for _, name := range specialNames {
		if token, ok := t.config.special[name]; ok {
			vars.Set(name, token.Content)
		}
	}
	for name, v := range o.Vars {
		switch {
		case slices.Contains([]string{"messages", "tools", "add_generation_prompt"}, name):
			return nil, fmt.Errorf("the variable %s is set by the renderer: leave it out", name)
		case slices.Contains(arguments, name):
			return nil, fmt.Errorf("%s is an argument of transformers' apply_chat_template and no variable of a template: leave it out", name)
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
		value, err := jinja.ParseJSON(raw)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", name, err)
		}
		vars.Set(name, value)
	}
	list := make(jinja.List, len(messages))
	for i, m := range messages {
		var err error
		if list[i], err = m.value(); err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
	}
	vars.Set("messages", list)
	var tools jinja.Value
	if !null(o.Tools) {
		var err error
		if tools, err = jinja.ParseJSON(o.Tools); err != nil {
			return nil, fmt.Errorf("tools: %w", err)
		}
	}
	vars.Set("tools", tools)
	if _, ok := vars.Get("documents"); !ok {
		vars.Set("documents", nil)
	}
	vars.Set("add_generation_prompt", o.AddGenerationPrompt)
	return vars, nil
}

// EncodeChat renders a conversation and gives its ids. Assistant says of each id whether it lies in what the template's
// {% generation %} blocks enclose; it is all false for a template without them.
func (t *Tokenizer) EncodeChat(messages []Message, o RenderOptions) (ids []int32, assistant []bool, err error) {
	text, generated, err := t.render(messages, o)
	if err != nil {
		return nil, nil, err
	}
	ids, spans := t.EncodeSpans(text)
	return ids, mask(text, spans, generated), nil
}
