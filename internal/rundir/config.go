package rundir

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"stillhouse"
)

// A difference is a key whose value in the run is not that in the config. A missing value is empty.
type difference struct{ key, run, config string }

// compare is an error that names the keys in which the run's config and the one given differ, but for those that may.
func compare(run string, stored, given []byte, o Options) error {
	if string(stored) == string(given) {
		return nil
	}
	var was, is yaml.Node
	if err := yaml.Unmarshal(stored, &was); err != nil {
		return stillhouse.Invalidf("%s/%s is no YAML any more: %w; put it right or give the run another name", run, ConfigFile, err)
	}
	if err := yaml.Unmarshal(given, &is); err != nil {
		return stillhouse.Invalidf("the config is no YAML: %w", err)
	}
	var diffs []difference
	differ("", root(&was), root(&is), &diffs)
	first := len(Steps)
	diffs = slices.DeleteFunc(diffs, func(d difference) bool {
		step := stepOf(d.key, o.Earlier)
		if free(d.key, o.Free) || o.From != "" && step >= slices.Index(Steps, o.From) {
			return true
		}
		first = min(first, step)
		return false
	})
	if len(diffs) == 0 {
		return nil
	}
	var lines []string
	for _, d := range diffs {
		lines = append(lines, fmt.Sprintf("%s: the run has %s, the config has %s", d.key, shown(d.run), shown(d.config)))
	}
	sep := "; "
	if len(lines) > 1 {
		sep, lines[0] = "\n", "the run was made with another config\n"+lines[0]
	}
	return stillhouse.Invalidf("run %s: %s%sgive the run another name or use --from %s", run, strings.Join(lines, "\n"), sep, Steps[first])
}

// stepOf is the place among the steps of the one that a key belongs to. Keys of no step count for all of them.
func stepOf(key string, earlier map[string]string) int {
	for k, step := range earlier {
		if free(key, []string{k}) {
			return max(0, slices.Index(Steps, step))
		}
	}
	top := key
	if i := strings.IndexAny(key, ".["); i >= 0 {
		top = key[:i]
	}
	return max(0, slices.Index(Steps, top))
}

func free(key string, keys []string) bool {
	return slices.ContainsFunc(keys, func(k string) bool {
		rest, ok := strings.CutPrefix(key, k)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

func shown(value string) string {
	if value == "" {
		return "none"
	}
	return value
}

func root(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		return n.Content[0]
	}
	return n
}

// differ gathers the keys below key in which two values differ: maps key by key, lists of one length item by item.
func differ(key string, was, is *yaml.Node, out *[]difference) {
	switch {
	case was != nil && is != nil && was.Kind == yaml.MappingNode && is.Kind == yaml.MappingNode:
		old, now := pairs(was), pairs(is)
		for _, k := range slices.Concat(keys(was), slices.DeleteFunc(keys(is), func(k string) bool { return old[k] != nil })) {
			differ(strings.TrimPrefix(key+"."+k, "."), old[k], now[k], out)
		}
	case was != nil && is != nil && was.Kind == yaml.SequenceNode && is.Kind == yaml.SequenceNode && len(was.Content) == len(is.Content):
		for i := range was.Content {
			differ(fmt.Sprintf("%s[%d]", key, i), was.Content[i], is.Content[i], out)
		}
	default:
		if a, b := brief(was), brief(is); !equal(was, is) {
			*out = append(*out, difference{key, a, b})
		}
	}
}

func pairs(n *yaml.Node) map[string]*yaml.Node {
	m := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		m[n.Content[i].Value] = n.Content[i+1]
	}
	return m
}

func keys(n *yaml.Node) (out []string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, n.Content[i].Value)
	}
	return out
}

// equal compares values as they are read: 1.0 is 1.
func equal(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if flow(a) == flow(b) {
		return true
	}
	var x, y float64
	return a.Kind == yaml.ScalarNode && b.Kind == yaml.ScalarNode && a.Tag != "!!str" && b.Tag != "!!str" &&
		a.Decode(&x) == nil && b.Decode(&y) == nil && x == y && (a.Tag == "!!int" || a.Tag == "!!float")
}

// flow writes a value on one line.
func flow(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	if n.Kind == yaml.ScalarNode && n.Tag != "!!str" {
		return n.Value
	}
	c := *n
	c.HeadComment, c.LineComment, c.FootComment = "", "", ""
	if c.Kind == yaml.ScalarNode {
		c.Style = yaml.DoubleQuotedStyle
	} else {
		c.Style = yaml.FlowStyle
	}
	text, err := yaml.Marshal(&c)
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// brief is a value on one line, cut to what fits a message.
func brief(n *yaml.Node) string {
	const most = 120
	text := []rune(flow(n))
	if len(text) > most {
		return string(text[:most]) + " …"
	}
	return string(text)
}
