package reward

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

func TestToolCall(t *testing.T) {
	const (
		now      = `{"name":"now","arguments":{}}`
		unclosed = `<tool_call>{"name":"weather","arguments":{"city":"Rome"}}`
		api      = `[{"id":"c1","type":"function","function":{"name":"weather","arguments":"{\"days\":2.0,\"city\":\"Paris\"}"}}]`
	)
	in := func(calls ...string) (out string) {
		for _, c := range calls {
			out += "<tool_call>\n" + c + "\n</tool_call>\n"
		}
		return out
	}
	for _, c := range []struct{ name, check, reference, calls, text, verdict, evidence string }{
		{"right by the schema", "schema", "", api, "", "right", `weather{"city":"Paris","days":2.0}`},
		{"in the text", "schema", "", "", "Let me see.\n" + in(weatherCall), "right", "weather"},
		{"not closed", "schema", "", "", unclosed, "right", "Rome"},
		{"not closed, and another", "schema", "", "", unclosed + in(now), "right", "now"},
		{"unknown tool", "schema", "", "", in(`{"name":"wether","arguments":{}}`), "wrong", `call 1: there is no tool "wether"`},
		{"second one is unknown", "schema", "", "", in(weatherCall, `{"name":"x"}`), "wrong", `call 2: there is no tool "x"`},
		{"required argument", "schema", "", "", in(`{"name":"weather","arguments":{"days":1}}`), "wrong", "missing property 'city'"},
		{"no arguments at all", "schema", "", "", in(`{"name":"weather"}`), "wrong", "missing property 'city'"},
		{"type", "schema", "", "", in(`{"name":"weather","arguments":{"city":"Paris","days":"two"}}`), "wrong", `at "/days"`},
		{"unknown argument", "schema", "", "", in(`{"name":"weather","arguments":{"city":"Paris","unit":"C"}}`), "wrong", `weather has no argument "unit"`},
		{"a tool without a schema takes anything", "schema", "", "", in(`{"name":"now","arguments":{"zone":"UTC"}}`), "right", "now"},
		{"arguments are no object", "schema", "", "", in(`{"name":"now","arguments":[1]}`), "unparsable", "must be an object"},
		{"no JSON", "schema", "", "", in(`{"name":"now"`), "unparsable", "not JSON"},
		{"arguments are no JSON", "schema", "", `[{"function":{"name":"weather","arguments":"{city"}}]`, "", "unparsable", "the arguments of weather: not JSON"},
		{"empty arguments", "schema", "", `[{"function":{"name":"now","arguments":""}}]`, "", "right", "now{}"},
		{"tool_calls are no JSON", "schema", "", "[", "", "unparsable", "tool_calls: not JSON"},
		{"no name", "schema", "", "", in(`{"tool":"now"}`), "unparsable", "it has no name"},
		{"no call", "schema", "", "", "It is sunny.", "unparsable", "no tool is called"},
		{"nothing", "schema", "", "", "", "unparsable", "no tool is called"},
		{"empty tool_calls, call in the text", "schema", "", "[]", in(now), "right", "now"},
		{"Mistral", "schema", "", "", "[TOOL_CALLS][" + weatherCall + "," + now + "]", "right", "weather"},
		{"Mistral, broken", "schema", "", "", "[TOOL_CALLS][{", "unparsable", "not JSON"},
		{"Llama", "schema", "", "", `<function=weather>{"city": "Paris"}</function>`, "right", "weather"},
		{"Llama 3.1", "schema", "", "", `<|python_tag|>{"name": "weather", "parameters": {"city": "Paris"}}`, "right", "weather"},
		{"in a fence", "schema", "", "", "```json\n" + weatherCall + "\n```", "right", "weather"},
		{"in the reasoning only", "schema", "", "", "<think>" + in(now) + "</think>Done.", "unparsable", "no tool is called"},

		{"same", "reference", weatherCall, api, "", "right", "as the reference"},
		{"reference in OpenAI's form", "reference", api, "", in(weatherCall), "right", "as the reference"},
		{"other value", "reference", weatherCall, "", in(`{"name":"weather","arguments":{"city":"Paris","days":3}}`), "wrong", "the reference has"},
		{"argument left out", "reference", weatherCall, "", in(`{"name":"weather","arguments":{"city":"Paris"}}`), "wrong", "the reference has"},
		{"parallel, any order", "reference", "[" + weatherCall + "," + now + "]", "", in(now, weatherCall), "right", "as the reference"},
		{"parallel, in order", "ordered", "[" + weatherCall + "," + now + "]", "", in(weatherCall, now), "right", "as the reference"},
		{"parallel, out of order", "ordered", "[" + weatherCall + "," + now + "]", "", in(now, weatherCall), "wrong", "the reference has"},
		{"one too many", "reference", now, "", in(now, now), "wrong", "now{} now{}; the reference has now{}"},
		{"none", "reference", now, "", "It is noon.", "wrong", "no calls; the reference has now{}"},
		{"none is right", "reference", "[]", "", "It is noon.", "right", "no calls, as the reference"},
		{"none would be right", "reference", "[]", "", in(now), "wrong", "the reference has no calls"},
		{"no reference", "reference", "", "", in(now), "unparsable", "no reference"},
		{"reference is none", "reference", "noon", "", in(now), "unparsable", "the reference is no call"},
		{"reference is a number", "reference", "12", "", in(now), "unparsable", "the reference is no call"},
		{"both", "both", weatherCall, "", in(weatherCall), "right", "as the reference"},
		{"both, other tool", "both", now, "", in(`{"name":"x"}`), "wrong", "there is no tool"},
		{"both, not the reference's", "both", now, "", in(weatherCall), "wrong", "the reference has"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := ToolCall{Check: c.check}
			if c.check == "ordered" {
				o = ToolCall{Check: "reference", Ordered: true}
			}
			require.NoError(t, o.Validate())
			r, err := o.New()
			require.NoError(t, err)
			require.Equal(t, c.check != "schema", r.(Comparer).NeedsReference())
			row := candidate("p", 0, c.reference, c.text, 1)
			row.Tools = new(weather)
			if c.calls != "" {
				row.ToolCalls = &c.calls
			}
			for range 2 { // the second time with tools that are known
				s := r.Score(context.Background(), row)
				require.Equal(t, c.verdict, s.Verdict, s.Evidence)
				require.Contains(t, s.Evidence, c.evidence)
				require.Equal(t, c.verdict == stillhouse.Right, s.Score == 1)
			}
		})
	}
}

func TestToolCallTools(t *testing.T) {
	for _, c := range []struct{ tools, verdict, evidence string }{
		{"", "unparsable", "the prompt has no tools"},
		{"[", "unparsable", "the prompt's tools: are not a list of tools"},
		{`[{"type":"function"}]`, "unparsable", "tool 1 has no name"},
		{`[{"name":"now","parameters":{"type":"objekt"}}]`, "unparsable", "now: its parameters are no JSON Schema"},
		{`[{"name":"now","parameters":{"type":"object","properties":{}}}]`, "wrong", `now has no argument "zone"`},
		{`[{"name":"now","parameters":{"type":"object","properties":{},"additionalProperties":true}}]`, "right", "now"},
		{`[{"name":"now","parameters":{"type":"object","properties":{},"additionalProperties":false}}]`, "wrong", "additional properties 'zone' not allowed"},
		{`[{"name":"now","parameters":null}]`, "right", "now"},
		{`[]`, "wrong", "there is no tool"},
	} {
		o := ToolCall{}
		o.EnsureDefaults()
		r, err := o.New()
		require.NoError(t, err)
		row := candidate("p", 0, "", `<tool_call>{"name":"now","arguments":{"zone":"UTC"}}</tool_call>`, 1)
		if c.tools != "" {
			row.Tools = &c.tools
		}
		s := r.Score(context.Background(), row)
		require.Equal(t, c.verdict, s.Verdict, "%s: %s", c.tools, s.Evidence)
		require.Contains(t, s.Evidence, c.evidence)
	}
}
