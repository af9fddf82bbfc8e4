package options

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// A value keeps its order and its numbers from YAML to JSON, and back.
func TestJSON(t *testing.T) {
	for in, want := range map[string]string{
		"{b: 1, a: [x, null, true, 1.50, 1e3]}":             `{"b":1,"a":["x",null,true,1.50,1e3]}`,
		"{n: 0x1F, m: 1_000, f: .5, s: '1', t: 2026-01-02}": `{"n":31,"m":1000,"f":0.5,"s":"1","t":"2026-01-02"}`,
		"{a: &x {c: <d>}, b: *x}":                           `{"a":{"c":"<d>"},"b":{"c":"<d>"}}`,
		"[]":                                                `[]`,
		"'yes'":                                             `"yes"`,
		"{1: a, true: b}":                                   `{"1":"a","true":"b"}`,
	} {
		var doc yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(in), &doc))
		got, err := JSON(doc.Content[0])
		require.NoError(t, err, in)
		assert.Equal(t, want, string(got))
		node, err := Node(got)
		require.NoError(t, err)
		written, err := yaml.Marshal(node)
		require.NoError(t, err)
		var again yaml.Node
		require.NoError(t, yaml.Unmarshal(written, &again))
		back, err := JSON(again.Content[0])
		require.NoError(t, err, "%s", written)
		assert.Equal(t, want, string(back), "%s", written)
	}
	for in, says := range map[string]string{
		"a: {x: 1,\n x: 2}": `line 2: has "x" twice`,
		"a: .inf":           "which JSON cannot say",
		"a: {<<: {b: 1}}":   `has "<<" as a key`,
		"a: {[b]: 1}":       "has a list as a key",
	} {
		var doc yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(in), &doc))
		_, err := JSON(doc.Content[0])
		require.Error(t, err, in)
		assert.Contains(t, ProblemsOf(err).In("f"), says)
	}
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{"{b: 1, a: [x, ~, yes, 1.5]}", "0o17", "!!binary YQ==", "- ? {a: b}\n  : c", "&a [*a]", "'\\\"'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var doc yaml.Node
		if yaml.Unmarshal([]byte(text), &doc) != nil || len(doc.Content) == 0 {
			return
		}
		got, err := JSON(doc.Content[0])
		if err == nil && !json.Valid(got) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
