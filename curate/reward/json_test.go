package reward

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/options"
)

func TestJSON(t *testing.T) {
	city := &options.Document{JSON: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"},"n":{"type":"integer","maximum":5}},"required":["city"]}`)}
	for _, c := range []struct {
		options                 JSON
		text, verdict, evidence string
	}{
		{JSON{}, `{"a": [1, 2.5, "x", null, true]}`, "right", `JSON: {"a":[1,2.5,"x",null,true]}`}, {JSON{}, ` 4 `, "right", "JSON: 4"}, {JSON{}, `{"a": 1} {"b": 2}`, "wrong", "something follows"},
		{JSON{}, `{"a": 1,}`, "wrong", "not JSON: "}, {JSON{}, `{'a': 1}`, "wrong", "at byte 2"}, {JSON{}, `{"a": 1`, "wrong", "not JSON: "}, {JSON{}, `NaN`, "wrong", "not JSON"}, {JSON{}, "Sure!", "wrong", "not JSON"},
		{JSON{}, "```json\n{\"a\": 1}\n```", "right", `JSON: {"a":1}`}, {JSON{}, "Here:\n```\n[1]\n```\nThat's it.", "right", "JSON: [1]"}, {JSON{}, "```json\n1\n```\n```json\n2\n```", "wrong", "2 blocks"},
		{JSON{}, "```python\n1\n```\n```json\n2\n```", "right", "JSON: 2"}, {JSON{Bare: true}, "```json\n{\"a\": 1}\n```", "wrong", "not JSON"}, {JSON{Bare: true}, "[1]", "right", "JSON: [1]"},
		{JSON{}, "<think>{</think>[1]", "right", "JSON: [1]"}, {JSON{}, "", "unparsable", "empty"}, {JSON{}, strings.Repeat("[", 201) + strings.Repeat("]", 201), "unparsable", "beyond what is read"},
		{JSON{}, strings.Repeat("[", 200) + strings.Repeat("]", 200), "right", "JSON"}, {JSON{}, "1e401", "unparsable", "the number 1e401"}, {JSON{}, "1e-99999999999999999999", "unparsable", "the number"}, {JSON{}, `"1e401"`, "right", "JSON"},
		{JSON{Schema: city}, `{"city": "Paris", "n": 5}`, "right", "valid by the schema"}, {JSON{Schema: city}, `{"n": 5}`, "wrong", "missing property 'city'"}, {JSON{Schema: city}, `{"city": 5}`, "wrong", `at "/city"`},
		{JSON{Schema: city}, `{"city": "a", "n": 5.0}`, "right", "valid"}, {JSON{Schema: city}, `{"city": "a", "n": 1e300}`, "wrong", `at "/n"`}, {JSON{Schema: city}, `[]`, "wrong", "want object"}, {JSON{Schema: city}, `{`, "wrong", "not JSON"},
	} {
		s := ask(t, &c.options, "", "", c.text)
		assert.Equal(t, c.verdict, s.Verdict, "%+v: %s", c, s.Evidence)
		assert.Contains(t, s.Evidence, c.evidence, "%+v", c)
	}
}

func TestJSONField(t *testing.T) {
	value := func(s string) *Literal { return &Literal{JSON: json.RawMessage(s)} }
	for _, c := range []struct {
		options                  JSONField
		reference, text, verdict string
	}{
		{JSONField{Path: "/a"}, "5", `{"a": 5}`, "right"}, {JSONField{Path: "/a"}, "5", `{"a": 5.00}`, "right"}, {JSONField{Path: "/a"}, "5", `{"a": 0.5e1}`, "right"}, {JSONField{Path: "/a"}, "5", `{"a": "5"}`, "right"},
		{JSONField{Path: "/a"}, "5", `{"a": 5.01}`, "wrong"}, {JSONField{Path: "/a"}, "5", `{"b": 5}`, "wrong"}, {JSONField{Path: "/a"}, "Paris", `{"a": "Paris"}`, "right"}, {JSONField{Path: "/a"}, `"Paris"`, `{"a": "Paris"}`, "right"},
		{JSONField{Path: "/a"}, "Paris", `{"a": "paris"}`, "wrong"}, {JSONField{Path: "/a"}, "true", `{"a": true}`, "right"}, {JSONField{Path: "/a"}, "", `{"a": 1}`, "unparsable"}, {JSONField{Path: "/a"}, "1", `a is 1`, "unparsable"},
		{JSONField{Path: "/a"}, "1", ``, "unparsable"}, {JSONField{}, `{"x": 1, "y": 2}`, `{"y": 2.0, "x": 1}`, "right"}, {JSONField{}, `[1, 2]`, `[2, 1]`, "wrong"}, {JSONField{Path: "/a/1/b"}, "3", `{"a": [0, {"b": 3}]}`, "right"},
		{JSONField{Path: "/a/2"}, "3", `{"a": [0, 3]}`, "wrong"}, {JSONField{Path: "/a/-1"}, "3", `{"a": [0, 3]}`, "wrong"}, {JSONField{Path: "/a/01"}, "3", `{"a": [0, 3]}`, "wrong"}, {JSONField{Path: "/a/b"}, "3", `{"a": 3}`, "wrong"},
		{JSONField{Path: "/a~1b/c~0d"}, "3", `{"a/b": {"c~d": 3}}`, "right"}, {JSONField{Path: "/"}, "3", `{"": 3}`, "right"}, {JSONField{Path: "/a", Value: value(`"5"`)}, "", `{"a": 5}`, "wrong"}, {JSONField{Path: "/a", Value: value(`5`)}, "7", `{"a": 5}`, "right"},
		{JSONField{Path: "/a", Value: value(`null`)}, "", `{"a": null}`, "right"}, {JSONField{Path: "/a", Value: value(`"null"`)}, "", `{"a": null}`, "wrong"}, {JSONField{Path: "/a"}, "1", "```json\n{\"a\": 1}\n```", "right"},
		{JSONField{Path: "/a"}, "12345678901234567890123", `{"a": 12345678901234567890124}`, "wrong"},
	} {
		s := ask(t, &c.options, "", c.reference, c.text)
		assert.Equal(t, c.verdict, s.Verdict, "%+v: %s", c, s.Evidence)
	}
	require.True(t, fieldReward{}.NeedsReference())
	require.False(t, fieldReward{fixed: true}.NeedsReference())
}

func FuzzReadJSON(f *testing.F) {
	for _, s := range []string{`{"a": [1, 2.5e3, "x\"", null]}`, "[", "1e5", "-", `"\ud800"`, "```json\n1\n```", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := readJSON(text)
		if err != nil {
			return
		}
		require.True(t, json.Valid([]byte(text)))
		again, err := json.Marshal(v)
		require.NoError(t, err)
		w, err := readJSON(string(again))
		require.NoError(t, err)
		require.Equal(t, canonical(v), canonical(w))
	})
}
