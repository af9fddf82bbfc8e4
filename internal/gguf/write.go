package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"stillhouse"
)

// A Pair is a key of the metadata and its value: a bool, int32, uint32, uint64, float32, string, []string or []int32.
type Pair struct {
	Key   string
	Value any
}

// A FloatTensor is a tensor to be written.
type FloatTensor struct {
	Name  string
	Type  Type
	Shape []int            // rows first
	Data  func() []float32 // called once, when the tensor's turn comes
}

// Write writes a file of version 3 with the default alignment of 32 bytes. The bytes depend on the arguments alone. A
// value that is not finite, or becomes infinite in the type of its tensor, is an error.
func Write(w io.Writer, metadata []Pair, tensors []FloatTensor) error {
	out := &writer{w: bufio.NewWriterSize(w, 1<<20)}
	out.raw([]byte(magic))
	out.uint32(3)
	out.uint64(uint64(len(tensors)))
	out.uint64(uint64(len(metadata)))
	seen := map[string]bool{}
	for _, p := range metadata {
		if p.Key == "" || p.Key == keyAlignment || len(p.Key) > maxKey || seen[p.Key] {
			return fmt.Errorf("gguf: the key %q cannot be written, or is there twice", p.Key)
		}
		seen[p.Key] = true
		if err := out.pair(p); err != nil {
			return fmt.Errorf("gguf: %w", err)
		}
	}
	clear(seen)
	at := int64(0)
	for _, t := range tensors {
		if t.Name == "" || len(t.Name) > maxName || seen[t.Name] {
			return fmt.Errorf("gguf: the name %q of a tensor cannot be written, or is there twice", t.Name)
		}
		seen[t.Name] = true
		if len(t.Shape) < 1 || len(t.Shape) > maxDims {
			return fmt.Errorf("gguf: tensor %s has %d dimensions: 1 to %d can be written", t.Name, len(t.Shape), maxDims)
		}
		if err := Writable(t.Type, t.Shape); err != nil {
			return stillhouse.Invalidf("gguf: tensor %s: %w", t.Name, err)
		}
		out.string(t.Name)
		out.uint32(uint32(len(t.Shape)))
		for i := range t.Shape {
			out.uint64(uint64(t.Shape[len(t.Shape)-1-i]))
		}
		out.uint32(uint32(t.Type))
		out.uint64(uint64(at))
		at = alignUp(at+t.bytes(), defaultAlign)
	}
	out.pad()
	for _, t := range tensors {
		if err := out.tensor(t); err != nil {
			return fmt.Errorf("gguf: tensor %s: %w", t.Name, err)
		}
		out.pad()
	}
	if out.err != nil {
		return out.err
	}
	return out.w.Flush()
}

func (t FloatTensor) len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

func (t FloatTensor) bytes() int64 {
	k := types[t.Type]
	return int64(t.len()) / int64(k.block) * int64(k.bytes)
}

// A writer keeps the first error and counts what it wrote.
type writer struct {
	w   *bufio.Writer
	at  int64
	err error
}

func (w *writer) raw(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
		w.at += int64(len(b))
	}
}

func (w *writer) uint32(n uint32) { w.raw(binary.LittleEndian.AppendUint32(nil, n)) }
func (w *writer) uint64(n uint64) { w.raw(binary.LittleEndian.AppendUint64(nil, n)) }
func (w *writer) string(s string) { w.uint64(uint64(len(s))); w.raw([]byte(s)) }
func (w *writer) pad()            { w.raw(make([]byte, alignUp(w.at, defaultAlign)-w.at)) }
func (w *writer) kind(kinds ...kind) {
	for _, k := range kinds {
		w.uint32(uint32(k))
	}
}

func (w *writer) pair(p Pair) error {
	w.string(p.Key)
	number := func(k kind) {
		w.kind(k)
		if w.err == nil {
			w.err = binary.Write(w.w, binary.LittleEndian, p.Value)
			w.at += kinds[k].bytes
		}
	}
	switch v := p.Value.(type) {
	case bool:
		number(kindBool)
	case int32:
		number(kindInt32)
	case uint32:
		number(kindUint32)
	case uint64:
		number(kindUint64)
	case float32:
		number(kindFloat32)
	case string:
		w.kind(kindString)
		w.string(v)
	case []string:
		w.kind(kindArray, kindString)
		w.uint64(uint64(len(v)))
		for _, s := range v {
			w.string(s)
		}
	case []int32:
		w.kind(kindArray, kindInt32)
		w.uint64(uint64(len(v)))
		for _, n := range v {
			w.uint32(uint32(n))
		}
	default:
		return fmt.Errorf("%s: values of type %T are not written", p.Key, p.Value)
	}
	return w.err
}

func (w *writer) tensor(t FloatTensor) error {
	data, k, convert := t.Data(), types[t.Type], quantize[t.Type]
	if len(data) != t.len() {
		return fmt.Errorf("it has %d elements, its shape %v asks for %d", len(data), t.Shape, t.len())
	}
	const chunk = 1 << 12 // blocks
	buf := make([]byte, min(chunk, len(data)/k.block)*k.bytes)
	for rest := data; len(rest) > 0 && w.err == nil; {
		n := min(len(rest)/k.block, chunk)
		if i := convert(buf[:n*k.bytes], rest[:n*k.block]); i >= 0 {
			return tooLarge(t.Type, len(data)-len(rest)+i, rest[i])
		}
		w.raw(buf[:n*k.bytes])
		rest = rest[n*k.block:]
	}
	return w.err
}
