package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
)

// A value is one value of the metadata. Numbers stay in the bytes of the file until they are asked for.
type value struct {
	kind   kind
	of     kind   // of an array's elements
	raw    []byte // of a number, or of an array's numbers
	text   string
	texts  []string
	arrays []value
}

// Has says whether the metadata has a key.
func (f *File) Has(key string) bool {
	_, ok := f.values[key]
	return ok
}

// Uint gives a whole number that is not negative, of whatever integer type it is stored in; ok is false where the key is
// not there.
func (f *File) Uint(key string) (n uint64, ok bool, err error) {
	v, ok := f.values[key]
	if !ok {
		return 0, false, nil
	}
	i, err := v.int(0)
	if err != nil || i < 0 && v.kind != kindUint64 {
		return 0, false, f.wrong(key, "a whole number, not negative")
	}
	return uint64(i), true, nil
}

// Float gives a number with a fraction. One that is stored in fp32 is the shortest decimal that rounds to it, as a
// configuration would spell it: 1e-5, not 9.99999974e-6.
func (f *File) Float(key string) (x float64, ok bool, err error) {
	v, ok := f.values[key]
	if !ok {
		return 0, false, nil
	}
	switch v.kind {
	case kindFloat32:
		x, err = strconv.ParseFloat(strconv.FormatFloat(v.float(0), 'g', -1, 32), 64)
		return x, true, err
	case kindFloat64:
		return v.float(0), true, nil
	}
	return 0, false, f.wrong(key, "a number of type float32 or float64")
}

// Text gives a string.
func (f *File) Text(key string) (text string, ok bool, err error) {
	v, ok := f.values[key]
	if ok && v.kind != kindString {
		return "", false, f.wrong(key, "a string")
	}
	return v.text, ok, nil
}

// Bool gives a truth value.
func (f *File) Bool(key string) (b, ok bool, err error) {
	v, ok := f.values[key]
	if ok && v.kind != kindBool {
		return false, false, f.wrong(key, "a bool")
	}
	return ok && v.raw[0] == 1, ok, nil
}

// Texts gives an array of strings. The caller must not change it.
func (f *File) Texts(key string) (texts []string, ok bool, err error) {
	v, ok := f.values[key]
	if ok && (v.kind != kindArray || v.of != kindString) {
		return nil, false, f.wrong(key, "an array of strings")
	}
	return v.texts, ok, nil
}

// Ints gives an array of whole numbers, of whatever integer type they are stored in.
func (f *File) Ints(key string) (ints []int64, ok bool, err error) {
	v, ok := f.values[key]
	if !ok {
		return nil, false, nil
	}
	if v.kind != kindArray {
		return nil, false, f.wrong(key, "an array of whole numbers")
	}
	ints = make([]int64, len(v.raw)/int(max(1, kinds[v.of].bytes)))
	for i := range ints {
		if ints[i], err = (value{kind: v.of, raw: v.raw}).int(i); err != nil {
			return nil, false, f.wrong(key, "an array of whole numbers")
		}
	}
	return ints, true, nil
}

func (f *File) wrong(key, want string) error {
	v := f.values[key]
	is := v.kind.String()
	if v.kind == kindArray {
		is = "an array of " + v.of.String()
	}
	return fmt.Errorf("%s is of type %s, not %s", key, is, want)
}

// int is the i-th whole number of the bytes.
func (v value) int(i int) (int64, error) {
	le := binary.LittleEndian
	switch v.kind {
	case kindUint8:
		return int64(v.raw[i]), nil
	case kindInt8:
		return int64(int8(v.raw[i])), nil
	case kindUint16:
		return int64(le.Uint16(v.raw[2*i:])), nil
	case kindInt16:
		return int64(int16(le.Uint16(v.raw[2*i:]))), nil
	case kindUint32:
		return int64(le.Uint32(v.raw[4*i:])), nil
	case kindInt32:
		return int64(int32(le.Uint32(v.raw[4*i:]))), nil
	case kindUint64, kindInt64:
		return int64(le.Uint64(v.raw[8*i:])), nil
	}
	return 0, fmt.Errorf("%v is not a whole number", v.kind)
}

// float is the i-th number with a fraction of the bytes.
func (v value) float(i int) float64 {
	if v.kind == kindFloat32 {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(v.raw[4*i:])))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(v.raw[8*i:]))
}
