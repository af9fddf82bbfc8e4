// Package options reads option structs from YAML, strictly: a key that is not there, a value of the wrong type or a key
// given twice is an error with its line, the key's path and the nearest right key. It also writes the page that
// documents them.
package options

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
)

// A Problem is one thing that is wrong with a config.
type Problem struct {
	Line int    // 1-based
	Key  string // train.learning_rate
	Text string
}

func (p Problem) Error() string {
	if p.Key == "" {
		return fmt.Sprintf("line %d: %s", p.Line, p.Text)
	}
	return fmt.Sprintf("line %d: %s: %s", p.Line, p.Key, p.Text)
}

// Problems are all that was found wrong, in the order of the lines.
type Problems []Problem

func (ps Problems) Error() string { return ps.In("") }

// In is the text of the problems, one a line, each after the file's name.
func (ps Problems) In(file string) string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte('\n')
		}
		if file != "" {
			fmt.Fprintf(&b, "%s: ", file)
		}
		b.WriteString(p.Error())
	}
	return b.String()
}

// Decode reads node into the struct that into points to. The error is [Problems]: every one that was found. A type
// that implements yaml.Unmarshaler reads itself; Problems and Problem that it returns are taken over under its key.
func Decode(node *yaml.Node, into any) error {
	d := &decoder{}
	d.value(node, reflect.ValueOf(into).Elem(), "")
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return a.Line - b.Line })
	return d.problems
}

// Locate finds the line of a key's path in a config, or of the longest part of the path that is there.
func Locate(n *yaml.Node, path string) int {
	line := n.Line
	for _, key := range strings.Split(path, ".") {
		at := -1
		if n.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					at = i
				}
			}
		}
		if at < 0 {
			break
		}
		line, n = n.Content[at].Line, n.Content[at+1]
	}
	return line
}

// Nearest is a hint at the name most like the wrong one, or a list of the right ones when none is like it.
func Nearest(wrong string, right []string) string {
	best, least := "", 1+max(2, len(wrong)/3)
	for _, name := range right {
		if d := levenshtein.ComputeDistance(strings.ToLower(wrong), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(right) == 0:
		return "nothing can stand here"
	}
	right = slices.Clone(right)
	slices.Sort(right)
	return "what can stand here: " + strings.Join(right, ", ")
}

type decoder struct{ problems Problems }

func (d *decoder) wrong(n *yaml.Node, key, format string, args ...any) {
	d.problems = append(d.problems, Problem{Line: n.Line, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, key string) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!!null" && v.Kind() != reflect.Struct {
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
		d.object(n, v, key)
	case reflect.Slice:
		d.list(n, v, key)
	case reflect.Map:
		d.table(n, v, key)
	case reflect.Interface:
		var a any
		if err := n.Decode(&a); err != nil {
			d.wrong(n, key, "%v", err)
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
	var ps Problems
	switch e := err.(type) {
	case Problem:
		ps = Problems{e}
	case Problems:
		ps = e
	default:
		ps = Problems{{Line: n.Line, Text: err.Error()}}
		if m := ownLine.FindStringSubmatch(err.Error()); m != nil {
			ps[0].Line, _ = strconv.Atoi(m[1])
			ps[0].Text = m[2]
		}
	}
	for _, p := range ps {
		p.Key = join(key, p.Key)
		d.problems = append(d.problems, p)
	}
}

// ownLine is an error that begins with its line.
var ownLine = regexp.MustCompile(`^(?s)line (\d+): (.*)$`)

func (d *decoder) object(n *yaml.Node, v reflect.Value, key string) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(n, key, "wants keys and values, not %s", say(n))
		return
	}
	fields := fieldsOf(v)
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i], n.Content[i+1]
		path := join(key, k.Value)
		if line, twice := seen[k.Value]; twice {
			d.wrong(k, path, "is there twice, first in line %d", line)
			continue
		}
		seen[k.Value] = k.Line
		f, ok := fields[k.Value]
		if !ok {
			d.wrong(k, path, "is not a key: %s", Nearest(k.Value, keys(fields)))
			continue
		}
		d.value(val, f, path)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, key string) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, key, "wants a list, not %s", say(n))
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.value(item, s.Index(i), fmt.Sprintf("%s[%d]", key, i))
	}
	v.Set(s)
}

func (d *decoder) table(n *yaml.Node, v reflect.Value, key string) {
	if n.Kind != yaml.MappingNode {
		d.wrong(n, key, "wants keys and values, not %s", say(n))
		return
	}
	m := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(n.Content[i+1], item, join(key, n.Content[i].Value))
		m.SetMapIndex(reflect.ValueOf(n.Content[i].Value).Convert(v.Type().Key()), item)
	}
	v.Set(m)
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
			d.wrong(n, key, "wants a duration such as 90s or 5m, not %s", say(n))
		}
		v.SetInt(int64(t))
		return
	}
	want := wanted[v.Kind()]
	if n.Kind != yaml.ScalarNode || !fits(n.Tag, want) || n.Decode(v.Addr().Interface()) != nil {
		d.wrong(n, key, "wants %s, not %s", want, say(n))
	}
}

// fits says whether a scalar of this tag may be read as what is wanted: yaml would make 1 of 1.5, and text of true.
func fits(tag, want string) bool {
	switch want {
	case "text":
		return tag != "!!bool" && tag != "!!null"
	case "a number":
		return tag == "!!float" || tag == "!!int"
	case "true or false":
		return tag == "!!bool"
	default:
		return tag == "!!int"
	}
}

func say(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", n.Value)
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

func keys(m map[string]reflect.Value) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

func join(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "":
		return path
	}
	return path + "." + key
}
