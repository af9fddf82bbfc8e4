package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Dict is a Python dict: it keeps its keys in the order they came.
type Dict struct {
	keys   []Value
	values []Value
	at     map[any]int
}

// NewDict makes an empty one.
func NewDict() *Dict { return &Dict{at: map[any]int{}} }

// Len is the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// Set gives the key a value. A key that is there keeps its place. Only the maker of a Dict may call it.
func (d *Dict) Set(key string, v Value) { d.set(key, v) }

// Get is the value of a key.
func (d *Dict) Get(key string) (Value, bool) { return d.get(key) }

// All are the keys that are strings, in their order, with their values.
func (d *Dict) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for i, key := range d.keys {
			if name, ok := key.(string); ok && !yield(name, d.values[i]) {
				return
			}
		}
	}
}

// Python's equal keys of different types are one key: 1, 1.0 and True.
type (
	noneKey  struct{}
	tupleKey string
	bigKey   string
)

func hash(key Value) (any, bool) {
	switch k := key.(type) {
	case nil:
		return noneKey{}, true
	case string, int:
		return k, true
	case bool:
		if k {
			return 1, true
		}
		return 0, true
	case float64:
		if i := int(k); float64(i) == k && math.Abs(k) < 1<<53 {
			return i, true
		}
		return k, true
	case *big.Int:
		return bigKey(k.String()), true
	case Tuple:
		var b strings.Builder
		for _, item := range k {
			h, ok := hash(item)
			if !ok {
				return nil, false
			}
			fmt.Fprintf(&b, "%T %q,", h, fmt.Sprint(h))
		}
		return tupleKey(b.String()), true
	}
	return nil, false
}

func (d *Dict) set(key, v Value) {
	h, ok := hash(key)
	if !ok {
		return
	}
	if i, ok := d.at[h]; ok {
		d.values[i] = v
		return
	}
	d.at[h] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, v)
}

func (d *Dict) get(key Value) (Value, bool) {
	h, ok := hash(key)
	if !ok {
		return nil, false
	}
	i, ok := d.at[h]
	if !ok {
		return nil, false
	}
	return d.values[i], true
}

// maxJSONDepth bounds how deeply JSON may nest, as Python's parser does by its recursion limit.
const maxJSONDepth = 200

// ParseJSON reads one JSON value; objects keep the order of their keys.
func ParseJSON(raw []byte) (Value, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	v, err := parseJSON(d, 0)
	if err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not valid JSON: there is more after the first value")
	}
	return v, nil
}

func parseJSON(d *json.Decoder, depth int) (Value, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("it nests more than %d deep", maxJSONDepth)
	}
	t, err := d.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			list := List{}
			for d.More() {
				v, err := parseJSON(d, depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err = d.Token()
			return list, err
		}
		dict := NewDict()
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			dict.set(key, v)
		}
		_, err = d.Token()
		return dict, err
	case json.Number:
		return parseNumber(string(t))
	default:
		return t, nil
	}
}

func parseNumber(s string) (Value, error) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(f, 0) {
			return nil, err
		}
		return f, nil
	}
	if i, err := strconv.Atoi(s); err == nil {
		return i, nil
	}
	if len(s) > 4300 { // Python's limit
		return nil, errors.New("a number has more than 4300 digits")
	}
	i, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, fmt.Errorf("%q is not a number", s)
	}
	return i, nil
}

// A jsonWriter writes as Python's json.dumps does.
type jsonWriter struct {
	r            *run
	b            strings.Builder
	ascii        bool
	sort         bool
	indent       string // of one level, when multiline
	multiline    bool
	comma, colon string
}

func (w *jsonWriter) newline(depth int) {
	if w.multiline {
		w.b.WriteByte('\n')
		for range depth {
			w.b.WriteString(w.indent)
		}
	}
}

func (w *jsonWriter) write(v Value, depth int) {
	if w.r.step(); depth > maxNesting {
		w.r.fail("tojson: the value nests too deeply")
	}
	w.r.room(w.b.Len())
	list := func(items []Value) {
		if len(items) == 0 {
			w.b.WriteString("[]")
			return
		}
		w.b.WriteByte('[')
		for i, item := range items {
			if i > 0 {
				w.b.WriteString(w.comma)
			}
			w.newline(depth + 1)
			w.write(item, depth+1)
		}
		w.newline(depth)
		w.b.WriteByte(']')
	}
	switch v := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strconv.FormatBool(v))
	case int, *big.Int:
		w.b.WriteString(w.r.text(v))
	case float64:
		w.b.WriteString(jsonFloat(v))
	case string:
		w.string(v)
	case List:
		list(v)
	case Tuple:
		list(v)
	case *Dict:
		w.dict(v, depth)
	default:
		w.r.fail("Object of type %s is not JSON serializable", typeName(v))
	}
}

func (w *jsonWriter) dict(d *Dict, depth int) {
	if d.Len() == 0 {
		w.b.WriteString("{}")
		return
	}
	order := make([]int, d.Len())
	for i := range order {
		order[i] = i
	}
	if w.sort {
		sort.SliceStable(order, func(i, j int) bool { return w.r.less(d.keys[order[i]], d.keys[order[j]]) })
	}
	w.b.WriteByte('{')
	for n, i := range order {
		if n > 0 {
			w.b.WriteString(w.comma)
		}
		w.newline(depth + 1)
		switch k := d.keys[i].(type) {
		case string:
			w.string(k)
		case nil:
			w.b.WriteString(`"null"`)
		case bool:
			w.b.WriteString(`"` + strconv.FormatBool(k) + `"`)
		case float64:
			w.b.WriteString(`"` + jsonFloat(k) + `"`)
		case int, *big.Int:
			w.b.WriteString(`"` + w.r.text(k) + `"`)
		default:
			w.r.fail("keys must be str, int, float, bool or None, not %s", typeName(k))
		}
		w.b.WriteString(w.colon)
		w.write(d.values[i], depth+1)
	}
	w.newline(depth)
	w.b.WriteByte('}')
}

func jsonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case math.IsNaN(f):
		return "NaN"
	}
	return floatText(f)
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\f': `\f`, '\b': `\b`}

func (w *jsonWriter) string(s string) {
	w.r.work(len(s))
	w.b.WriteByte('"')
	for _, c := range s {
		switch e, ok := jsonEscapes[c]; {
		case ok:
			w.b.WriteString(e)
		case c < 0x20 || w.ascii && c >= 0x7f && c < 0x10000:
			fmt.Fprintf(&w.b, `\u%04x`, c)
		case w.ascii && c >= utf8.RuneSelf:
			c -= 0x10000
			fmt.Fprintf(&w.b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			w.b.WriteRune(c)
		}
	}
	w.b.WriteByte('"')
}
