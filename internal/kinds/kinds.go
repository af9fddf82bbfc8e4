// Package kinds reads and writes the config's lists of things that come in several kinds, such as rewards and filter
// rules. An entry is one kind with its options, or its bare name:
//
//	[{length: {max_tokens: 40}}, math]
//
// Keys and kinds that are not known are errors with the line, the word and the nearest word that is right.
package kinds

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"

	"stillhouse"
)

// Options are the options of one kind: a pointer to a struct with yaml and json tags, whose zero value works.
type Options interface {
	// EnsureDefaults fills in what is not said.
	EnsureDefaults()
	// Validate is an error that names a key whose value is wrong, the value, and what would be right.
	Validate() error
}

// A Set is all the kinds of one thing.
type Set[O Options] struct {
	Thing string              // what an error calls it, such as "reward"
	New   map[string]func() O // the zero options of each kind
}

// Names lists the kinds in alphabetical order.
func (s Set[O]) Names() []string {
	names := make([]string, 0, len(s.New))
	for name := range s.New {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Zero makes the options of a kind, or an Invalid error that names the nearest kind.
func (s Set[O]) Zero(kind string) (o O, err error) {
	if f, ok := s.New[kind]; ok {
		return f(), nil
	}
	return o, stillhouse.Invalidf("%s %q is not known%s", s.Thing, kind, Meant(kind, s.Names()))
}

// ParseYAML reads an entry. Keys that the options don't have are looked for in shared, a pointer to a struct of the
// keys that all kinds have in common.
func (s Set[O]) ParseYAML(node *yaml.Node, shared any) (kind string, o O, err error) {
	node = resolve(node)
	var keys []*yaml.Node
	switch {
	case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!str":
		kind = node.Value
	case node.Kind == yaml.MappingNode && len(node.Content) == 2 && node.Content[0].Kind == yaml.ScalarNode:
		kind = node.Content[0].Value
		switch inner := resolve(node.Content[1]); {
		case inner.Kind == yaml.MappingNode:
			keys = inner.Content
		case inner.Kind == yaml.ScalarNode && inner.ShortTag() == "!!null":
		default:
			return "", o, stillhouse.Invalidf("line %d: %s %q: its options are a mapping, such as {%s: {}}", inner.Line, s.Thing, kind, kind)
		}
	default:
		return "", o, stillhouse.Invalidf("line %d: write each %s as its name, or as its name with options: %s, or {%s: {}}", node.Line, s.Thing, s.example(), s.example())
	}
	if o, err = s.Zero(kind); err != nil {
		return "", o, stillhouse.Invalidf("line %d: %w", node.Line, err)
	}
	fields := s.fields(o, shared)
	seen := map[string]bool{}
	for i := 0; i+1 < len(keys); i += 2 {
		key, value := keys[i].Value, resolve(keys[i+1])
		at := fmt.Sprintf("line %d: %s %q", keys[i].Line, s.Thing, kind)
		f, ok := fields[key]
		switch {
		case !ok:
			return "", o, stillhouse.Invalidf("%s: option %q is not known%s", at, key, Meant(key, sorted(fields)))
		case seen[key]:
			return "", o, stillhouse.Invalidf("%s: option %q is written twice: leave one out", at, key)
		}
		seen[key] = true
		err := value.Decode(f.Addr().Interface())
		if value.ShortTag() == "!!float" && typeName(f.Type()) == typeName(reflect.TypeFor[int]()) {
			err = &yaml.TypeError{} // which yaml would cut off at the point
		}
		if err != nil {
			return "", o, stillhouse.Invalidf("%s: %s: %s", at, key, wrongType(value, f.Type(), err))
		}
	}
	if err := finish(o); err != nil {
		return "", o, stillhouse.Invalidf("line %d: %s %q: %w", node.Line, s.Thing, kind, err)
	}
	return kind, o, nil
}

// ParseJSON reads an entry, as [Set.ParseYAML] does.
func (s Set[O]) ParseJSON(data []byte, shared any) (kind string, o O, err error) {
	var options map[string]json.RawMessage
	if json.Unmarshal(data, &kind) != nil {
		var entry map[string]json.RawMessage
		if json.Unmarshal(data, &entry) != nil || len(entry) != 1 {
			return "", o, stillhouse.Invalidf("write each %s as its name, or as its name with options: %q, or {%q: {}}", s.Thing, s.example(), s.example())
		}
		for kind = range entry {
		}
		if err := json.Unmarshal(entry[kind], &options); err != nil {
			return "", o, stillhouse.Invalidf("%s %q: its options are an object, such as {%q: {}}", s.Thing, kind, kind)
		}
	}
	if o, err = s.Zero(kind); err != nil {
		return "", o, err
	}
	fields := s.fields(o, shared)
	for _, key := range sorted(options) {
		f, ok := fields[key]
		if !ok {
			return "", o, stillhouse.Invalidf("%s %q: option %q is not known%s", s.Thing, kind, key, Meant(key, sorted(fields)))
		}
		if err := json.Unmarshal(options[key], f.Addr().Interface()); err != nil {
			return "", o, stillhouse.Invalidf("%s %q: %s: %s is not %s", s.Thing, kind, key, short(string(options[key])), typeName(f.Type()))
		}
	}
	if err := finish(o); err != nil {
		return "", o, stillhouse.Invalidf("%s %q: %w", s.Thing, kind, err)
	}
	return kind, o, nil
}

// YAML writes an entry with all its options.
func YAML(kind string, o, shared any) (*yaml.Node, error) {
	inner := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	for _, part := range []any{o, shared} {
		if part == nil {
			continue
		}
		var n yaml.Node
		if err := n.Encode(part); err != nil {
			return nil, fmt.Errorf("write %q: %w", kind, err)
		}
		inner.Content = append(inner.Content, n.Content...)
	}
	name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: kind}
	return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{name, inner}}, nil
}

// JSON writes an entry with all its options.
func JSON(kind string, o, shared any) ([]byte, error) {
	inner := map[string]json.RawMessage{}
	for _, part := range []any{o, shared} {
		if part == nil {
			continue
		}
		data, err := json.Marshal(part)
		if err == nil {
			err = json.Unmarshal(data, &inner)
		}
		if err != nil {
			return nil, fmt.Errorf("write %q: %w", kind, err)
		}
	}
	return json.Marshal(map[string]any{kind: inner})
}

// Meant ends an error about a word that is not known: it names the nearest of the words that are, and lists them.
func Meant(word string, known []string) string {
	if len(known) == 0 {
		return ": there are none"
	}
	best, distance := "", len(word)
	for _, k := range known {
		if d := levenshtein.ComputeDistance(strings.ToLower(word), k); d < distance || best == "" && d <= distance {
			best, distance = k, d
		}
	}
	list := strings.Join(known, ", ")
	if best == "" {
		return ": choose from " + list
	}
	return fmt.Sprintf(": did you mean %q? There are %s", best, list)
}

func (s Set[O]) example() string { return s.Names()[0] }

// fields maps the keys of the options and of shared to the values that they set.
func (s Set[O]) fields(o O, shared any) map[string]reflect.Value {
	out := map[string]reflect.Value{}
	for _, part := range []any{shared, o} {
		if part == nil {
			continue
		}
		v := reflect.ValueOf(part).Elem()
		for i := range v.NumField() {
			if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
				out[name] = v.Field(i)
			}
		}
	}
	return out
}

func finish(o Options) error {
	o.EnsureDefaults()
	return o.Validate()
}

// resolve follows aliases.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// wrongType says in words what yaml says in Go's types.
func wrongType(value *yaml.Node, want reflect.Type, err error) string {
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		return err.Error()
	}
	return fmt.Sprintf("%s is not %s", written(value), typeName(want))
}

func written(n *yaml.Node) string {
	var b bytes.Buffer
	flow := *n
	flow.Style |= yaml.FlowStyle
	if n.Kind == yaml.ScalarNode {
		return short(n.Value)
	}
	if err := yaml.NewEncoder(&b).Encode(&flow); err != nil {
		return "this"
	}
	return short(strings.TrimSpace(b.String()))
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float64, reflect.Float32:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a list of " + strings.TrimPrefix(strings.TrimPrefix(typeName(t.Elem()), "an "), "a ")
	default:
		return t.String()
	}
}

func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
