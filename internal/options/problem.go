package options

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"

	"stillhouse"
)

// A Problem is one thing that is wrong with a config: "line 7: train.learning_rate: is -1: it must be 0 or above". The
// user must act on it: [stillhouse.KindOf] a Problem is Invalid.
type Problem struct {
	Line int    // 1-based; 0 when it is not known
	Key  string // train.learning_rate; empty when no one key is wrong
	Text string // what follows the key, beginning with its value: is -1: it must be 0 or above
}

func (p Problem) Error() string {
	text := p.Text
	if p.Key != "" {
		text = p.Key + ": " + text
	}
	if p.Line > 0 {
		text = fmt.Sprintf("line %d: %s", p.Line, text)
	}
	return text
}

// As makes a Problem an error of the kind Invalid.
func (p Problem) As(target any) bool { return invalid(p, target) }

// Problems are all that was found wrong, in the order of the lines.
type Problems []Problem

func (ps Problems) Error() string { return ps.In("") }

// As makes Problems an error of the kind Invalid.
func (ps Problems) As(target any) bool { return invalid(ps, target) }

func invalid(err error, target any) bool {
	t, ok := target.(**stillhouse.Error)
	if ok {
		*t = &stillhouse.Error{Kind: stillhouse.Invalid, Err: err}
	}
	return ok
}

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

// Wrongf is the [Problem] of a key in its own section: Wrongf("samples", "is %d: it must be 1 or more", n).
func Wrongf(key, format string, args ...any) error {
	return Problem{Key: key, Text: fmt.Sprintf(format, args...)}
}

// ProblemsOf are the problems that err is or wraps, nil when it is of another kind.
func ProblemsOf(err error) Problems {
	var ps Problems
	if errors.As(err, &ps) {
		return slices.Clone(ps)
	}
	var p Problem
	if errors.As(err, &p) {
		return Problems{p}
	}
	return nil
}

// Under puts the key of a section before the keys of the problems in err. An error of another kind is left as it is.
func Under(section string, err error) error {
	ps := ProblemsOf(err)
	if ps == nil {
		return err
	}
	for i := range ps {
		ps[i].Key = join(section, ps[i].Key)
	}
	return ps
}

// At fills in the lines of the problems in err, which are problems of node. An error of another kind is left as it is.
func At(node *yaml.Node, err error) error {
	ps := ProblemsOf(err)
	if ps == nil {
		return err
	}
	for i := range ps {
		if ps[i].Line == 0 {
			ps[i].Line = Locate(node, ps[i].Key)
		}
	}
	return ps
}

// Locate finds the line of a key's path in a config, such as curate.rewards[1].math.weight, or of the longest part of
// the path that is there.
func Locate(n *yaml.Node, path string) int {
	line := n.Line
	for path != "" {
		name, key := path, false
		if rest, ok := strings.CutPrefix(path, "["); ok {
			name, path, _ = strings.Cut(rest, "]")
			path = strings.TrimPrefix(path, ".")
		} else {
			key = true
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			name, path = path[:end], strings.TrimPrefix(path[end:], ".")
		}
		k, val := child(resolve(n), name, key)
		if val == nil {
			break
		}
		line, n = k.Line, val
	}
	return line
}

// child is what stands in n under a key or, in a list, at a place; nil when nothing does.
func child(n *yaml.Node, name string, key bool) (k, val *yaml.Node) {
	if !key {
		if i, err := strconv.Atoi(name); err == nil && n.Kind == yaml.SequenceNode && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
		return nil, nil
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i], n.Content[i+1]
			}
		}
	}
	return nil, nil
}

// listed is how many right names are told to whoever wrote one that is like none of them.
const listed = 50

// Nearest is a hint at the name most like the wrong one, or a list of the right ones when none is like it.
func Nearest(wrong string, right []string) string {
	right = slices.Sorted(slices.Values(right))
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
	case len(right) > listed:
		return "docs/config.md has those that can stand here"
	}
	return "what can stand here: " + strings.Join(right, ", ")
}

// join appends a key to a path.
func join(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "":
		return path
	case key[0] == '[':
		return path + key
	}
	return path + "." + key
}
