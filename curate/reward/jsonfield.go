package reward

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"stillhouse"
	"stillhouse/internal/options"
)

// JSONField is the reward json_field: 1 and right when the value at a path of the answer's JSON is
// the wanted one, up to the order of keys and the format of numbers (1, 1.0 and 1e0 are the same); 0 and wrong when it is
// another or not there.
//
// The path is a JSON Pointer (RFC 6901): /items/0/name; nothing is the whole answer. The wanted value is the option's, else
// the prompt's reference, as JSON or as the text of a string. The answer's JSON is found as by the reward json; where there
// is none, or no reference, it is unparsable.
type JSONField struct {
	Path  string   `yaml:"path" json:"path" doc:"Where the value is in the answer, as a JSON Pointer such as /answer or /items/0/name; empty for the whole answer."`
	Value *Literal `yaml:"value,omitempty" json:"value,omitempty" doc:"What must be there: a text, a number, a list, an object. The prompt's reference where it is missing."`
}

// EnsureDefaults does nothing: no path is the whole answer, and no value the prompt's reference.
func (o *JSONField) EnsureDefaults() {}

// Validate is an Invalid error when the path is no JSON Pointer or the value can't be read.
func (o *JSONField) Validate() error {
	if _, err := pointer(o.Path); err != nil {
		return options.Wrongf("path", "is %q: %v", o.Path, err)
	}
	if o.Value == nil {
		return nil
	}
	if _, err := readJSON(string(o.Value.JSON)); err != nil {
		return options.Wrongf("value", "%v", err)
	}
	return nil
}

// New makes the reward.
func (o *JSONField) New() (Reward, error) {
	steps, err := pointer(o.Path)
	if err != nil {
		return nil, err
	}
	r := fieldReward{path: o.Path, steps: steps}
	if o.Value != nil {
		v, err := readJSON(string(o.Value.JSON))
		if err != nil {
			return nil, err
		}
		r.want, r.fixed = v, true
	}
	return r, nil
}

// pointer cuts a JSON Pointer into its steps.
func pointer(path string) (steps []string, err error) {
	if path == "" {
		return nil, nil
	}
	if path[0] != '/' {
		return nil, fmt.Errorf("it must be a JSON Pointer, which begins with a slash: /%s", strings.NewReplacer(".", "/", "[", "/", "]", "").Replace(path))
	}
	for s := range strings.SplitSeq(path[1:], "/") {
		if plain := strings.NewReplacer("~0", "", "~1", "").Replace(s); strings.Contains(plain, "~") {
			return nil, fmt.Errorf("after ~ there must be 0 (for ~) or 1 (for /)")
		}
		steps = append(steps, strings.NewReplacer("~1", "/", "~0", "~").Replace(s))
	}
	return steps, nil
}

type fieldReward struct {
	path  string
	steps []string
	want  any
	fixed bool
}

var _ Comparer = fieldReward{}

func (fieldReward) Version() string        { return "1" }
func (r fieldReward) NeedsReference() bool { return !r.fixed }

func (r fieldReward) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	want, text := r.want, ""
	if !r.fixed {
		if s, missing := noReference(c); missing {
			return s
		}
		text = strings.TrimSpace(*c.Reference)
		if v, err := readJSON(text); err == nil {
			want = v
		} else {
			want = text
		}
	}
	answer, s, ok := parsed(c)
	if !ok {
		return s
	}
	v, err := jsonIn(answer)
	if err != nil {
		return cannotTell("%v: %q", err, shorten(answer))
	}
	for i, step := range r.steps {
		if v, ok = into(v, step); !ok {
			return judged(false, "there is no %q: %s", shorten("/"+strings.Join(r.steps[:i+1], "/")), brief(v))
		}
	}
	if found, is := v.(string); canonical(v) == canonical(want) || !r.fixed && is && strings.TrimSpace(found) == text {
		return judged(true, "%q is %s", shorten(r.path), brief(v))
	}
	return judged(false, "%q is %s, not %s", shorten(r.path), brief(v), brief(want))
}

// into is the value one step further, or the value itself where there is no such step.
func into(v any, step string) (any, bool) {
	switch at := v.(type) {
	case map[string]any:
		if next, ok := at[step]; ok {
			return next, true
		}
	case []any:
		i, err := strconv.Atoi(step)
		if err == nil && i >= 0 && i < len(at) && step == strconv.Itoa(i) {
			return at[i], true
		}
	}
	return v, false
}
