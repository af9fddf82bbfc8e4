package kinds

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

func (f *fruit) Validate() error {
	if f.Size < 0 {
		return stillhouse.Invalidf("size is %d: it must be positive", f.Size)
	}
	return nil
}

type basket struct {
	Label string `yaml:"label" json:"label"`
}

var set = Set[*fruit]{Thing: "fruit", New: map[string]func() *fruit{"apple": func() *fruit { return &fruit{} }, "pear": func() *fruit { return &fruit{} }}}

func parse(text string) (kind string, f *fruit, b basket, err error) {
	var doc yaml.Node
	if err = yaml.Unmarshal([]byte(text), &doc); err != nil {
		return
	}
	kind, f, err = set.ParseYAML(doc.Content[0], &b)
	return
}

func TestParse(t *testing.T) {
	price := 0.5
	for text, want := range map[string]fruit{
		"apple": {Size: 3}, "apple:": {Size: 3}, "{apple: {}}": {Size: 3}, "{apple: {size: 7, price: 0.5, label: x}}": {Size: 7, Price: &price},
		"{apple: {names: [a, b]}}": {Size: 3, Names: []string{"a", "b"}}, "{apple: {price: null}}": {Size: 3},
		"x: &o {size: 7}\napple: *o": {},
	} {
		kind, f, b, err := parse(text)
		if want.Size == 0 {
			require.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, "apple", kind)
		require.Equal(t, &want, f, text)

		node, err := YAML(kind, f, b)
		require.NoError(t, err)
		written, err := yaml.Marshal(node)
		require.NoError(t, err)
		_, again, b2, err := parse(string(written))
		require.NoError(t, err, string(written))
		require.Equal(t, f, again)
		require.Equal(t, b, b2)

		data, err := JSON(kind, f, b)
		require.NoError(t, err)
		require.True(t, json.Valid(data))
		var b3 basket
		_, again, err = set.ParseJSON(data, &b3)
		require.NoError(t, err)
		require.Equal(t, f, again)
		require.Equal(t, b, b3)
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"appel":                                 `line 1: fruit "appel" is not known: did you mean "apple"? There are apple, pear`,
		"zzzzzzzzzzzz":                          `fruit "zzzzzzzzzzzz" is not known`,
		"{apple: {\n size: 1,\n sice: 2}}":      `line 3: fruit "apple": option "sice" is not known: did you mean "size"? There are label, names, price, size`,
		"{apple: {size: -1}}":                   `line 1: fruit "apple": size is -1: it must be positive`,
		"{apple: {size: [1]}}":                  `size: [1] is not a whole number`,
		"{apple: {size: 1.5}}":                  `size: 1.5 is not a whole number`,
		"{apple: {names: 3}}":                   `names: 3 is not a list of text`,
		"{apple: {price: dear}}":                `price: dear is not a number`,
		"{apple: {size: 99999999999999999999}}": `is not a whole number`,
		"{apple: [1]}":                          `its options are a mapping`,
		"{apple: {}, pear: {}}":                 `write each fruit as its name`,
		"3":                                     `write each fruit as its name`,
	} {
		_, _, _, err := parse(text)
		require.ErrorContains(t, err, want, text)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), text)
	}
}
