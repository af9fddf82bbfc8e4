package options

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

type inner struct {
	Rate  float64       `yaml:"learning_rate"`
	Steps int           `yaml:"steps"`
	Name  string        `yaml:"name"`
	On    *bool         `yaml:"on"`
	List  []string      `yaml:"list"`
	Wait  time.Duration `yaml:"wait"`
}

type outer struct {
	Train inner          `yaml:"train"`
	Extra map[string]any `yaml:"extra"`
	Own   own            `yaml:"own"`
}

type own struct{ got string }

func (o *own) UnmarshalYAML(n *yaml.Node) error {
	if n.Value == "bad" {
		return Problem{Line: n.Line, Key: "part", Text: "is bad"}
	}
	o.got = n.Value
	return nil
}

func parse(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return n.Content[0]
}

func TestDecode(t *testing.T) {
	var got outer
	err := Decode(parse(t, "train: {learning_rate: 8e-5, steps: 3, name: 007, on: false, list: [a, b], wait: 90s}\nextra: {k: 1}\nown: x\n"), &got)
	if err != nil {
		t.Fatal(err)
	}
	off := false
	want := outer{Train: inner{8e-5, 3, "007", &off, []string{"a", "b"}, 90 * time.Second}, Extra: map[string]any{"k": 1}, Own: own{"x"}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(own{})); d != "" {
		t.Error(d)
	}
}

func TestDecodeProblems(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown, with the nearest", "train: {learning_rte: 1}", `line 1: train.learning_rte: is not a key: did you mean "learning_rate"?`},
		{"unknown, nothing near", "train:\n  zzzzzzzzzzz: 1", `line 2: train.zzzzzzzzzzz: is not a key: what can stand here: learning_rate, list, name, on, steps, wait`},
		{"text for a number", "train: {steps: many}", `line 1: train.steps: wants a whole number, not "many"`},
		{"a fraction for a whole number", "train: {steps: 1.5}", `line 1: train.steps: wants a whole number, not "1.5"`},
		{"a quoted number", `train: {learning_rate: "1"}`, `line 1: train.learning_rate: wants a number, not "1"`},
		{"a list for text", "train: {name: [a]}", `line 1: train.name: wants text, not a list`},
		{"text for keys", "train: hello", `line 1: train: wants keys and values, not "hello"`},
		{"a bare number for a duration", "train: {wait: 5}", `line 1: train.wait: wants a duration such as 90s or 5m, not "5"`},
		{"twice", "train: {steps: 1, steps: 2}", `line 1: train.steps: is there twice, first in line 1`},
		{"twice in a table", "extra:\n  a: 1\n  a: 2", `line 3: extra.a: is there twice, first in line 2`},
		{"twice in a table's value", "extra:\n  a: {b: 1,\n    b: 2}", `line 3: extra.a: mapping key "b" already defined at line 2`},
		{"itself", "extra: {x: &a [*a]}", `line 1: extra.x: anchor 'a' value contains itself`},
		{"a list for text in a list", "train: {list: [a, [b]]}", `line 1: train.list[1]: wants text, not a list`},
		{"nothing in a list", "train:\n  list:\n  - a\n  -", `line 4: train.list[1]: wants text, not nothing`},
		{"bytes for text", "train: {name: !!binary aGk=}", `line 1: train.name: wants text, not "aGk="`},
		{"a long text", "train: {steps: '0123456789012345678901234567890123456789012345678901234567890123'}", `line 1: train.steps: wants a whole number, not "012345678901234567890123456789012345678901234567890123456789…"`},
		{"a type's own problem", "own: bad", `line 1: own.part: is bad`},
		{"all at once", "train: {stepz: 1}\nextre: {}", "line 1: train.stepz: is not a key: did you mean \"steps\"?\nline 2: extre: is not a key: did you mean \"extra\"?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got outer
			err := Decode(parse(t, tc.text), &got)
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// Keys of several structs, and of none, count together.
func TestDecodeSeveral(t *testing.T) {
	type more struct {
		Weight float64 `yaml:"weight"`
	}
	var a inner
	var b more
	var c own
	if err := Decode(parse(t, "{steps: 2, weight: 0.5, extra: x}"), &a, &b, Fields{"extra": &c}); err != nil || a.Steps != 2 || b.Weight != 0.5 || c.got != "x" {
		t.Errorf("%+v %+v %+v: %v", a, b, c, err)
	}
	err := Decode(parse(t, "{stepz: 2, wight: 0.5, extre: x, extra: bad}"), &a, &b, Fields{"extra": &c})
	const want = "line 1: stepz: is not a key: did you mean \"steps\"?\nline 1: wight: is not a key: did you mean \"weight\"?\n" +
		"line 1: extre: is not a key: did you mean \"extra\"?\nline 1: extra.part: is bad"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
}

// A pointer to keys and values is there when its key is, one to a single value is not.
func TestDecodeNothing(t *testing.T) {
	var got struct {
		Keys *inner  `yaml:"keys"`
		None *inner  `yaml:"none"`
		Rate *string `yaml:"rate"`
	}
	if err := Decode(parse(t, "keys:\nrate:\n"), &got); err != nil || got.Keys == nil || got.None != nil || got.Rate != nil {
		t.Errorf("%+v: %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("train: {steps: 1}")
	f.Add("extra: &a {x: [*a]}")
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(text), &n) != nil || len(n.Content) == 0 {
			return
		}
		var got outer
		if err := Decode(n.Content[0], &got); err != nil && !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("an error without a line: %v", err)
		}
	})
}
