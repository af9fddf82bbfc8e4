package jinja

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type golden struct {
	Vars  json.RawMessage `json:"vars"`
	Cases []struct {
		Name     string          `json:"name"`
		Template string          `json:"template"`
		Vars     json.RawMessage `json:"vars"`
		Text     *string         `json:"text"`
		Error    string          `json:"error"`
	} `json:"cases"`
}

func readGolden(t testing.TB) (g golden) {
	raw, err := os.ReadFile("../../../testdata/jinja/cases.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &g))
	return g
}

func variables(t testing.TB, raws ...json.RawMessage) *Dict {
	all := NewDict()
	for _, raw := range raws {
		if raw == nil {
			continue
		}
		v, err := ParseJSON(raw)
		require.NoError(t, err)
		d := v.(*Dict)
		for i, k := range d.keys {
			all.set(k, d.values[i])
		}
	}
	return all
}

func render(source string, vars *Dict) (string, error) {
	t, err := Parse(source)
	if err != nil {
		return "", err
	}
	text, _, err := t.Execute(vars, Options{})
	return text, err
}

// TestCases compares with jinja2: the text, or that there is an error. testdata/jinja/make.py makes the cases.
func TestCases(t *testing.T) {
	g := readGolden(t)
	require.NotEmpty(t, g.Cases)
	for _, c := range g.Cases {
		text, err := render(c.Template, variables(t, g.Vars, c.Vars))
		if c.Text == nil {
			if err == nil {
				t.Errorf("%s\n got %q\nwant the error %s", c.Template, text, c.Error)
			} else if message, ok := strings.CutPrefix(c.Error, "TemplateError: "); ok && message != err.Error() {
				t.Errorf("%s\n got the error %s\nwant %s", c.Template, err, message)
			}
			continue
		}
		if err != nil {
			t.Errorf("%.200s\n got the error %s\nwant %q", c.Template, err, *c.Text)
		} else if text != *c.Text {
			t.Errorf("%.200s\n got %q\nwant %q", c.Template, text, *c.Text)
		}
	}
}
