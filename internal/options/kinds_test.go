package options

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse"
)

type fruit struct {
	Size  int      `yaml:"size" json:"size"`
	Price *float64 `yaml:"price" json:"price"`
	Names []string `yaml:"names,omitempty" json:"names,omitempty"`
}

func (f *fruit) EnsureDefaults() {
	if f.Size == 0 {
		f.Size = 3
	}
}

func (f *fruit) Validate() error { return nil }

type basket struct {
	Label string `yaml:"label" json:"label"`
}

var fruits = Kinds[*fruit]{Thing: "a fruit", New: map[string]func() *fruit{"apple": func() *fruit { return &fruit{} }, "pear": func() *fruit { return &fruit{} }}}

func TestKinds(t *testing.T) {
	price := 0.5
	for text, want := range map[string]fruit{
		"apple":       {},
		"apple:":      {},
		"{apple: {}}": {},
		"{apple: {size: 7, price: 0.5, label: x}}":    {Size: 7, Price: &price},
		"{apple: {names: [a, b]}}":                    {Names: []string{"a", "b"}},
		"{apple: {names: []}}":                        {},
		"{apple: {price: null}}":                      {},
		"{apple: {size: 7, label: \"\\u00e4\\\\/\"}}": {Size: 7},
	} {
		var b, b2, b3 basket
		kind, f, err := fruits.Decode(parse(t, text), &b)
		require.NoError(t, err, text)
		require.Equal(t, "apple", kind)
		require.Equal(t, &want, f, text)

		node, err := EncodeYAML(kind, f, b)
		require.NoError(t, err)
		written, err := yaml.Marshal(node)
		require.NoError(t, err)
		_, again, err := fruits.Decode(parse(t, string(written)), &b2)
		require.NoError(t, err, string(written))
		require.Equal(t, f, again)
		require.Equal(t, b, b2)

		data, err := EncodeJSON(kind, f, b)
		require.NoError(t, err)
		require.True(t, json.Valid(data))
		_, again, err = fruits.DecodeJSON(data, &b3)
		require.NoError(t, err)
		require.Equal(t, f, again)
		require.Equal(t, b, b3)
	}
}

func TestKindsProblems(t *testing.T) {
	for text, want := range map[string]string{
		"appel":                                 `line 1: "appel" is not a fruit: did you mean "apple"?`,
		"zzzzzzzzzzzz":                          `line 1: "zzzzzzzzzzzz" is not a fruit: what can stand here: apple, pear`,
		"{apple: {\n size: 1,\n sice: 2}}":      `line 3: apple.sice: is not a key: did you mean "size"?`,
		"{apple: {labl: x}}":                    `line 1: apple.labl: is not a key: did you mean "label"?`,
		"{apple: {zzzzzzzzzz: x}}":              `line 1: apple.zzzzzzzzzz: is not a key: what can stand here: label, names, price, size`,
		"{apple: {size: [1]}}":                  `line 1: apple.size: wants a whole number, not a list`,
		"{apple: {size: 1.5}}":                  `line 1: apple.size: wants a whole number, not "1.5"`,
		"{apple: {names: 3}}":                   `line 1: apple.names: wants a list, not "3"`,
		"{apple: {names: [[3]]}}":               `line 1: apple.names[0]: wants text, not a list`,
		"{apple: {price: dear}}":                `line 1: apple.price: wants a number, not "dear"`,
		"{apple: {label: true}}":                `line 1: apple.label: wants text, not "true"`,
		"{apple: {size: 99999999999999999999}}": `line 1: apple.size: wants a whole number, not "99999999999999999999"`,
		"{apple: {size: 1, size: 2}}":           `line 1: apple.size: is there twice, first in line 1`,
		"{apple: {label: 1,\n label: 2}}":       `line 2: apple.label: is there twice, first in line 1`,
		"{apple: [1]}":                          `line 1: apple: wants keys and values, not a list`,
		"{apple: {}, pear: {}}":                 `line 1: wants one name, or one name with its options, such as apple or {apple: {}}, not keys and values`,
		"{3: {}}":                               `line 1: wants one name, or one name with its options, such as apple or {apple: {}}, not keys and values`,
		"3":                                     `line 1: wants one name, or one name with its options, such as apple or {apple: {}}, not "3"`,
		"&a {apple: *a}":                        `line 1: apple.apple: is not a key: what can stand here: label, names, price, size`,
		"{apple: {size: x, sice: 1}}":           "line 1: apple.size: wants a whole number, not \"x\"\nline 1: apple.sice: is not a key: did you mean \"size\"?",
	} {
		_, _, err := fruits.Decode(parse(t, text), &basket{})
		require.EqualError(t, err, want, text)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), text)
	}
}

// What is read of JSON can be written and is read again as it was; what is not read is the user's to mend.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{`"apple"`, `{"apple": {"size": 1e2, "price": -0.5, "names": ["\ud83d\ude00", "\/"], "label": "x"}}`, `{"pear": null}`, `[[`, `{"apple": {"size": 1, "size": 1}}`, "nul"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			return
		}
		var b, b2 basket
		kind, o, err := fruits.DecodeJSON(data, &b)
		if err != nil {
			require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
			return
		}
		written, err := EncodeJSON(kind, o, b)
		require.NoError(t, err)
		_, again, err := fruits.DecodeJSON(written, &b2)
		require.NoError(t, err, "%s", written)
		require.Equal(t, o, again)
		require.Equal(t, b, b2)
	})
}

// JSON is read as YAML is, and has no lines.
func TestKindsProblemsInJSON(t *testing.T) {
	for text, want := range map[string]string{
		`"appel"`:                                             `"appel" is not a fruit: did you mean "apple"?`,
		`{"apple": {"sice": 2}}`:                              `apple.sice: is not a key: did you mean "size"?`,
		`{"apple": {"size": 4.0}}`:                            `apple.size: wants a whole number, not "4.0"`,
		`{"apple": {"size": "4"}}`:                            `apple.size: wants a whole number, not "4"`,
		`{"apple": {"size": 1, "size": 2}}`:                   `apple.size: is there twice`,
		`{"apple": {"price": 1e999}}`:                         `apple.price: wants a number, not "1e999"`,
		`{"apple": {"label": "\ud83d\ude00", "size": false}}`: `apple.size: wants a whole number, not "false"`,
		`{"apple": {}, "pear": {}}`:                           `wants one name, or one name with its options, such as apple or {apple: {}}, not keys and values`,
		`null`:                                                `wants one name, or one name with its options, such as apple or {apple: {}}, not nothing`,
	} {
		_, _, err := fruits.DecodeJSON([]byte(text), &basket{})
		require.EqualError(t, err, want, text)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), text)
	}
	var b basket
	_, _, err := fruits.DecodeJSON([]byte(`{"apple": {"label": "\ud83d\ude00 \/ 1"}}`), &b)
	require.NoError(t, err)
	require.Equal(t, "😀 / 1", b.Label)
}
