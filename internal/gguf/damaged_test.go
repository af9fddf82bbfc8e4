package gguf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stillhouse"
)

func TestKQuants(t *testing.T) {
	text, err := os.ReadFile("../../testdata/gguf/kquants.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][]float32
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	f := open(t, "../../testdata/gguf/kquants.gguf")
	for _, name := range []string{"Q4_K", "Q6_K"} {
		if got := floats(t, f.Tensor(name+".weight")); !slices.Equal(got, want[name]) {
			t.Errorf("%s: %v…, not %v…", name, got[:8], want[name][:8])
		}
	}
	for _, name := range []string{"Q5_K", "Q5_0"} {
		x := f.Tensor(name + ".weight")
		err := x.Floats(make([]float32, x.Len()))
		if stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), "is of type "+name+", which is not read: F32,") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A raw is a GGUF file put together by hand, so that it can lie.
type raw struct{ bytes.Buffer }

func (r *raw) put(values ...any) *raw {
	for _, v := range values {
		switch v := v.(type) {
		case string:
			binary.Write(r, binary.LittleEndian, uint64(len(v)))
			r.WriteString(v)
		case []byte:
			r.Write(v)
		default:
			binary.Write(r, binary.LittleEndian, v)
		}
	}
	return r
}

// file is a header of a version with counts of tensors and keys, and what follows.
func file(version uint32, tensors, pairs uint64, rest ...any) []byte {
	r := &raw{}
	return r.put([]byte("GGUF"), version, tensors, pairs).put(rest...).Bytes()
}

const u32, u64 = uint32(1), uint64(1)

// tensor is an entry of the tensor table.
func tensor(name string, kind uint32, offset uint64, dims ...uint64) []byte {
	r := &raw{}
	return r.put(name, uint32(len(dims)), dims, kind, offset).Bytes()
}

// padded fills up to the alignment and adds n bytes of data.
func padded(b []byte, n int) []byte {
	return append(b, make([]byte, int(alignUp(int64(len(b)), 32))-len(b)+n)...)
}

func TestDamagedFilesAreRefused(t *testing.T) {
	huge := uint64(1) << 60
	align := func(n uint32) []byte {
		return padded(file(3, 1, 1, "general.alignment", uint32(kindUint32), n, tensor("a", 0, 0, 8)), 32)
	}
	for name, tc := range map[string]struct {
		file []byte
		want string
	}{
		"empty":                     {nil, "the magic number at byte 0 needs 4 bytes, the file has 0 more"},
		"another format":            {[]byte("PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaa"), `not with "GGUF"`},
		"version 1":                 {file(1, 0, 0), "version 1 is not read"},
		"version 4":                 {file(4, 0, 0), "version 4 is not read"},
		"big-endian":                {file(3<<24, 0, 0), "big-endian"},
		"2^60 keys":                 {file(3, 0, huge), "1152921504606846976 keys are said to be there"},
		"2^60 tensors":              {file(3, huge, 0), "1152921504606846976 tensors are said to be there"},
		"2^64-1 of both":            {file(3, math.MaxUint64, math.MaxUint64), "keys are said"},
		"a key of 2^60 bytes":       {file(3, 0, 1, huge, make([]byte, 64)), "a key is 1152921504606846976 bytes long"},
		"a key longer than all":     {file(3, 0, 1, uint64(60000), make([]byte, 64)), "a key at byte 32 needs 60000 bytes"},
		"an empty key":              {file(3, 0, 1, "", uint32(kindUint32), u32, make([]byte, 8)), "is empty"},
		"a key twice":               {file(3, 0, 2, "k", uint32(kindUint32), u32, "k", uint32(kindUint32), u32, make([]byte, 8)), `the key "k" is there twice`},
		"an unknown type":           {file(3, 0, 1, "k", uint32(13), u64), "k is of type number 13"},
		"a bool of 2":               {file(3, 0, 1, "k", uint32(kindBool), byte(2), make([]byte, 8)), "k is a bool of value 2"},
		"a string of 2^60 bytes":    {file(3, 0, 1, "k", uint32(kindString), huge, make([]byte, 8)), "k at byte 45 needs 1152921504606846976 bytes"},
		"an array of 2^60":          {file(3, 0, 1, "k", uint32(kindArray), uint32(kindFloat64), huge, make([]byte, 8)), "1152921504606846976 elements of k"},
		"an array that overflows":   {file(3, 0, 1, "k", uint32(kindArray), uint32(kindUint64), uint64(1)<<61, make([]byte, 8)), "elements of k"},
		"2^60 strings":              {file(3, 0, 1, "k", uint32(kindArray), uint32(kindString), huge, make([]byte, 8)), "elements of k"},
		"2^60 arrays":               {file(3, 0, 1, "k", uint32(kindArray), uint32(kindArray), huge, make([]byte, 8)), "elements of k"},
		"elements unknown":          {file(3, 0, 1, "k", uint32(kindArray), uint32(99), u64, make([]byte, 8)), "elements of type number 99"},
		"arrays without end":        {file(3, 0, 1, "k", uint32(kindArray), bytes.Repeat([]byte{9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, 1000)), "more than 4 deep"},
		"a name of 65 bytes":        {padded(file(3, 1, 0, tensor(strings.Repeat("n", 65), 0, 0, 8)), 32), "at most 64 are allowed"},
		"no name":                   {padded(file(3, 1, 0, tensor("", 0, 0, 8)), 32), "a tensor has no name"},
		"a name twice":              {padded(file(3, 2, 0, tensor("a", 0, 0, 8), tensor("a", 0, 32, 8)), 64), `two tensors are named "a"`},
		"no dimension":              {padded(file(3, 1, 0, tensor("a", 0, 0)), 32), "has 0 dimensions"},
		"five dimensions":           {padded(file(3, 1, 0, tensor("a", 0, 0, 1, 1, 1, 1, 1)), 32), "has 5 dimensions"},
		"2^32 dimensions":           {padded(file(3, 1, 0, "a", uint32(math.MaxUint32)), 32), "has 4294967295 dimensions"},
		"a dimension of 0":          {padded(file(3, 1, 0, tensor("a", 0, 0, 0)), 32), "dimension 0 of 1"},
		"a dimension of 2^60":       {padded(file(3, 1, 0, tensor("a", 0, 0, huge)), 32), "does not fit a file"},
		"dimensions that overflow":  {padded(file(3, 1, 0, tensor("a", 0, 0, 1<<32, 1<<32)), 32), "does not fit a file"},
		"to 0":                      {padded(file(3, 1, 0, tensor("a", 0, 0, 1<<16, 1<<16, 1<<16, 1<<16)), 32), "does not fit a file"},
		"an unknown tensor type":    {padded(file(3, 1, 0, tensor("a", 5, 0, 8)), 32), "type number 5, which is not known"},
		"half a block":              {padded(file(3, 1, 0, tensor("a", 8, 0, 48)), 64), "no whole blocks of 32 (Q8_0)"},
		"an offset askew":           {padded(file(3, 1, 0, tensor("a", 0, 4, 8)), 64), "no multiple of the alignment 32"},
		"an offset beyond the file": {padded(file(3, 1, 0, tensor("a", 0, 1<<40, 8)), 32), "in a file of"},
		"an offset that overflows":  {padded(file(3, 1, 0, tensor("a", 0, math.MaxUint64-31, 8)), 32), "in a file of"},
		"an end beyond the file":    {padded(file(3, 1, 0, tensor("a", 0, 32, 8)), 32), "it was cut short"},
		"tensors that overlap":      {padded(file(3, 2, 0, tensor("a", 0, 0, 16), tensor("b", 0, 32, 8)), 64), `where "a" has not ended`},
		"tensors in one place":      {padded(file(3, 2, 0, tensor("a", 0, 0, 8), tensor("b", 0, 0, 8)), 64), "has not ended"},
		"alignment 0":               {align(0), "general.alignment is 0"},
		"alignment 3":               {align(3), "general.alignment is 3"},
		"alignment 2^31":            {align(1 << 31), "general.alignment is 2147483648"},
		"a longer alignment":        {align(1 << 20), "it was cut short"},
		"an alignment of text":      {padded(file(3, 1, 1, "general.alignment", uint32(kindString), "32", tensor("a", 0, 0, 8)), 32), "general.alignment is of type string"},
	} {
		path := filepath.Join(t.TempDir(), "x.gguf")
		if err := os.WriteFile(path, tc.file, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err == nil {
			f.Close()
			t.Errorf("%s: opened", name)
		} else if stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file cut short at any byte is refused, whether in the header or in the weights.
func TestCutShort(t *testing.T) {
	whole, err := os.ReadFile(goldens + "tiny-llama.Q4_0.gguf")
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if n > 3000 && n < len(whole)-3000 && n%97 != 0 {
			continue
		}
		if _, err := parse(bytes.NewReader(whole[:n]), int64(n)); err == nil {
			t.Errorf("cut to %d of %d bytes: opened", n, len(whole))
		}
	}
	if _, err := parse(bytes.NewReader(whole), int64(len(whole))); err != nil {
		t.Error(err)
	}
}

// Version 2 has the same layout, and every type of value can be read.
func TestVersion2AndValues(t *testing.T) {
	b := file(2, 0, 14,
		"u8", uint32(kindUint8), uint8(200), "i8", uint32(kindInt8), int8(-1), "u16", uint32(kindUint16), uint16(60000), "i16", uint32(kindInt16), int16(-2),
		"u32", uint32(kindUint32), uint32(1<<31), "i32", uint32(kindInt32), int32(7), "f32", uint32(kindFloat32), float32(1e-5), "b", uint32(kindBool), true,
		"s", uint32(kindString), "text", "u64", uint32(kindUint64), uint64(1<<40), "i64", uint32(kindInt64), int64(-9), "f64", uint32(kindFloat64), 0.1,
		"a", uint32(kindArray), uint32(kindInt16), uint64(2), int16(-5), int16(6),
		"n", uint32(kindArray), uint32(kindArray), uint64(1), uint32(kindString), uint64(1), "deep")
	f, err := parse(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if f.Version != 2 || len(f.Keys()) != 14 || f.values["n"].arrays[0].texts[0] != "deep" {
		t.Errorf("version %d, keys %v", f.Version, f.Keys())
	}
	for key, want := range map[string]uint64{"u8": 200, "u16": 60000, "u32": 1 << 31, "i32": 7, "u64": 1 << 40} {
		if n, ok, err := f.Uint(key); n != want || !ok || err != nil {
			t.Errorf("%s: %v, %v, %v", key, n, ok, err)
		}
	}
	for _, key := range []string{"i8", "i16", "i64", "f32", "s", "a", "b"} {
		if _, _, err := f.Uint(key); err == nil || !strings.Contains(err.Error(), key+" is of type ") {
			t.Errorf("%s as a whole number: %v", key, err)
		}
	}
	f32, _, err32 := f.Float("f32")
	f64, _, err64 := f.Float("f64")
	text, _, errText := f.Text("s")
	yes, _, errBool := f.Bool("b")
	ints, _, errInts := f.Ints("a")
	if f32 != 1e-5 || f64 != 0.1 || text != "text" || !yes || !slices.Equal(ints, []int64{-5, 6}) || err32 != nil || err64 != nil || errText != nil || errBool != nil || errInts != nil {
		t.Errorf("%v %v %q %v %v: %v %v %v %v %v", f32, f64, text, yes, ints, err32, err64, errText, errBool, errInts)
	}
	if _, ok, err := f.Uint("none"); ok || err != nil {
		t.Errorf("a key that is not there: %v, %v", ok, err)
	}
}

func TestNotWritten(t *testing.T) {
	row := func(x ...float32) func() []float32 {
		return func() []float32 { return append(x, make([]float32, 32-len(x))...) }
	}
	inf := float32(math.Inf(1))
	for name, tc := range map[string]struct {
		tensors []FloatTensor
		pairs   []Pair
		want    string
	}{
		"a NaN":                  {[]FloatTensor{{"a", F32, []int{32}, row(0, float32(math.NaN()))}}, nil, "element 1 is NaN"},
		"infinite in Q8_0":       {[]FloatTensor{{"a", Q8_0, []int{32}, row(inf)}}, nil, "element 0 is +Inf"},
		"too large for F16":      {[]FloatTensor{{"a", F16, []int{32}, row(0, 0, 65520)}}, nil, "element 2 is 65520"},
		"a scale too large":      {[]FloatTensor{{"a", Q4_0, []int{32}, row(1e9)}}, nil, "Q4_0 cannot hold"},
		"no whole blocks":        {[]FloatTensor{{"a", Q8_0, []int{2, 16}, row()}}, nil, "rows of whole blocks of 32"},
		"a type that is not":     {[]FloatTensor{{"a", Q4_K, []int{256}, row()}}, nil, "type Q4_K is not written"},
		"a tensor twice":         {[]FloatTensor{{"a", F32, []int{32}, row()}, {"a", F32, []int{32}, row()}}, nil, "is there twice"},
		"fewer elements":         {[]FloatTensor{{"a", F32, []int{64}, row()}}, nil, "its shape [64] asks for 64"},
		"a key twice":            {nil, []Pair{{"k", "a"}, {"k", "b"}}, "is there twice"},
		"a value that cannot be": {nil, []Pair{{"k", struct{}{}}}, "values of type struct {} are not written"},
	} {
		if err := Write(&bytes.Buffer{}, tc.pairs, tc.tensors); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Blocks of zeros, of equal numbers and of numbers too small for a scale in half precision stay finite and close.
func TestSmallNumbersStaySmall(t *testing.T) {
	for _, typ := range []Type{Q8_0, Q4_0, Q4_1} {
		for _, x := range []float32{0, 1e-45, -1e-40, 1e-9, 3e-5, -2} {
			data := slices.Repeat([]float32{x}, 32)
			if err := Round(typ, data); err != nil {
				t.Errorf("%v of %v: %v", typ, x, err)
			}
			for _, y := range data {
				if d := math.Abs(float64(y) - float64(x)); d > 1e-3*math.Abs(float64(x))+1e-5 {
					t.Errorf("%v of %v: %v", typ, x, y)
				}
			}
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	put := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	find := func(path, want, wrong string) {
		t.Helper()
		got, err := Find(path)
		if got != want || wrong == "" && err != nil || wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	find(dir, "", "")
	put("a.gguf")
	find(dir, filepath.Join(dir, "a.gguf"), "")
	find(filepath.Join(dir, "a.GGUF"), filepath.Join(dir, "a.GGUF"), "")
	put("b.gguf")
	find(dir, "", "there are 2 GGUF files in it (a.gguf, b.gguf)")
	put("config.json")
	find(dir, "", "")
	find(filepath.Join(dir, "config.json"), "", "")
}

func FuzzOpen(f *testing.F) {
	for _, name := range []string{goldens + "tiny-llama.Q4_0.gguf", "../../testdata/gguf/kquants.gguf"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text[:min(len(text), 8000)])
	}
	f.Add(file(2, 1, 1, "general.alignment", uint32(kindUint32), uint32(8), tensor("a", 0, 0, 2, 2), make([]byte, 64)))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := parse(bytes.NewReader(text), int64(len(text)))
		if err != nil {
			return
		}
		for _, x := range g.Tensors() {
			if x.begin < 0 || x.size < 0 || x.begin+x.size > int64(len(text)) || x.Len() > 8*len(text) {
				t.Errorf("%s: %d elements in %d bytes from %d, in a file of %d", x.Name, x.Len(), x.size, x.begin, len(text))
			}
			if convert := dequantize[x.Type]; convert != nil {
				convert(make([]float32, x.Len()), text[x.begin:x.begin+x.size])
			}
		}
		for _, key := range g.Keys() {
			g.Uint(key)
			g.Float(key)
			g.Text(key)
			g.Bool(key)
			g.Texts(key)
			g.Ints(key)
		}
		g.TokenizerFiles()
	})
}
