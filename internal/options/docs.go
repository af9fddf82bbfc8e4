package options

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// An Entry documents one key.
type Entry struct {
	Key     string // train.learning_rate
	Type    string // number, whole number, text, true or false, list of …, keys and values
	Default string // as YAML; empty when there is none
	Doc     string // the field's doc tag
}

// Forms is a value that can be written in more than one form.
type Forms interface {
	// OptionForms are the forms in words and, for the form of keys and values, the struct of the keys with their defaults.
	OptionForms() (what string, keys any)
}

// Describe lists the keys of an option struct, in the struct's order, with the values it holds as their defaults. It
// panics on a key without a doc tag: an undocumented key is a mistake in the program.
func Describe(v any) []Entry { return describe(reflect.ValueOf(v), "") }

func describe(v reflect.Value, path string) (out []Entry) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v = reflect.New(v.Type().Elem())
		}
		v = v.Elem()
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, inline := keyOf(f)
		switch {
		case inline:
			out = append(out, describe(v.Field(i), path)...)
			continue
		case name == "":
			continue
		}
		key, doc := join(path, name), f.Tag.Get("doc")
		if forms, ok := v.Field(i).Interface().(Forms); ok {
			what, keys := forms.OptionForms()
			out = append(out, Entry{Key: key, Type: what, Default: defaultOf(v.Field(i)), Doc: doc})
			out = append(out, describe(reflect.ValueOf(keys), key)...)
			continue
		}
		if nested(f.Type) {
			if doc != "" {
				out = append(out, Entry{Key: key, Type: "keys and values", Doc: doc})
			}
			out = append(out, describe(v.Field(i), key)...)
			continue
		}
		if doc == "" {
			panic(fmt.Sprintf("options: %s.%s has no doc tag", v.Type(), f.Name))
		}
		def := defaultOf(v.Field(i))
		if f.Tag.Get("default") == "-" { // its zero is nothing that can be written
			def = ""
		}
		out = append(out, Entry{Key: key, Type: typeName(f.Type), Default: def, Doc: doc})
		if f.Type.Kind() == reflect.Slice && documented(f.Type.Elem()) {
			out = append(out, describe(reflect.New(f.Type.Elem()), key+"[]")...)
		}
	}
	return out
}

// documented reports whether a struct in a list has keys with doc tags.
func documented(t reflect.Type) bool {
	if !nested(t) {
		return false
	}
	_, own := reflect.New(t).Interface().(yaml.Unmarshaler)
	return !own
}

// nested reports whether a field's keys are documented one by one.
func nested(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	for f := range t.Fields() {
		if name, inline := keyOf(f); name != "" || inline {
			return true
		}
	}
	return false
}

func typeName(t reflect.Type) string {
	if t == reflect.TypeFor[time.Duration]() {
		return "duration"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct || t.Elem().Kind() == reflect.Interface {
			return "list"
		}
		return "list of " + typeName(t.Elem())
	case reflect.Map, reflect.Struct:
		return "keys and values"
	case reflect.Interface:
		return "any"
	}
	return strings.TrimPrefix(wanted[t.Kind()], "a ")
}

func defaultOf(v reflect.Value) string {
	if v.IsZero() && v.Kind() != reflect.Bool && !v.CanFloat() && !v.CanInt() && !v.CanUint() {
		return ""
	}
	b, err := yaml.Marshal(v.Interface())
	if err != nil {
		return ""
	}
	s := strings.TrimSpace(string(b))
	if s == "[]" || s == "{}" || s == "null" || strings.Contains(s, "\n") {
		return ""
	}
	return s
}

// Table writes entries as a Markdown table.
func Table(entries []Entry) string {
	var b strings.Builder
	b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, e := range entries {
		def := ""
		if e.Default != "" {
			def = "`" + e.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.Key, e.Type, def, forMarkdown.Replace(e.Doc))
	}
	return b.String()
}

// forMarkdown keeps a text from being read as the border of a cell or as HTML.
var forMarkdown = strings.NewReplacer("|", "\\|", "<", "&lt;")
