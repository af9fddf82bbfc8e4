// Package gguf reads and writes GGUF, the file format of llama.cpp: one file with a model's metadata, its tokenizer and
// its weights, which may be quantised.
//
//	gguf.go       File and Tensor: what a file holds       header.go    the header, bounds-checked
//	types.go      the types of values and tensors          metadata.go  typed access to the metadata
//	dequantize.go, quantize.go  blocks to numbers and back  write.go    a whole file
//	tokenizer.go  the tokenizer in the metadata as the files of a Hugging Face directory; vocabulary.go the way back
//
// The format is that of ggml's docs/gguf.md, versions 2 and 3, little endian. A file is untrusted: nothing is allocated
// by a count that the file's own size does not bear out, and tensors are read piece by piece when they are asked for.
package gguf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
)

// A File is an open GGUF file.
type File struct {
	Path    string
	Version int

	keys    []string // in the order of the file
	values  map[string]value
	tensors []*Tensor // in the order of the file
	byName  map[string]*Tensor
	file    *os.File
}

// A Tensor says what a file holds under one name.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int // rows first, [out, in] for a projection: GGUF itself stores it the other way round

	in    *File
	begin int64 // of its bytes, from the start of the file
	size  int64 // bytes
}

// Open opens a file and reads its header. Close it after use.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, stillhouse.Invalidf("%s: there is no such file", path)
	} else if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = stillhouse.Invalidf("%s is not a file: give the path of a .gguf file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	g, err := parse(f, info.Size())
	if err != nil {
		return nil, errors.Join(stillhouse.Invalidf("%s: not a whole GGUF file: %w", path, err), f.Close())
	}
	g.Path, g.file = path, f
	return g, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Keys are the keys of the metadata in the order of the file.
func (f *File) Keys() []string { return slices.Clone(f.keys) }

// Tensors are the tensors in the order of the file.
func (f *File) Tensors() []*Tensor { return slices.Clone(f.tensors) }

// Tensor is the tensor of that name, nil when there is none.
func (f *File) Tensor(name string) *Tensor { return f.byName[name] }

// Len is the number of elements.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d // does not overflow: the header's parser has compared it with the file's size
	}
	return n
}

// Bytes is the number of bytes that the tensor takes up in the file.
func (t *Tensor) Bytes() int64 { return t.size }

// Floats reads the tensor into dst, which must have exactly [Tensor.Len] elements. Blocks are dequantised as ggml's
// reference code does it, in fp32. A type that is not read is refused by name.
func (t *Tensor) Floats(dst []float32) error {
	if len(dst) != t.Len() {
		return fmt.Errorf("%s: tensor %s has %d elements, not %d", t.in.Path, t.Name, t.Len(), len(dst))
	}
	convert := dequantize[t.Type]
	if convert == nil {
		return stillhouse.Invalidf("%s: tensor %s is of type %v, which is not read: %s are; take another quantisation of the model", t.in.Path, t.Name, t.Type, typeNames(dequantize))
	}
	kind := types[t.Type]
	const chunk = 1 << 12 // blocks
	blocks := len(dst) / kind.block
	buf := make([]byte, min(chunk, blocks)*kind.bytes)
	for at := 0; at < blocks; {
		n := min(chunk, blocks-at)
		if _, err := t.in.file.ReadAt(buf[:n*kind.bytes], t.begin+int64(at*kind.bytes)); err != nil {
			return fmt.Errorf("%s: tensor %s: %w", t.in.Path, t.Name, err)
		}
		convert(dst[at*kind.block:(at+n)*kind.block], buf)
		at += n
	}
	return nil
}

// IsFile says whether a path is meant as a GGUF file, by its name.
func IsFile(path string) bool { return strings.EqualFold(filepath.Ext(path), ".gguf") }

// Find gives the GGUF file that a path to a model stands for: the path itself when it names one, or the only .gguf file
// of a directory that has no config.json. It gives "" for a directory that is a model in another format, or none.
func Find(path string) (string, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		if IsFile(path) {
			return path, nil
		}
		return "", nil
	}
	if _, err := os.Stat(filepath.Join(path, "config.json")); err == nil {
		return "", nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if IsFile(e.Name()) && !e.IsDir() {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return filepath.Join(path, found[0]), nil
	}
	return "", stillhouse.Invalidf("%s: there are %d GGUF files in it (%s): name one of them", path, len(found), strings.Join(found[:min(len(found), 5)], ", "))
}
