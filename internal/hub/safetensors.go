package hub

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
)

// The safetensors format, as huggingface/safetensors 0.8 defines it: eight bytes with the length of the header (little
// endian), the header (JSON: for each tensor its dtype, shape and the two ends of its bytes), then the bytes of all
// tensors end to end. A file is untrusted: nothing is allocated by a count that the file's own size does not bear out.

// maxSafetensorsHeader is the longest header that is read, in bytes; the reference implementation has the same limit.
const maxSafetensorsHeader = 100_000_000

// safetensorsBits is the size of an element of each dtype.
var safetensorsBits = map[string]int{
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16,
	"I32": 32, "U32": 32, "F32": 32,
	"F64": 64, "I64": 64, "U64": 64, "C64": 64,
}

// A SafeTensor says what a file holds under one name.
type SafeTensor struct {
	Name  string
	Dtype string // as the file spells it: F32, BF16, F16, …
	Shape []int  // empty for a scalar
	File  string // path of the file that holds it

	shard      *os.File
	begin, end int64 // of its bytes, from the start of the file
}

// Len is the number of elements.
func (t *SafeTensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d // does not overflow: parseHeader has compared it with the file's size
	}
	return n
}

// Floats reads the tensor into dst, which must have exactly [SafeTensor.Len] elements. F32, BF16 and F16 are read; each
// value is exact.
func (t *SafeTensor) Floats(dst []float32) error {
	if len(dst) != t.Len() {
		return fmt.Errorf("%s: tensor %s has %d elements, not %d", t.File, t.Name, t.Len(), len(dst))
	}
	convert, size := floatReader(t.Dtype)
	if convert == nil {
		return stillhouse.Invalidf("%s: tensor %s is of dtype %s: F32, BF16 and F16 can be read; save the model in one of them", t.File, t.Name, t.Dtype)
	}
	const chunk = 1 << 18 // elements
	buf := make([]byte, min(chunk, len(dst))*size)
	for at := 0; at < len(dst); {
		n := min(chunk, len(dst)-at)
		if _, err := t.shard.ReadAt(buf[:n*size], t.begin+int64(at*size)); err != nil {
			return fmt.Errorf("%s: tensor %s: %w", t.File, t.Name, err)
		}
		convert(dst[at:at+n], buf)
		at += n
	}
	return nil
}

func floatReader(dtype string) (convert func(dst []float32, src []byte), size int) {
	le := binary.LittleEndian
	switch dtype {
	case "F32":
		return func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = math.Float32frombits(le.Uint32(src[4*i:]))
			}
		}, 4
	case "BF16":
		return func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = math.Float32frombits(uint32(le.Uint16(src[2*i:])) << 16)
			}
		}, 2
	case "F16":
		return func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = FromF16(le.Uint16(src[2*i:]))
			}
		}, 2
	}
	return nil, 0
}

// Safetensors is one open file or the shards of a directory, read as one.
type Safetensors struct {
	Path     string
	Metadata map[string]string // the __metadata__ of a file; of a directory's first shard

	tensors map[string]*SafeTensor
	files   []*os.File
}

// OpenSafetensors opens a .safetensors file, or a directory with model.safetensors or model.safetensors.index.json and
// the shards that it names. Close it after use.
func OpenSafetensors(path string) (*Safetensors, error) {
	s := &Safetensors{Path: path, tensors: map[string]*SafeTensor{}}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, stillhouse.Invalidf("%s: there is no such file or directory", path)
	case err != nil:
		return nil, err
	case info.IsDir():
		err = s.openDir(path)
	default:
		err = s.openFile(path)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Safetensors) openDir(dir string) error {
	single := filepath.Join(dir, "model.safetensors")
	if _, err := os.Stat(single); err == nil {
		return s.openFile(single)
	}
	index := filepath.Join(dir, "model.safetensors.index.json")
	text, err := os.ReadFile(index)
	if errors.Is(err, os.ErrNotExist) {
		return stillhouse.Invalidf("%s: no weights: neither model.safetensors nor model.safetensors.index.json is there; download the model again, or save it in the safetensors format", dir)
	} else if err != nil {
		return err
	}
	var in struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return stillhouse.Invalidf("%s: not valid JSON: %w", index, err)
	}
	if len(in.WeightMap) == 0 {
		return stillhouse.Invalidf("%s: weight_map names no tensor", index)
	}
	var shards []string
	for name, file := range in.WeightMap {
		if file == "" || file == ".." || strings.ContainsAny(file, `/\`) {
			return stillhouse.Invalidf("%s: tensor %s: shard %q is not the name of a file in the same directory", index, name, file)
		}
		if !slices.Contains(shards, file) {
			shards = append(shards, file)
		}
	}
	slices.Sort(shards)
	for _, file := range shards {
		if err := s.openFile(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	for name, file := range in.WeightMap {
		if t := s.tensors[name]; t == nil || filepath.Base(t.File) != file {
			return stillhouse.Invalidf("%s: tensor %s is not in the shard %s, where the index says it is", index, name, file)
		}
	}
	for name, t := range s.tensors {
		if _, ok := in.WeightMap[name]; !ok {
			return stillhouse.Invalidf("%s: tensor %s of the shard %s is not in the index", index, name, filepath.Base(t.File))
		}
	}
	return nil
}

func (s *Safetensors) openFile(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // a pipe would be waited for
		return stillhouse.Invalidf("%s is no file: give a safetensors file", path)
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return stillhouse.Invalidf("%s: there is no such file; download the model again", path)
	} else if err != nil {
		return err
	}
	s.files = append(s.files, f)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	tensors, meta, err := parseHeader(f, info.Size())
	if err != nil {
		return stillhouse.Invalidf("%s: not a whole safetensors file: %w", path, err)
	}
	if s.Metadata == nil {
		s.Metadata = meta
	}
	for _, t := range tensors {
		if other := s.tensors[t.Name]; other != nil {
			return stillhouse.Invalidf("%s: tensor %s is also in %s", path, t.Name, other.File)
		}
		t.File, t.shard = path, f
		s.tensors[t.Name] = t
	}
	return nil
}

// Names are the names of all tensors, sorted.
func (s *Safetensors) Names() []string {
	out := make([]string, 0, len(s.tensors))
	for name := range s.tensors {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Tensor is the tensor of that name, nil when there is none.
func (s *Safetensors) Tensor(name string) *SafeTensor { return s.tensors[name] }

// Close closes the files.
func (s *Safetensors) Close() error {
	var all []error
	for _, f := range s.files {
		all = append(all, f.Close())
	}
	s.files = nil
	return errors.Join(all...)
}

// parseHeader reads and checks the header of a file of size bytes: that each tensor's bytes are as many as its shape
// and dtype need, and that the tensors fill the file without gap or overlap.
func parseHeader(r io.ReaderAt, size int64) ([]*SafeTensor, map[string]string, error) {
	var prefix [8]byte
	if size < 8 {
		return nil, nil, fmt.Errorf("%d bytes are too few", size)
	}
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, nil, err
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	if length > maxSafetensorsHeader || int64(length) > size-8 {
		return nil, nil, fmt.Errorf("its header would be %d bytes long, in a file of %d bytes", length, size)
	}
	header := make([]byte, length)
	if _, err := r.ReadAt(header, 8); err != nil {
		return nil, nil, err
	}
	entries, err := uniqueObject(header)
	if err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	var tensors []*SafeTensor
	var meta map[string]string
	data := size - 8 - int64(length)
	for _, e := range entries {
		if e.key == "__metadata__" {
			if err := json.Unmarshal(e.value, &meta); err != nil {
				return nil, nil, fmt.Errorf("header: __metadata__: %w", err)
			}
			continue
		}
		t, err := parseTensor(e.key, e.value, data)
		if err != nil {
			return nil, nil, fmt.Errorf("header: tensor %q: %w", e.key, err)
		}
		tensors = append(tensors, t)
	}
	slices.SortFunc(tensors, func(a, b *SafeTensor) int {
		if a.begin != b.begin {
			return int(max(-1, min(1, a.begin-b.begin)))
		}
		if a.end != b.end {
			return int(max(-1, min(1, a.end-b.end)))
		}
		return strings.Compare(a.Name, b.Name)
	})
	at := int64(0)
	for _, t := range tensors {
		if t.begin != at {
			return nil, nil, fmt.Errorf("tensor %q begins at byte %d of the data, not at %d where the one before it ends", t.Name, t.begin, at)
		}
		at = t.end
		t.begin += 8 + int64(length)
		t.end += 8 + int64(length)
	}
	if at != data {
		return nil, nil, fmt.Errorf("the tensors take up %d bytes, the file has %d for them", at, data)
	}
	return tensors, meta, nil
}

func parseTensor(name string, value []byte, data int64) (*SafeTensor, error) {
	var in struct {
		Dtype   *string  `json:"dtype"`
		Shape   *[]int   `json:"shape"`
		Offsets *[]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(value, &in); err != nil {
		return nil, err
	}
	if in.Dtype == nil || in.Shape == nil || in.Offsets == nil || len(*in.Offsets) != 2 {
		return nil, errors.New("dtype, shape and two data_offsets are needed")
	}
	bits, ok := safetensorsBits[*in.Dtype]
	if !ok {
		return nil, fmt.Errorf("unknown dtype %q", *in.Dtype)
	}
	begin, end := (*in.Offsets)[0], (*in.Offsets)[1]
	if begin < 0 || begin > end || end > data {
		return nil, fmt.Errorf("data_offsets [%d, %d] do not lie in the %d bytes of data", begin, end, data)
	}
	want := int64(bits / 8)
	for _, d := range *in.Shape {
		if d < 0 || (d > 0 && want > data/int64(d)) {
			return nil, fmt.Errorf("shape %v of dtype %s does not fit the %d bytes of data", *in.Shape, *in.Dtype, data)
		}
		want *= int64(d)
	}
	if want != end-begin {
		return nil, fmt.Errorf("shape %v of dtype %s needs %d bytes, data_offsets give it %d", *in.Shape, *in.Dtype, want, end-begin)
	}
	return &SafeTensor{Name: name, Dtype: *in.Dtype, Shape: *in.Shape, begin: begin, end: end}, nil
}

type entry struct {
	key   string
	value json.RawMessage
}

// uniqueObject reads a JSON object whose keys are all different. encoding/json alone would let the last one win.
func uniqueObject(text []byte) ([]entry, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil {
		return nil, err
	} else if t != json.Delim('{') {
		return nil, fmt.Errorf("it begins with %v, not with {", t)
	}
	var out []entry
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string) // the decoder lets only strings be keys
		if seen[key] {
			return nil, fmt.Errorf("%q is there twice", key)
		}
		seen[key] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		out = append(out, entry{key, value})
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the closing }")
	}
	return out, nil
}
