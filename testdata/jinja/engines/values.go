package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/ardanlabs/jinja"
	"github.com/nikolalohinski/gonja/v2"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// An object is a JSON object that keeps the order of its keys.
type object struct {
	keys   []string
	values map[string]any
}

func (o *object) set(key string, v any) {
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = v
}

func (o *object) with(more *object) *object {
	if o == nil {
		o = &object{}
	}
	out := &object{keys: slices.Clone(o.keys), values: map[string]any{}}
	maps.Copy(out.values, o.values)
	if more != nil {
		for _, k := range more.keys {
			out.set(k, more.values[k])
		}
	}
	return out
}

func (o *object) UnmarshalJSON(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := parse(d)
	if err != nil {
		return err
	}
	p, ok := v.(*object)
	if !ok {
		return errors.New("not an object")
	}
	*o = *p
	return nil
}

func parse(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return i, nil
		}
		return t.Float64()
	case json.Delim:
		list, o := []any{}, &object{values: map[string]any{}}
		for d.More() {
			var key any
			if t == '{' {
				if key, err = d.Token(); err != nil {
					return nil, err
				}
			}
			v, err := parse(d)
			if err != nil {
				return nil, err
			}
			if t == '{' {
				o.set(key.(string), v)
			} else {
				list = append(list, v)
			}
		}
		_, err := d.Token()
		if t == '{' {
			return o, err
		}
		return list, err
	}
	return t, nil
}

func ardanlabsDicts(source string, vars *object) (string, error) {
	t, err := jinja.Compile(source)
	if err != nil {
		return "", err
	}
	values := map[string]jinja.Value{}
	for k, v := range vars.values {
		values[k] = ardanlabsValue(v)
	}
	return t.RenderValues(values)
}

func ardanlabsValue(v any) jinja.Value {
	switch v := v.(type) {
	case []any:
		var items []jinja.Value
		for _, item := range v {
			items = append(items, ardanlabsValue(item))
		}
		return jinja.NewList(items)
	case *object:
		d := jinja.NewDict()
		for _, k := range v.keys {
			d.AsDict().Set(k, ardanlabsValue(v.values[k]))
		}
		return d
	}
	return jinja.FromGoValue(v)
}

// gonjaDicts gives gonja its own ordered dicts: it sorts the keys of Go's maps.
func gonjaDicts(source string, vars *object) (string, error) {
	c := config.New()
	c.TrimBlocks, c.LeftStripBlocks = true, true
	loader, err := loaders.NewMemoryLoader(map[string]string{"/t": source})
	if err != nil {
		return "", err
	}
	env := *gonja.DefaultEnvironment
	filters := exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(env.Filters)
	if err := filters.Replace("tojson", gonjaJSON); err != nil {
		return "", err
	}
	env.Filters = filters
	t, err := exec.NewTemplate("/t", c, loader, &env)
	if err != nil {
		return "", err
	}
	data := map[string]any{"raise_exception": func(_ *exec.Evaluator, p *exec.VarArgs) *exec.Value {
		return exec.AsValue(errors.New(p.First().String()))
	}}
	for k, v := range vars.values {
		data[k] = gonjaValue(v)
	}
	return t.ExecuteToString(exec.NewContext(data))
}

func gonjaValue(v any) any {
	switch v := v.(type) {
	case int64:
		return int(v)
	case []any:
		items := []any{}
		for _, item := range v {
			items = append(items, gonjaValue(item))
		}
		return items
	case *object:
		d := exec.Dict{}
		for _, k := range v.keys {
			d.Pairs = append(d.Pairs, &exec.Pair{Key: exec.AsValue(k), Value: exec.AsValue(gonjaValue(v.values[k]))})
		}
		return d
	}
	return v
}

// gonjaJSON writes as transformers' tojson does; gonja's own filter neither keeps the order of keys nor has the blanks.
func gonjaJSON(_ *exec.Evaluator, in *exec.Value, p *exec.VarArgs) *exec.Value {
	var b strings.Builder
	writeJSON(&b, in.Interface())
	indent := p.GetKeywordArgument("indent", nil)
	if !indent.IsInteger() {
		return exec.AsValue(b.String())
	}
	var wide bytes.Buffer
	if err := json.Indent(&wide, []byte(b.String()), "", strings.Repeat(" ", indent.Integer())); err != nil {
		return exec.AsValue(err)
	}
	return exec.AsValue(wide.String())
}

func writeJSON(b *strings.Builder, v any) {
	switch v := v.(type) {
	case *exec.Value:
		writeJSON(b, v.Interface())
	case []any:
		b.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeJSON(b, item)
		}
		b.WriteByte(']')
	case map[string]any:
		d := exec.Dict{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			d.Pairs = append(d.Pairs, &exec.Pair{Key: exec.AsValue(k), Value: exec.AsValue(v[k])})
		}
		writeJSON(b, d)
	case *exec.Dict:
		writeJSON(b, *v)
	case exec.Dict:
		b.WriteByte('{')
		for i, p := range v.Pairs {
			if i > 0 {
				b.WriteString(", ")
			}
			writeJSON(b, p.Key)
			b.WriteString(": ")
			writeJSON(b, p.Value)
		}
		b.WriteByte('}')
	default:
		var own strings.Builder
		e := json.NewEncoder(&own)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			panic(err)
		}
		b.WriteString(strings.TrimSuffix(own.String(), "\n"))
	}
}
