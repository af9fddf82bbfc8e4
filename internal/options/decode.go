// Package options reads option structs from YAML, strictly: a key that is not there, a value of the wrong type or a key
// given twice is an error with its line, the key's path and the nearest right key. It also writes the page that
// documents them.
package options

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Decode reads node into the structs that into point to, whose keys count together; one of them may be [Fields]. The
// error is [Problems]: every one that was found. A type that implements yaml.Unmarshaler reads itself; Problems and
// Problem that it returns are taken over under its key.
func Decode(node *yaml.Node, into ...any) error {
	d := &decoder{}
	fields := map[string]reflect.Value{}
	for _, part := range into {
		if extra, ok := part.(Fields); ok {
			for name, read := range extra {
				fields[name] = reflect.ValueOf(read).Elem()
			}
			continue
		}
		maps.Copy(fields, fieldsOf(reflect.ValueOf(part).Elem()))
	}
	d.object(resolve(node), fields, "")
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return a.Line - b.Line })
	return d.problems
}

// Fields are keys that no struct has, each with a pointer to what reads its value.
type Fields map[string]yaml.Unmarshaler

type decoder struct{ problems Problems }

func (d *decoder) wrong(n *yaml.Node, key, format string, args ...any) {
	d.problems = append(d.problems, Problem{Line: n.Line, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, key string) {
	n = resolve(n)
	if isNull(n) && v.Kind() != reflect.Struct && !section(v.Type()) {
		return
	}
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		d.value(n, p.Elem(), key)
		v.Set(p)
		return
	}
	if u, ok := v.Addr().Interface().(yaml.Unmarshaler); ok {
		if err := u.UnmarshalYAML(n); err != nil {
			d.own(n, key, err)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, fieldsOf(v), key)
	case reflect.Slice:
		d.list(n, v, key)
	case reflect.Map:
		d.table(n, v, key)
	case reflect.Interface:
		var a any
		if err := n.Decode(&a); err != nil {
			d.own(n, key, err)
			return
		}
		if a != nil {
			v.Set(reflect.ValueOf(a))
		}
	default:
		d.scalar(n, v, key)
	}
}

// own takes over the problems of a type that read itself, under this key.
func (d *decoder) own(n *yaml.Node, key string, err error) {
	ps := ProblemsOf(err)
	var types *yaml.TypeError
	switch {
	case errors.As(err, &types):
		for _, text := range types.Errors {
			ps = append(ps, Problem{Text: text})
		}
	case ps == nil:
		ps = Problems{{Text: strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	for _, p := range ps {
		if m := ownLine.FindStringSubmatch(p.Text); m != nil && p.Line == 0 {
			p.Line, _ = strconv.Atoi(m[1])
			p.Text = m[2]
		}
		if p.Line == 0 {
			p.Line = n.Line
		}
		p.Key = join(key, p.Key)
		d.problems = append(d.problems, p)
	}
}

// ownLine is a text that begins with its line.
var ownLine = regexp.MustCompile(`^(?s)line (\d+): (.*)$`)

func (d *decoder) object(n *yaml.Node, fields map[string]reflect.Value, key string) {
	d.pairs(n, key, func(k, val *yaml.Node, path string) {
		if f, ok := fields[k.Value]; ok {
			d.value(val, f, path)
			return
		}
		d.wrong(k, path, "is not a key: %s", Nearest(k.Value, slices.Collect(maps.Keys(fields))))
	})
}

// pairs visits the keys and values of n, each key once. Nothing at all is no keys.
func (d *decoder) pairs(n *yaml.Node, key string, visit func(k, val *yaml.Node, path string)) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(n, key, "wants keys and values, not %s", Say(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := resolve(n.Content[i])
		path := join(key, k.Value)
		if line, twice := seen[k.Value]; twice {
			if d.wrong(k, path, "is there twice"); line > 0 {
				d.problems[len(d.problems)-1].Text += fmt.Sprintf(", first in line %d", line)
			}
			continue
		}
		seen[k.Value] = k.Line
		visit(k, n.Content[i+1], path)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, key string) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, key, "wants a list, not %s", Say(n))
		return
	}
	v.SetZero()
	if len(n.Content) == 0 {
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		if isNull(resolve(item)) && wanted[v.Type().Elem().Kind()] != "" {
			d.scalar(resolve(item), s.Index(i), at)
			continue
		}
		d.value(item, s.Index(i), at)
	}
	v.Set(s)
}

func (d *decoder) table(n *yaml.Node, v reflect.Value, key string) {
	m := reflect.MakeMap(v.Type())
	d.pairs(n, key, func(k, val *yaml.Node, path string) {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(val, item, path)
		m.SetMapIndex(reflect.ValueOf(k.Value).Convert(v.Type().Key()), item)
	})
	if v.SetZero(); m.Len() > 0 {
		v.Set(m)
	}
}

var wanted = map[reflect.Kind]string{
	reflect.Bool: "true or false", reflect.String: "text", reflect.Float32: "a number", reflect.Float64: "a number",
	reflect.Int: "a whole number", reflect.Int32: "a whole number", reflect.Int64: "a whole number",
	reflect.Uint: "a whole number from 0", reflect.Uint32: "a whole number from 0", reflect.Uint64: "a whole number from 0",
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, key string) {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		t, err := time.ParseDuration(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil {
			d.wrong(n, key, "wants a duration such as 90s or 5m, not %s", Say(n))
			return
		}
		v.SetInt(int64(t))
		return
	}
	want := wanted[v.Kind()]
	if n.Kind != yaml.ScalarNode || !fits(n.ShortTag(), want) || n.Decode(v.Addr().Interface()) != nil {
		d.wrong(n, key, "wants %s, not %s", want, Say(n))
	}
}

// fits says whether a scalar of this tag may be read as what is wanted: yaml would make 1 of 1.5, and text of true.
func fits(tag, want string) bool {
	switch want {
	case "text":
		return tag == "!!str" || tag == "!!int" || tag == "!!float" || tag == "!!timestamp"
	case "a number":
		return tag == "!!float" || tag == "!!int"
	case "true or false":
		return tag == "!!bool"
	default:
		return tag == "!!int"
	}
}

// Say names what a node holds, for errors: wants a number, not "many".
func Say(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	}
	if r := []rune(n.Value); len(r) > 60 {
		return fmt.Sprintf("%q", string(r[:60])+"…")
	}
	return fmt.Sprintf("%q", n.Value)
}

// resolve follows aliases.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// section reports whether a type is a pointer to keys and values: written with nothing under it, it is there with its
// defaults, where a pointer to a single value is not set.
func section(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
}

// fieldsOf maps the YAML keys of a struct to its fields; an inline struct's keys count as its own.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, inline := keyOf(f)
		switch {
		case inline:
			for k, x := range fieldsOf(v.Field(i)) {
				out[k] = x
			}
		case name != "":
			out[name] = v.Field(i)
		}
	}
	return out
}

// keyOf is the YAML key of a field, "" when it has none.
func keyOf(f reflect.StructField) (name string, inline bool) {
	tag, ok := f.Tag.Lookup("yaml")
	if !ok || !f.IsExported() {
		return "", false
	}
	name, flags, _ := strings.Cut(tag, ",")
	if name == "-" {
		return "", false
	}
	return name, strings.Contains(flags, "inline")
}
