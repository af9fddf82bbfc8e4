package jinja

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	for source, want := range map[string]string{
		"plain":                             "",
		"{{ b }}{{ a.x }}{{ c[d] }}{{ a }}": "a b c d",
		"{% for x in xs if x > y %}{{ x }}{{ loop.index }}{% else %}{{ z }}{% endfor %}": "xs y z",
		"{% set a, b = c %}{{ a }}{{ b }}":                                               "c",
		"{% set a %}{{ b }}{% endset %}{{ a }}":                                          "b",
		"{% macro m(p, q=r) %}{{ p }}{{ q }}{{ s }}{% endmacro %}{{ m(u, q=v) }}":        "r s u v",
		"{% call m(a) %}{{ caller() }}{{ b }}{% endcall %}":                              "a b m",
		"{% filter replace(a, 'x') %}{{ b }}{% endfilter %}":                             "a b",
		"{% with a = b %}{{ a }}{{ c }}{% endwith %}":                                    "b c",
		"{{ a | default(b) }}{{ c is defined }}{{ d is sameas e }}":                      "a b c d e",
		"{{ not a }}{{ -b }}{{ +c }}{{ d and e or f }}{{ g + h }}{{ i ~ j }}":            "a b c d e f g h i j",
		"{{ a < b <= c }}{{ d if e else f }}{{ [g, (h, i)] }}{{ {j: k} }}{{ l[m:n:o] }}": "a b c d e f g h i j k l m n o",
		"{{ f(*a, **b) }}{{ range(c) }}{{ strftime_now('%Y') }}":                         "a b c f strftime_now",
		"{% if a %}{{ b }}{% elif c %}{{ d }}{% else %}{{ e }}{% endif %}":               "a b c d e",
		"{% generation %}{{ a }}{% endgeneration %}":                                     "a",
	} {
		tm, err := Parse(source)
		require.NoError(t, err, source)
		require.Equal(t, want, strings.Join(tm.Names(), " "), source)
	}
}

// A strict template says what it lacks, where jinja2 prints None or nothing.
func TestStrict(t *testing.T) {
	v, err := ParseJSON([]byte(`{"a": null, "b": "x", "c": {"d": null}}`))
	require.NoError(t, err)
	for source, want := range map[string]string{
		"{{ b }}{% if a %}{{ a }}{% endif %}":          "x",
		"{{ a | default('none', true) }}":              "none",
		"{{ a | d('none', true) }}{{ a | tojson }}":    "nonenull",
		"{{ a is none }}{{ z is defined }}":            "TrueFalse",
		"{{ a or b }}{{ b if a else 'y' }}":            "xy",
		"{% for x in z %}{{ x }}{% endfor %}":          "",
		"{{ z | default('u') }}":                       "u",
		"{{ a }}":                                      "line 1: a is null: test for it",
		"\n{{ z }}":                                    "line 2: 'z' is undefined",
		"{{ a | upper }}":                              "line 1: a is null",
		"{{ z | trim }}":                               "line 1: 'z' is undefined",
		"{{ 'n: ' ~ a }}":                              "line 1: a is null",
		"{{ c.d }}":                                    "line 1: the value is null",
		"{{ c.e }}":                                    "line 1: 'dict object' has no attribute 'e'",
		"{{ 'x' if a }}":                               "line 1: the inline if-expression evaluated to false",
		"{% set q = a %}{% if not q %}none{% endif %}": "none",
	} {
		tm, err := Parse(source)
		require.NoError(t, err, source)
		text, _, err := tm.Execute(v.(*Dict), Options{Strict: true})
		if err != nil {
			require.ErrorContains(t, err, want, source)
			continue
		}
		require.Equal(t, want, text, source)
	}
}
