package reward

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

// textRewards are the rewards that read text, with options and a row that they have something to say of.
var textRewards = map[string]string{
	"exact": `{"exact":{"of":"last_line","ignore_case":true,"ignore_space":true,"ignore_punctuation":true}}`, "contains": `{"contains":{"ignore_case":true}}`,
	"choice": `"choice"`, "numeric": `"numeric"`, "json": `{"json":{"schema":{"type":"object","required":["a"]}}}`, "json_field": `{"json_field":{"path":"/a"}}`,
	"ifeval": `{"ifeval":{"mode":"loose"}}`, "tool_call": `{"tool_call":{"check":"both"}}`, "format": `{"format":{"checks":["think","boxed","language"]}}`, "repetition": `"repetition"`,
}

const (
	everyMeta = `{"instruction_id_list":["length_constraints:number_words","detectable_format:json_format","change_case:english_lowercase","length_constraints:number_sentences"],` +
		`"kwargs":[{"num_words":3,"relation":"at least"},{},{},{"num_sentences":1,"relation":"at least"}]}`
	weather = `[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"]}}},` +
		`{"type":"function","function":{"name":"now"}}]`
	weatherCall = `{"name":"weather","arguments":{"city":"Paris","days":2}}`
)

// everyScore asks each of the rewards about one answer.
func everyScore(t testing.TB, text string, visit func(kind string, s stillhouse.Score)) {
	t.Helper()
	for kind, entry := range textRewards {
		var e Entry
		require.NoError(t, json.Unmarshal([]byte(entry), &e))
		r, err := e.New()
		require.NoError(t, err)
		reference := "4"
		if kind == "tool_call" {
			reference = weatherCall
		}
		c := candidate("p", 0, reference, text, 1)
		c.Prompt.Prompt[0].Content = "How many children walk home for their dinner, and why do they?"
		c.Meta, c.Tools = new(everyMeta), new(weather)
		visit(kind, r.Score(context.Background(), c))
	}
}

func TestTextRewardsHostile(t *testing.T) {
	for name, text := range map[string]string{
		"10 MB of one letter": strings.Repeat("a", 10_000_000), "10 MB of brackets": strings.Repeat("[", 10_000_000), "10 MB of objects": strings.Repeat(`{"a":`, 2_000_000),
		"10 MB of boxes": strings.Repeat(`\boxed{`, 10_000_000/7), "10 MB of invalid bytes": strings.Repeat("\xff\xc0", 5_000_000), "10 MB of reasoning": strings.Repeat("<think>", 10_000_000/7),
		"1 MB of calls": strings.Repeat(`<tool_call>{"name":"a"}`, 40_000), "1 MB of words": strings.Repeat("the children walk home ", 40_000), "1 MB of numbers": "[" + strings.Repeat("1e400,", 170_000) + "1]",
		"a huge exponent": `{"a":1e999999999}`, "a long number": strings.Repeat("9", 1_000_000), "1 MB of lists": strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000), "1 MB of fences": strings.Repeat("```json\n", 125_000),
	} {
		t.Run(name, func(t *testing.T) {
			everyScore(t, text, func(kind string, s stillhouse.Score) {
				assert.Contains(t, []string{stillhouse.Right, stillhouse.Wrong, stillhouse.Unparsable}, s.Verdict, kind)
				assert.NotEmpty(t, s.Evidence, kind)
				assert.Less(t, len(s.Evidence), 1500, kind)
				assert.True(t, s.Score >= 0 && s.Score <= 1, kind)
			})
		})
	}
}

// An empty answer, and one whose reasoning never ends, are unparsable; to ifeval an empty one follows nothing, and to format
// reasoning that is not closed is what it looks for. tool_call misses the call that its reference has.
func TestTextRewardsEmpty(t *testing.T) {
	for _, text := range []string{"", " \n\t", "<think>4", "<think></think>"} {
		everyScore(t, text, func(kind string, s stillhouse.Score) {
			want := stillhouse.Unparsable
			switch {
			case kind == "ifeval" && text != "<think>4", kind == "format" && strings.Contains(text, "<"), kind == "tool_call" && text != "<think>4" && text != "<think></think>":
				want = stillhouse.Wrong
			case kind == "repetition" && strings.Contains(text, "<"):
				want = stillhouse.Right
			}
			assert.Equal(t, want, s.Verdict, "%s of %q: %s", kind, text, s.Evidence)
			assert.NotEmpty(t, s.Evidence)
		})
	}
}

func TestTextRewardsInvalidUTF8(t *testing.T) {
	everyScore(t, "caf\xe9 4 \xff", func(kind string, s stillhouse.Score) {
		assert.True(t, utf8.ValidString(s.Evidence), "%s: %q", kind, s.Evidence)
		assert.NotEmpty(t, s.Evidence, kind)
	})
}

func FuzzTextRewards(f *testing.F) {
	for _, s := range []string{"4", "#### 4", `{"a": 4}`, "```json\n{\"a\": 4}\n```", `<tool_call>{"name":"weather","arguments":{"city":"Paris","days":2.0}}</tool_call>`, `[TOOL_CALLS][{"name":"now"}]`,
		`<function=now>{}</function>`, "<think>hm</think>\\boxed{4}", "\\boxed", "$4", "<<t>>\n***", `{"function":{"name":"now","arguments":"{}"}}`, "a a a a", "\xff", "</think>", "[1e5]", "[TOOL_CALLS]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		everyScore(t, text, func(kind string, s stillhouse.Score) {
			require.Contains(t, []string{stillhouse.Right, stillhouse.Wrong, stillhouse.Unparsable}, s.Verdict, kind)
			require.True(t, utf8.ValidString(s.Evidence), "%s: %q", kind, s.Evidence)
			require.NotEmpty(t, s.Evidence, kind)
			require.True(t, s.Score >= 0 && s.Score <= 1, kind)
			require.False(t, s.Verdict == stillhouse.Unparsable && s.Score != 0, kind)
		})
	})
}

// Bad options say which, what it is and what it must be.
func TestTextOptionsProblems(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "schema.json")
	require.NoError(t, os.WriteFile(broken, []byte("{"), 0o644))
	for _, c := range []struct{ entry, says string }{
		{`{"exact":{"of":"middle"}}`, `exact.of: is "middle": it must be whole, last_line or after`},
		{`{"exact":{"of":"after"}}`, `exact.mark: is missing`},
		{`{"exact":{"of":"whole","mark":"#"}}`, `exact.mark: is "#" and of is whole`},
		{`{"contains":{"texts":["a",""]}}`, `contains.texts[1]: is empty`},
		{`{"contains":{"texts":["a"],"need":"most"}}`, `contains.need: is "most": it must be all or any`},
		{`{"choice":{"choices":1}}`, `choice.choices: is 1: it must be between 2 and 26`},
		{`{"numeric":{"absolute":-1}}`, `numeric.absolute: is -1: it must be 0 or more`},
		{`{"numeric":{"relative":1}}`, `numeric.relative: is 1: it must be 0 or more and below 1`},
		{`{"json":{"schema":{"type":"objekt"}}}`, `json.schema: is no JSON Schema: at "/type"`},
		{`{"json":{"schema":{"$ref":"file:///etc/x.json"}}}`, `json.schema: is no JSON Schema: `},
		{`{"json":{"schema":"no/such/file.json"}}`, `json.schema: names a file that cannot be read: open no/such/file.json`},
		{`{"json":{"schema":"` + broken + `"}}`, `, which is not JSON`},
		{`{"json_field":{"path":"a.b[0]"}}`, `json_field.path: is "a.b[0]": it must be a JSON Pointer, which begins with a slash: /a/b/0`},
		{`{"json_field":{"path":"/a~2"}}`, `json_field.path: is "/a~2": after ~ there must be`},
		{`{"json_field":{"value":1e500}}`, `json_field.value: it is JSON beyond what is read`},
		{`{"ifeval":{"mode":"lax"}}`, `ifeval.mode: is "lax": it must be strict or loose`},
		{`{"tool_call":{"check":"names"}}`, `tool_call.check: is "names": it must be schema, reference or both`},
		{`{"tool_call":{"ordered":true}}`, `tool_call.ordered: is true and check is schema`},
		{`"format"`, `format.checks: is empty: name some of think, boxed, language`},
		{`{"format":{"checks":["thinking"]}}`, `format.checks[0]: is "thinking": it must be one of think, boxed, language`},
		{`{"format":{"checks":["think","think"]}}`, `format.checks[1]: is think, which is named already`},
		{`{"repetition":{"factor":-1}}`, `repetition.factor: is -1: it must be above 0`},
		{`{"repetition":{"min_words":-1}}`, `repetition.min_words: is -1: it must be 1 or more`},
	} {
		var e Entry
		require.ErrorContains(t, json.Unmarshal([]byte(c.entry), &e), c.says, c.entry)
	}
}

// What a config says of a schema in a file is written down with the schema itself.
func TestDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "schema.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"type":"array"}`), 0o644))
	for _, schema := range []string{`"` + path + `"`, `{"type":"array"}`, `"{\"type\":\"array\"}"`} {
		var e Entry
		require.NoError(t, json.Unmarshal([]byte(`{"json":{"schema":`+schema+`}}`), &e))
		out, err := json.Marshal(e)
		require.NoError(t, err)
		require.Contains(t, string(out), `"schema":{"type":"array"}`)
		require.Equal(t, "right", ask(t, e.Options, "", "", "[1]").Verdict)
		require.Equal(t, "wrong", ask(t, e.Options, "", "", "{}").Verdict)
	}
}
