package jinja

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBounds runs templates that would take for ever, or all memory, or the stack.
func TestBounds(t *testing.T) {
	nested := strings.Repeat("{% for x in range(100000) %}", 4) + strings.Repeat("{% endfor %}", 4)
	doubling := "{% set ns = namespace(x='abcdefgh') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"
	for name, c := range map[string]struct{ source, want string }{
		"endless loop":      {nested, "steps"},
		"endless macro":     {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep"},
		"endless caller":    {"{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}", "deep"},
		"endless namespace": {"{% set ns = namespace() %}{% macro m() %}{{ ns.f() }}{% endmacro %}{% set ns.f = m %}{{ m() }}", "deep"},
		"long range":        {"{{ range(1000000000000) | length }}", "range too big"},
		"doubling string":   {doubling, "MiB"},
		"doubling list":     {strings.ReplaceAll(doubling, "'abcdefgh'", "[1, 2]"), "MiB"},
		"repeated string":   {"{{ 'a' * 1000000000000 }}", "MiB"},
		"repeated list":     {"{{ [1] * 1000000000000 }}", "MiB"},
		"repeated twice":    {"{{ 'a' * 10000000 * 10000000 }}", "MiB"},
		"large output":      {"{% set s = 'a' * 30000000 %}{{ s }}{{ s }}{{ s }}", "MiB"},
		"large replacement": {"{% set s = 'a' * 1000000 %}{{ s.replace('a', s) }}", "MiB"},
		"large join":        {"{% set s = 'a' * 10000000 %}{{ range(1000) | join(s) }}", "MiB"},
		"padding":           {"{{ 'a'.ljust(10000000000) }}", "MiB"},
		"percent padding":   {"{{ '%999999999999d' % 1 }}", "incomplete format"},
		"power":             {"{{ 9 ** (9 ** 9) }}", "too large"},
		"large number":      {"{% set ns = namespace(x=3) %}{% for i in range(1000) %}{% set ns.x = ns.x * ns.x %}{% endfor %}", "bits"},
		"large slices":      {"{{ [] | slice(10000000000) }}", "MiB"},
		"large batch":       {"{{ [1] | batch(10000000000, 'x') }}", "MiB"},
		"wide indent":       {"{{ [[[[1]]]] | tojson(indent=1000000000) | length * 0 + 1 / 0 }}", "division"},
		"deep value":        {"{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}", "deep"},
		"deep tojson":       {"{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}", "deep"},
		"deep comparison":   {"{% set ns = namespace(x=[], y=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}", "deep"},
		"deep brackets":     {"{{ " + strings.Repeat("(", 100000) + "1" + strings.Repeat(")", 100000) + " }}", "in one another"},
		"deep signs":        {"{{ " + strings.Repeat("-", 100000) + "1 }}", "in one another"},
		"deep nots":         {"{{ " + strings.Repeat("not ", 100000) + "1 }}", "in one another"},
		"deep blocks":       {strings.Repeat("{% if 1 %}", 10000), "in one another"},
		"deep conditions":   {"{{ " + strings.Repeat("1 if 0 else ", 10000) + "1 }}", "in one another"},
		"long sum":          {"{{ " + strings.Repeat("1 + ", 100000) + "1 }}", "deep"},
		"long filter":       {"{{ x" + strings.Repeat("|e", 100000) + " }}", "deep"},
		"too long":          {strings.Repeat("a", maxSource+1), "bytes"},
	} {
		_, err := render(c.source, NewDict())
		require.Error(t, err, name)
		require.Contains(t, err.Error(), c.want, name)
		var e *Error
		require.ErrorAs(t, err, &e, name)
		require.False(t, e.Raised, name)
	}
}

// TestInputStays checks that a template can't change what it was given: the next row would see it.
func TestInputStays(t *testing.T) {
	v, err := ParseJSON([]byte(`{"m": [{"role": "user"}], "d": {"a": [1]}}`))
	require.NoError(t, err)
	vars := v.(*Dict)
	const source = "{% set m = m[1:] %}{% set d = dict(d, b=2) %}{{ (d.a + [2]) | sort(reverse=true) }}{{ m }}{{ d.items() | reverse | list }}"
	first, err := render(source, vars)
	require.NoError(t, err)
	second, err := render(source, vars)
	require.NoError(t, err)
	require.Equal(t, "[2, 1][][('b', 2), ('a', [1])]", first)
	require.Equal(t, first, second)
}

// TestNoFiles runs templates that want to see a file, a module, or Python behind a value: nothing of it is there.
func TestNoFiles(t *testing.T) {
	const secret = "what nobody may read"
	path := filepath.Join(t.TempDir(), "secret.txt")
	require.NoError(t, os.WriteFile(path, []byte(secret), 0o644))
	vars := NewDict()
	vars.Set("path", path)
	for source, want := range map[string]string{
		"{% include path %}":                     "can't load other files",
		"{% include 'PATH' ignore missing %}":    "can't load other files",
		"{% import 'PATH' as m %}{{ m }}":        "can't load other files",
		"{% from 'PATH' import m %}{{ m }}":      "can't load other files",
		"{% extends path %}":                     "can't load other files",
		"{{ open(path).read() }}":                "'open' is undefined",
		"{{ self.__init__.__globals__ }}":        "'self' is undefined",
		"{{ cycler.__init__.__globals__.os }}":   "",
		"{{ ''.__class__.__mro__[1] }}":          "",
		"{{ path | attr('__class__') }}":         "",
		"{{ path.format.__globals__ }}":          "",
		"{{ '{0.__class__}'.format(path) }}":     "",
		"{{ lipsum.__globals__['os'].popen }}":   "",
		"{{ strftime_now.__globals__ }}":         "",
		"{{ namespace(x=1).__class__ }}":         "",
		"{{ raise_exception.__code__.co_code }}": "",
		"{% do path.__class__ %}":                "",
	} {
		text, err := render(strings.ReplaceAll(source, "PATH", path), vars)
		if want != "" {
			require.ErrorContains(t, err, want, source)
			continue
		}
		// Refused, or nothing: an undefined value prints as nothing.
		if err == nil {
			require.Empty(t, text, source)
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	_, err := render("a\n{{ 1 }}\n\n{{ x.y }}", NewDict())
	require.EqualError(t, err, "line 4: 'x' is undefined")
	_, err = render("a\n{% if %}", NewDict())
	require.EqualError(t, err, "line 2: expected an expression, got the end of the tag")
	_, err = render("{% import 'x' as y %}", NewDict())
	require.EqualError(t, err, "line 1: {% import %} is not allowed: a chat template can't load other files")
}

func TestGenerationSpans(t *testing.T) {
	tm, err := Parse("ab{% generation %}cdé{% endgeneration %}{% for i in [1, 2] %}{% generation %}{{ i }}{% endgeneration %}-{% endfor %}")
	require.NoError(t, err)
	text, spans, err := tm.Execute(NewDict(), Options{})
	require.NoError(t, err)
	require.Equal(t, "abcdé1-2-", text)
	var pieces []string
	for _, s := range spans {
		pieces = append(pieces, text[s.From:s.To])
	}
	require.Equal(t, []string{"cdé", "1", "2"}, pieces)
}

func TestStrftime(t *testing.T) {
	now := time.Date(2024, 7, 6, 15, 4, 9, 123456789, time.UTC)
	for format, want := range map[string]string{
		"%d %b %Y":             "06 Jul 2024",
		"%Y-%m-%d %H:%M:%S":    "2024-07-06 15:04:09",
		"%A, %B %-d, %y %I %p": "Saturday, July 6, 24 03 PM",
		"%a %j %U %W %w %u %V": "Sat 188 26 27 6 6 27",
		"%e|%k|%l|%f|%%|%q|%":  " 6|15| 3|123456|%|%q|%",
		"%D %F %T %R %c":       "07/06/24 2024-07-06 15:04:09 15:04 Sat Jul  6 15:04:09 2024",
	} {
		tm, err := Parse("{{ strftime_now('" + format + "') }}")
		require.NoError(t, err)
		text, _, err := tm.Execute(NewDict(), Options{Now: now})
		require.NoError(t, err)
		require.Equal(t, want, text, format)
	}
}

func TestParseJSON(t *testing.T) {
	for _, bad := range []string{"", "{", "[1,", "{\"a\"}", "1 2", "nul", strings.Repeat("[", 10000)} {
		_, err := ParseJSON([]byte(bad))
		require.Error(t, err, bad)
	}
	v, err := ParseJSON([]byte(`{"b": 1, "a": {"z": [1.0, 2, 1e400, 123456789012345678901]}, "b": 2}`))
	require.NoError(t, err)
	vars := NewDict()
	vars.Set("v", v)
	text, err := render("{{ v }}", vars)
	require.NoError(t, err)
	require.Equal(t, "{'b': 2, 'a': {'z': [1.0, 2, inf, 123456789012345678901]}}", text)
}

// FuzzRender looks for templates that end the process, run for ever or give a text beyond the bound.
func FuzzRender(f *testing.F) {
	for _, c := range readGolden(f).Cases {
		f.Add(c.Template)
	}
	vars := variables(f, readGolden(f).Vars)
	f.Fuzz(func(t *testing.T, source string) {
		text, err := render(source, vars)
		if err == nil && len(text) > maxOutput {
			t.Fatalf("a text of %d bytes", len(text))
		}
		if err != nil && strings.Contains(err.Error(), "can't be handled") {
			t.Fatal(err)
		}
	})
}
