package student

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"stillhouse"
)

// Modules name modules of a model as PEFT's target_modules does: by a list of names or ends of names, or by a regular
// expression that is the whole name, or as all-linear.
type Modules struct {
	Names   []string
	Pattern string // in place of Names
}

// allLinear is every projection of the layers, without the output head.
const allLinear = "all-linear"

func (m Modules) empty() bool { return len(m.Names) == 0 && m.Pattern == "" }

func (m Modules) String() string {
	if m.Pattern != "" {
		return strconv.Quote(m.Pattern)
	}
	return "[" + strings.Join(m.Names, ", ") + "]"
}

// MarshalJSON writes a list, a text, or null for none.
func (m Modules) MarshalJSON() ([]byte, error) {
	switch {
	case m.Pattern != "":
		return json.Marshal(m.Pattern)
	case len(m.Names) > 0:
		return json.Marshal(m.Names)
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads a list, a text or null.
func (m *Modules) UnmarshalJSON(text []byte) error {
	*m = Modules{}
	if json.Unmarshal(text, &m.Pattern) == nil {
		return nil
	}
	if json.Unmarshal(text, &m.Names) == nil {
		return nil
	}
	return errors.New("wants a list of names of modules, or a text")
}

// maxPattern bounds the length of a regular expression, in bytes.
const maxPattern = 4096

// compile reads a regular expression that must match from the start, to the end too where whole is set.
func compile(text string, whole bool) (*regexp.Regexp, error) {
	if len(text) > maxPattern {
		return nil, stillhouse.Invalidf("a pattern of %d bytes: none is longer than %d", len(text), maxPattern)
	}
	end := ")"
	if whole {
		end = `)\z`
	}
	r, err := regexp.Compile(`\A(?:` + text + end)
	if err != nil {
		return nil, stillhouse.Invalidf("the pattern %q cannot be read: %w (lookarounds and back references are not supported)", text, err)
	}
	return r, nil
}

// matcher says which modules have an adapter: PEFT 0.21's check_target_module_exists.
func (c AdapterConfig) matcher() (func(module string) (bool, error), error) {
	if c.TargetModules.empty() {
		return nil, stillhouse.Invalidf("target_modules is missing: name the projections, such as [q_proj, v_proj], or write %s", allLinear)
	}
	include, err := c.TargetModules.matcher()
	if err != nil {
		return nil, stillhouse.Invalidf("target_modules: %w", err)
	}
	exclude, err := c.ExcludeModules.matcher()
	if err != nil {
		return nil, stillhouse.Invalidf("exclude_modules: %w", err)
	}
	for _, name := range c.TargetModules.Names {
		if last := name[strings.LastIndex(name, ".")+1:]; last == "lm_head" || last == "embed_tokens" {
			return nil, stillhouse.Invalidf("target_modules: %s is not supported: the projections of the layers can have adapters, the embedding and the output head cannot", name)
		}
	}
	inLayers, err := c.layers()
	if err != nil {
		return nil, err
	}
	return func(module string) (bool, error) {
		if !c.ExcludeModules.empty() && exclude(module) || !include(module) {
			return false, nil
		}
		return inLayers(module), nil
	}, nil
}

func (m Modules) matcher() (func(module string) bool, error) {
	switch {
	case strings.EqualFold(m.Pattern, allLinear):
		return func(string) bool { return true }, nil
	case m.Pattern != "":
		r, err := compile(m.Pattern, true)
		if err != nil {
			return nil, err
		}
		return r.MatchString, nil
	}
	return func(module string) bool {
		return slices.ContainsFunc(m.Names, func(name string) bool { return module == name || strings.HasSuffix(module, "."+name) })
	}, nil
}

// layers says whether a module is in one of the layers_to_transform.
func (c AdapterConfig) layers() (func(module string) bool, error) {
	if len(c.LayersToTransform) == 0 {
		if len(c.LayersPattern) > 0 {
			return nil, stillhouse.Invalidf("layers_pattern counts only with layers_to_transform")
		}
		return func(string) bool { return true }, nil
	}
	if c.TargetModules.Pattern != "" {
		return nil, stillhouse.Invalidf("layers_to_transform counts only where target_modules is a list of names, not with %s", c.TargetModules)
	}
	texts := []string{`.*?\.[^.]*\.(\d+)\.`}
	if len(c.LayersPattern) > 0 {
		texts = nil
		for _, p := range c.LayersPattern {
			texts = append(texts, `(?:|.*?\.)(?:`+p+`)\.(\d+)\.`)
		}
	}
	var patterns []*regexp.Regexp
	for _, text := range texts {
		r, err := compile(text, false)
		if err != nil {
			return nil, stillhouse.Invalidf("layers_pattern: %w", err)
		}
		patterns = append(patterns, r)
	}
	return func(module string) bool {
		for _, r := range patterns {
			if found := r.FindStringSubmatch(module); found != nil {
				layer, err := strconv.Atoi(found[len(found)-1])
				return err == nil && slices.Contains(c.LayersToTransform, layer)
			}
		}
		return false
	}, nil
}

// pattern is the value of the pattern that matches the end of a module's name, or otherwise. Two that match with
// different values are an error: which one counts would depend on their order.
func pattern[T comparable](patterns map[string]T, module string, otherwise T) (T, error) {
	found := ""
	for _, key := range slices.Sorted(maps.Keys(patterns)) {
		r, err := compile(`(?:.*\.)?(?:`+key+`)`, true)
		if err != nil {
			return otherwise, err
		}
		if !r.MatchString(module) {
			continue
		}
		if found != "" && patterns[found] != patterns[key] {
			return otherwise, fmt.Errorf("%s is matched by %q (%v) and by %q (%v): make one of them narrower", module, found, patterns[found], key, patterns[key])
		}
		found = key
	}
	if found == "" {
		return otherwise, nil
	}
	return patterns[found], nil
}
