package options

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// A Struct is an option struct: a pointer to a struct with yaml and json tags, whose zero value works.
type Struct interface {
	// EnsureDefaults fills in what is not said.
	EnsureDefaults()
	// Validate is a [Problem] that names a key whose value is wrong, the value, and what would be right.
	Validate() error
}

// Kinds are all the kinds of a thing of which a config has a list, such as rewards or filter rules. An entry of the list
// is one kind with its options, or its bare name:
//
//	[{length: {max_tokens: 40}}, math]
type Kinds[O Struct] struct {
	Thing string              // what an error calls it, such as "a reward"
	New   map[string]func() O // the zero options of each kind
}

// Names lists the kinds in alphabetical order.
func (s Kinds[O]) Names() []string { return slices.Sorted(maps.Keys(s.New)) }

// Zero makes the options of a kind, or a [Problem] that names the nearest kind.
func (s Kinds[O]) Zero(kind string) (o O, err error) {
	if f, ok := s.New[kind]; ok {
		return f(), nil
	}
	return o, Wrongf("", "%q is not %s: %s", kind, s.Thing, Nearest(kind, s.Names()))
}

// Decode reads an entry. The keys of shared, pointers to structs, may stand among the kind's own options. The options
// are neither filled in nor checked. The error is [Problems] under the kind.
func (s Kinds[O]) Decode(entry *yaml.Node, shared ...any) (kind string, o O, err error) {
	entry = resolve(entry)
	name, inner := entry, &yaml.Node{Kind: yaml.MappingNode}
	if entry.Kind == yaml.MappingNode && len(entry.Content) == 2 {
		name, inner = resolve(entry.Content[0]), entry.Content[1]
	}
	if name.Kind != yaml.ScalarNode || name.ShortTag() != "!!str" {
		first := s.Names()[0]
		return "", o, Problem{Line: entry.Line, Text: fmt.Sprintf("wants one name, or one name with its options, such as %s or {%s: {}}, not %s", first, first, Say(entry))}
	}
	if o, err = s.Zero(name.Value); err != nil {
		return "", o, At(name, err)
	}
	if err := Decode(inner, append([]any{o}, shared...)...); err != nil {
		return "", o, Under(name.Value, err)
	}
	return name.Value, o, nil
}

// DecodeJSON reads an entry, as [Kinds.Decode] does.
func (s Kinds[O]) DecodeJSON(data []byte, shared ...any) (kind string, o O, err error) {
	entry, err := nodeOf(data)
	if err != nil {
		return "", o, err
	}
	return s.Decode(entry, shared...)
}

// EncodeYAML writes an entry with all its options, and after them the shared ones.
func EncodeYAML(kind string, parts ...any) (*yaml.Node, error) {
	inner := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	for _, part := range parts {
		var n yaml.Node
		if err := n.Encode(part); err != nil {
			return nil, fmt.Errorf("write %q: %w", kind, err)
		}
		inner.Content = append(inner.Content, n.Content...)
	}
	name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: kind}
	return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{name, inner}}, nil
}

// EncodeJSON writes an entry with all its options and the shared ones.
func EncodeJSON(kind string, parts ...any) ([]byte, error) {
	inner := map[string]json.RawMessage{}
	for _, part := range parts {
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
