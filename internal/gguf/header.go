package gguf

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

const (
	magic = "GGUF"

	// maxHeader bounds metadata and tensor table together, in bytes. The largest vocabularies need 20 MB.
	maxHeader = 512 << 20
	// maxKey and maxName are the format's limits of a key and of a tensor's name, in bytes.
	maxKey, maxName = 1<<16 - 1, 64
	maxDims         = 4
	maxDepth        = 4 // of arrays in arrays
	defaultAlign    = 32
	maxAlign        = 1 << 24
	keyAlignment    = "general.alignment"
)

// A header is read from front to back. Every count is compared with the bytes that are left before it is believed.
type header struct {
	r    *bufio.Reader
	at   int64 // bytes read
	size int64 // of the file
	err  error
}

// left is how many bytes may still be read.
func (h *header) left() int64 { return min(h.size, maxHeader) - h.at }

func (h *header) fail(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf(format, args...)
	}
}

// has says whether n more bytes are there, and is an error when they are not.
func (h *header) has(n uint64, what string) bool {
	if h.err == nil && (n > math.MaxInt64 || int64(n) > h.left()) {
		if h.size > maxHeader && n <= uint64(h.size-h.at) {
			h.fail("%s at byte %d: metadata and tensor table would be longer than %d bytes", what, h.at, maxHeader)
		} else {
			h.fail("%s at byte %d needs %d bytes, the file has %d more", what, h.at, n, max(0, h.size-h.at))
		}
	}
	return h.err == nil
}

// count says whether n things of at least least bytes each can be there.
func (h *header) count(n uint64, least int64, what string) bool {
	if h.err == nil && n > uint64(max(0, h.left())/least) {
		h.fail("%d %s are said to be there, with %d bytes left of the file", n, what, max(0, h.size-h.at))
	}
	return h.err == nil
}

func (h *header) bytes(n uint64, what string) []byte {
	if !h.has(n, what) {
		return nil
	}
	out := make([]byte, n)
	if _, err := io.ReadFull(h.r, out); err != nil {
		h.fail("%s at byte %d: %w", what, h.at, err)
		return nil
	}
	h.at += int64(n)
	return out
}

func (h *header) uint32(what string) uint32 {
	if b := h.bytes(4, what); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (h *header) uint64(what string) uint64 {
	if b := h.bytes(8, what); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (h *header) string(limit uint64, what string) string {
	n := h.uint64("the length of " + what)
	if h.err == nil && n > limit {
		h.fail("%s is %d bytes long: at most %d are allowed", what, n, limit)
	}
	return string(h.bytes(n, what))
}

// parse reads and checks the header of a file of size bytes: the metadata, and that each tensor's bytes are as many as
// its shape and type need, lie in the file, are aligned, and belong to no other tensor.
func parse(r io.ReaderAt, size int64) (*File, error) {
	h := &header{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<16), size: size}
	if m := h.bytes(4, "the magic number"); h.err == nil && string(m) != magic {
		return nil, fmt.Errorf("it begins with %q, not with %q", m, magic)
	}
	version := h.uint32("the version")
	switch {
	case h.err != nil:
	case version == 0x02000000 || version == 0x03000000:
		return nil, errors.New("big-endian files are not read")
	case version != 2 && version != 3:
		return nil, fmt.Errorf("version %d is not read: 2 and 3 are", version)
	}
	tensors, pairs := h.uint64("the number of tensors"), h.uint64("the number of keys")
	h.count(pairs, 13, "keys") // length, type, the smallest value
	h.count(tensors, 24, "tensors")
	f := &File{Version: int(version), values: map[string]value{}, byName: map[string]*Tensor{}}
	for i := uint64(0); i < pairs && h.err == nil; i++ {
		f.readPair(h)
	}
	align, err := f.alignment()
	if h.err == nil && err != nil {
		return nil, err
	}
	for i := uint64(0); i < tensors && h.err == nil; i++ {
		f.readTensor(h, align)
	}
	if h.err != nil {
		return nil, h.err
	}
	return f, f.place(alignUp(h.at, align), size)
}

func alignUp(n, align int64) int64 { return (n + align - 1) / align * align }

func (f *File) readPair(h *header) {
	key := h.string(maxKey, "a key")
	v := h.value(kind(h.uint32("the type of "+key)), key, 0)
	if h.err != nil {
		return
	}
	if _, ok := f.values[key]; ok || key == "" {
		h.fail("the key %q is there twice or is empty", key)
		return
	}
	f.keys, f.values[key] = append(f.keys, key), v
}

func (h *header) value(k kind, key string, depth int) value {
	switch {
	case h.err != nil:
	case int(k) >= len(kinds):
		h.fail("%s is of type %v, which does not exist", key, k)
	case k == kindString:
		return value{kind: k, text: h.string(math.MaxUint64, key)}
	case k == kindArray && depth == maxDepth:
		h.fail("%s: arrays are in arrays more than %d deep", key, maxDepth)
	case k == kindArray:
		return h.array(key, depth)
	default:
		v := value{kind: k, raw: h.bytes(uint64(kinds[k].bytes), key)}
		if k == kindBool && h.err == nil && v.raw[0] > 1 {
			h.fail("%s is a bool of value %d", key, v.raw[0])
		}
		return v
	}
	return value{}
}

func (h *header) array(key string, depth int) value {
	v := value{kind: kindArray, of: kind(h.uint32("the type of the elements of " + key))}
	n := h.uint64("the length of " + key)
	if h.err == nil && int(v.of) >= len(kinds) {
		h.fail("%s has elements of type %v, which does not exist", key, v.of)
	}
	if h.err != nil || !h.count(n, kinds[v.of].bytes, "elements of "+key) {
		return value{}
	}
	switch v.of {
	case kindString:
		for i := uint64(0); i < n && h.err == nil; i++ {
			v.texts = append(v.texts, h.string(math.MaxUint64, key))
		}
	case kindArray:
		for i := uint64(0); i < n && h.err == nil; i++ {
			v.arrays = append(v.arrays, h.value(kindArray, key, depth+1))
		}
	default:
		v.raw = h.bytes(n*uint64(kinds[v.of].bytes), key)
	}
	return v
}

func (f *File) readTensor(h *header, align int64) {
	name := h.string(maxName, "the name of a tensor")
	dims := h.uint32("the number of dimensions of " + name)
	if h.err == nil && (dims < 1 || dims > maxDims) {
		h.fail("tensor %q has %d dimensions: 1 to %d are allowed", name, dims, maxDims)
	}
	t := &Tensor{Name: name, in: f}
	elements := int64(1)
	for i := uint32(0); i < dims && h.err == nil; i++ {
		d := h.uint64("a dimension of " + name)
		// A tensor of types of 1 bit an element would have at most 8 elements a byte of the file.
		if h.err == nil && (d < 1 || d > uint64(8*h.size/elements)) {
			h.fail("tensor %q: dimension %d of %d does not fit a file of %d bytes", name, d, i+1, h.size)
			return
		}
		elements *= int64(d)
		t.Shape = append(t.Shape, int(d))
	}
	t.Type = Type(h.uint32("the type of " + name))
	offset := h.uint64("the offset of " + name)
	if h.err != nil {
		return
	}
	k, ok := types[t.Type]
	switch {
	case name == "":
		h.fail("a tensor has no name")
	case f.byName[name] != nil:
		h.fail("two tensors are named %q", name)
	case !ok:
		h.fail("tensor %q is of type %v, which is not known", name, t.Type)
	case t.Shape[0]%k.block != 0:
		h.fail("tensor %q has rows of %d elements, which are no whole blocks of %d (%v)", name, t.Shape[0], k.block, t.Type)
	case offset%uint64(align) != 0:
		h.fail("tensor %q begins at byte %d of the data, which is no multiple of the alignment %d", name, offset, align)
	case offset > uint64(h.size):
		h.fail("tensor %q begins at byte %d of the data, in a file of %d bytes", name, offset, h.size)
	}
	if h.err != nil {
		return
	}
	slices.Reverse(t.Shape)
	t.begin, t.size = int64(offset), elements/int64(k.block)*int64(k.bytes)
	f.tensors, f.byName[name] = append(f.tensors, t), t
}

// alignment is that of the tensors' bytes.
func (f *File) alignment() (int64, error) {
	n, ok, err := f.Uint(keyAlignment)
	if err != nil {
		return defaultAlign, err
	}
	if !ok {
		return defaultAlign, nil
	}
	if n < 1 || n > maxAlign || n&(n-1) != 0 {
		return defaultAlign, fmt.Errorf("%s is %d: it must be a power of two, at most %d", keyAlignment, n, maxAlign)
	}
	return int64(n), nil
}

// place checks where the tensors lie; data is where their bytes begin.
func (f *File) place(data, size int64) error {
	sorted := slices.Clone(f.tensors)
	slices.SortFunc(sorted, func(a, b *Tensor) int { return cmp.Compare(a.begin, b.begin) })
	at, last := data, ""
	for _, t := range sorted {
		t.begin += data // both are at most the file's size
		if t.begin < at {
			return fmt.Errorf("tensor %q begins at byte %d, where %q has not ended", t.Name, t.begin, last)
		}
		if t.size > size-t.begin {
			return fmt.Errorf("tensor %q takes up %d bytes from byte %d on, the file has %d: it was cut short, or is not what its header says", t.Name, t.size, t.begin, size)
		}
		at, last = t.begin+t.size, t.Name
	}
	return nil
}
