package reward

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"stillhouse"
)

// A call is one call of a tool.
type call struct {
	name      string
	arguments map[string]any
}

// maxCalls is how many calls of one candidate are read.
const maxCalls = 1000

var functionCall = regexp.MustCompile(`(?s)<function=([^>\s]+)>(.*?)</function>`)

// callsOf are the calls of a candidate: those of its tool_calls, else those in its text. The error says what is no call.
func callsOf(c stillhouse.Candidate) ([]call, error) {
	if c.ToolCalls != nil && strings.TrimSpace(*c.ToolCalls) != "" {
		v, err := readJSON(strings.ToValidUTF8(*c.ToolCalls, "\uFFFD"))
		if err != nil {
			return nil, fmt.Errorf("tool_calls: %w", err)
		}
		calls, err := readCalls(v)
		if err != nil || len(calls) > 0 {
			return calls, err
		}
	}
	if strings.TrimSpace(c.Text()) == "" {
		return nil, nil
	}
	text, s, ok := parsed(c)
	if !ok {
		return nil, errors.New(s.Evidence)
	}
	return callsIn(text)
}

// callsIn reads the calls that are written in a text.
func callsIn(text string) (calls []call, err error) {
	add := func(body string) error {
		v, err := readJSON(strings.TrimSpace(body))
		if err != nil {
			return fmt.Errorf("the call %q: %w", shorten(strings.TrimSpace(body)), err)
		}
		more, err := readCalls(v)
		if calls = append(calls, more...); err == nil && len(calls) > maxCalls {
			err = fmt.Errorf("there are more than %d calls", maxCalls)
		}
		return err
	}
	const open, shut = "<tool_call>", "</tool_call>"
	for rest := text; ; {
		_, after, ok := strings.Cut(rest, open)
		if !ok {
			break
		}
		body := after
		end, next := strings.Index(after, shut), strings.Index(after, open)
		switch {
		case next >= 0 && (end < 0 || next < end): // the mark at the end was left out
			body, rest = after[:next], after[next:]
		case end >= 0:
			body, rest = after[:end], after[end+len(shut):]
		default:
			rest = ""
		}
		if err := add(body); err != nil {
			return nil, err
		}
	}
	if len(calls) > 0 {
		return calls, nil
	}
	if _, after, ok := strings.Cut(text, "[TOOL_CALLS]"); ok {
		d := json.NewDecoder(strings.NewReader(after))
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("the calls %q: %w", shorten(after), jsonProblem(err))
		}
		return calls, add(string(raw))
	}
	for _, m := range functionCall.FindAllStringSubmatch(text, maxCalls+1) {
		v, err := readJSON(strings.TrimSpace(m[2]))
		if err != nil {
			return nil, fmt.Errorf("the call %q: %w", shorten(m[0]), err)
		}
		c, err := readCall(map[string]any{"name": m[1], "arguments": v})
		if err != nil {
			return nil, err
		}
		calls = append(calls, c)
	}
	if len(calls) > 0 {
		return calls, nil
	}
	if v, err := jsonIn(strings.TrimPrefix(text, "<|python_tag|>")); err == nil {
		if calls, err = readCalls(v); err == nil {
			return calls, nil
		}
	}
	return nil, nil // words, not calls
}

// readCalls reads one call, or a list of them.
func readCalls(v any) (calls []call, err error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	if len(list) > maxCalls {
		return nil, fmt.Errorf("there are more than %d calls", maxCalls)
	}
	for _, v := range list {
		c, err := readCall(v)
		if err != nil {
			return nil, err
		}
		calls = append(calls, c)
	}
	return calls, nil
}

// readCall reads {"name", "arguments"}, with "parameters" for arguments as Llama writes it, or {"function": …} around it
// as in OpenAI's API, where arguments are JSON in a text.
func readCall(v any) (c call, err error) {
	object, ok := v.(map[string]any)
	if !ok {
		return c, fmt.Errorf("%s is no call: it must be an object with name and arguments", brief(v))
	}
	if inner, ok := object["function"].(map[string]any); ok {
		object = inner
	}
	if c.name, ok = object["name"].(string); !ok || c.name == "" {
		return c, fmt.Errorf("%s is no call: it has no name", brief(v))
	}
	arguments, ok := object["arguments"]
	if !ok {
		arguments = object["parameters"]
	}
	if text, ok := arguments.(string); ok {
		if strings.TrimSpace(text) == "" {
			text = "{}"
		}
		if arguments, err = readJSON(text); err != nil {
			return c, fmt.Errorf("the arguments of %s: %w", shorten(c.name), err)
		}
	}
	switch a := arguments.(type) {
	case map[string]any:
		c.arguments = a
	case nil:
		c.arguments = map[string]any{}
	default:
		return c, fmt.Errorf("the arguments of %s are %s: they must be an object", shorten(c.name), brief(arguments))
	}
	return c, nil
}

// callsBriefly lists calls for an evidence.
func callsBriefly(calls []call) string {
	if len(calls) == 0 {
		return "no calls"
	}
	var out []string
	for i, c := range calls {
		if i == 3 {
			out = append(out, fmt.Sprintf("and %d more", len(calls)-i))
			break
		}
		out = append(out, shorten(c.name)+brief(c.arguments))
	}
	return strings.Join(out, " ")
}
