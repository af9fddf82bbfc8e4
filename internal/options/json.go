package options

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// deepest is how far JSON may be nested: options never are so far.
const deepest = 100

// nodeOf reads JSON as YAML, so that both are read by one decoder. YAML's own reader would not take all of JSON's
// strings. The nodes have no lines.
func nodeOf(data []byte) (*yaml.Node, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return nextNode(d, 0)
}

func nextNode(d *json.Decoder, depth int) (*yaml.Node, error) {
	if depth > deepest {
		return nil, Wrongf("", "is JSON that is nested too deeply for options")
	}
	token, err := d.Token()
	if err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	switch v := token.(type) {
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}, nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(v.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: v.String()}, nil
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v}, nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	if token == json.Delim('{') {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for d.More() { // in an object a key and a value by turns
		item, err := nextNode(d, depth+1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
	}
	_, err = d.Token()
	return n, err
}

// Node is JSON as YAML: the names in objects keep their order.
func Node(data []byte) (*yaml.Node, error) { return nodeOf(data) }

// JSON is a YAML value as compact JSON: the keys keep their order, numbers are written as JSON has them. The error is a
// [Problem] with its line.
func JSON(n *yaml.Node) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := appendJSON(&b, n, 0); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func appendJSON(b *bytes.Buffer, n *yaml.Node, depth int) error {
	n = resolve(n)
	wrong := func(format string, args ...any) error {
		return Problem{Line: n.Line, Text: fmt.Sprintf(format, args...)}
	}
	if depth > deepest {
		return wrong("is nested too deeply")
	}
	each := func(begin, end byte, step int, write func(i int) error) error {
		b.WriteByte(begin)
		for i := 0; i < len(n.Content); i += step {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := write(i); err != nil {
				return err
			}
		}
		b.WriteByte(end)
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		seen := map[string]bool{}
		return each('{', '}', 2, func(i int) error {
			key := resolve(n.Content[i])
			if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
				return wrong("has %s as a key: JSON has texts only", Say(key))
			}
			if seen[key.Value] {
				return Problem{Line: key.Line, Text: fmt.Sprintf("has %q twice", key.Value)}
			}
			seen[key.Value] = true
			if err := writeJSON(b, key.Value); err != nil {
				return err
			}
			b.WriteByte(':')
			return appendJSON(b, n.Content[i+1], depth+1)
		})
	case yaml.SequenceNode:
		return each('[', ']', 1, func(i int) error { return appendJSON(b, n.Content[i], depth+1) })
	}
	var v any = n.Value
	switch n.ShortTag() {
	case "!!null":
		v = nil
	case "!!bool", "!!int", "!!float":
		if text := json.RawMessage(n.Value); json.Valid(text) {
			v = text
		} else if err := n.Decode(&v); err != nil {
			return wrong("is %s: %v", Say(n), err)
		}
	}
	if err := writeJSON(b, v); err != nil {
		return wrong("is %s, which JSON cannot say", Say(n))
	}
	return nil
}

func writeJSON(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line's end
	return nil
}
