package jinja

import "fmt"

type (
	// A stream is what select, map and their kin give, an iterator of Python: it has no length, is true even when nothing
	// is in it, and is seen once.
	stream struct{ items []Value }

	// A view is a range, or the keys, values or items of a dict: a sequence that is no list.
	view struct {
		name  string // Python's name of the type
		items []Value
		text  string // as a range prints
	}
)

// left gives the items of a stream, which has none then.
func (s *stream) left() []Value {
	items := s.items
	s.items = nil
	return items
}

// next gives the next item of a stream.
func (s *stream) next() (Value, bool) {
	if len(s.items) == 0 {
		return nil, false
	}
	v := s.items[0]
	s.items = s.items[1:]
	return v, true
}

// rangeView is range(from, to, step) with its items.
func rangeView(items []Value, from, to, step int) *view {
	text := fmt.Sprintf("range(%d, %d)", from, to)
	if step != 1 {
		text = fmt.Sprintf("range(%d, %d, %d)", from, to, step)
	}
	return &view{"range", items, text}
}

// indexed are the items of what can be indexed by numbers and is no text.
func indexed(v Value) ([]Value, bool) {
	if w, ok := v.(*view); ok && w.name == "range" {
		return w.items, true
	}
	return sequence(v)
}

// iterable reports whether a loop can go over v.
func iterable(v Value) bool {
	switch v.(type) {
	case undefined, string, List, Tuple, *Dict, *stream, *view, *loop:
		return true
	}
	return false
}
