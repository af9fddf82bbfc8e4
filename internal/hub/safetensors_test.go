package hub

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"stillhouse"
)

const models = "../../testdata/parity/train/models/"

func TestReadGolden(t *testing.T) {
	for _, tc := range []struct {
		dir, name, dtype string
		shape            []int
		tensors          int
	}{
		{"tiny-llama", "model.layers.0.mlp.down_proj.weight", "F32", []int{64, 160}, 29},
		{"tiny-llama-bf16", "model.layers.0.mlp.down_proj.weight", "BF16", []int{64, 160}, 29},
		{"tiny-qwen2", "model.layers.0.self_attn.k_proj.bias", "F32", []int{32}, 26}, // two shards
	} {
		s, err := OpenSafetensors(models + tc.dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		x := s.Tensor(tc.name)
		if len(s.Names()) != tc.tensors || x.Dtype != tc.dtype || !slices.Equal(x.Shape, tc.shape) {
			t.Errorf("%s: %d tensors, %s %v, not %d, %s %v", tc.dir, len(s.Names()), x.Dtype, x.Shape, tc.tensors, tc.dtype, tc.shape)
		}
	}
}

// The bf16 checkpoint was made by torch from the fp32 one: rounding ours must give the same bytes, tensor by tensor.
func TestRoundingIsTorchs(t *testing.T) {
	wide, err := OpenSafetensors(models + "tiny-llama")
	if err != nil {
		t.Fatal(err)
	}
	defer wide.Close()
	narrow, err := OpenSafetensors(models + "tiny-llama-bf16")
	if err != nil {
		t.Fatal(err)
	}
	defer narrow.Close()
	for _, name := range wide.Names() {
		a, b := make([]float32, wide.Tensor(name).Len()), make([]float32, narrow.Tensor(name).Len())
		if err := wide.Tensor(name).Floats(a); err != nil {
			t.Fatal(err)
		}
		if err := narrow.Tensor(name).Floats(b); err != nil {
			t.Fatal(err)
		}
		for i := range a {
			if got := uint32(ToBF16(a[i])) << 16; got != math.Float32bits(b[i]) {
				t.Fatalf("%s[%d]: %v becomes %v, torch has %v", name, i, a[i], math.Float32frombits(got), b[i])
			}
		}
	}
}

func TestWriteRead(t *testing.T) {
	in := []FloatTensor{
		{"b", []int{2, 3}, []float32{1, -2.5, 0, 1e-3, 65504, -0.333}},
		{"a", nil, []float32{7}},
		{"empty", []int{0, 4}, nil},
	}
	for _, dtype := range []string{"F32", "BF16", "F16"} {
		var one, two bytes.Buffer
		if err := WriteSafetensors(&one, dtype, in); err != nil {
			t.Fatal(err)
		}
		back := slices.Clone(in)
		slices.Reverse(back)
		if err := WriteSafetensors(&two, dtype, back); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one.Bytes(), two.Bytes()) {
			t.Errorf("%s: the bytes depend on the order of the arguments", dtype)
		}
		if n := binary.LittleEndian.Uint64(one.Bytes()); n%8 != 0 {
			t.Errorf("%s: the data begins at %d, which is not a multiple of 8", dtype, 8+n)
		}
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := os.WriteFile(path, one.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := OpenSafetensors(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if s.Metadata["format"] != "pt" {
			t.Errorf("%s: metadata %v", dtype, s.Metadata)
		}
		for _, want := range in {
			x := s.Tensor(want.Name)
			got := make([]float32, x.Len())
			if err := x.Floats(got); err != nil {
				t.Fatal(err)
			}
			rel := map[string]float64{"F32": 0, "BF16": 1.0 / 256, "F16": 1.0 / 2048}[dtype]
			for i := range got {
				if math.Abs(float64(got[i]-want.Data[i])) > rel*math.Abs(float64(want.Data[i])) {
					t.Errorf("%s: %s[%d] is %v, not %v", dtype, want.Name, i, got[i], want.Data[i])
				}
			}
		}
	}
	for _, tc := range []struct {
		dtype string
		x     float32
	}{{"F32", float32(math.NaN())}, {"F32", float32(math.Inf(1))}, {"F16", 65520}, {"BF16", math.MaxFloat32}} {
		err := WriteSafetensors(&bytes.Buffer{}, tc.dtype, []FloatTensor{{"w", []int{2}, []float32{0, tc.x}}})
		if err == nil || !strings.Contains(err.Error(), "element 1") {
			t.Errorf("%s of %v: %v", tc.dtype, tc.x, err)
		}
	}
}

func TestHalf(t *testing.T) {
	for h := range 1 << 16 { // every half-precision number survives the way there and back
		f := FromF16(uint16(h))
		if f != f {
			if g := FromF16(ToF16(f)); g == g {
				t.Fatalf("%#04x: a NaN became %v", h, g)
			}
			continue
		}
		if got := ToF16(f); got != uint16(h) {
			t.Fatalf("%#04x is %v, which rounds to %#04x", h, f, got)
		}
	}
	for _, tc := range []struct {
		x    float32
		want uint16
	}{
		{1 + 1.0/2048, 0x3c00}, {1 + 3.0/2048, 0x3c02}, // ties go to even
		{65519, 0x7bff}, {65520, 0x7c00}, // the last number that stays finite
		{0x1p-25, 0}, {0x1.000002p-25, 1}, {0x1.8p-24, 2}, // subnormals
		{-0x1p-14, 0x8400},
	} {
		if got := ToF16(tc.x); got != tc.want {
			t.Errorf("%v becomes %#04x, not %#04x", tc.x, got, tc.want)
		}
	}
}

func file(header string, data int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), make([]byte, data)...)
}

func TestBrokenFiles(t *testing.T) {
	good := `"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	for name, tc := range map[string]struct {
		bytes []byte
		want  string
	}{
		"empty":         {nil, "too few"},
		"long header":   {binary.LittleEndian.AppendUint64(nil, 1<<63), "header would be"},
		"2 GB header":   {append(binary.LittleEndian.AppendUint64(nil, 2<<30), '{'), "header would be 2147483648 bytes long, in a file of 9 bytes"},
		"beyond":        {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`, 8), "do not lie in the 8 bytes"},
		"same bytes":    {file("{"+good+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8), "begins at"},
		"backwards":     {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, 8), "do not lie in"},
		"cut header":    {file("{"+good+"}", 8)[:20], "header would be"},
		"cut data":      {file("{"+good+"}", 7), "do not lie in"},
		"surplus data":  {file("{"+good+"}", 9), "the file has 9"},
		"no json":       {file("hello", 0), "header"},
		"after json":    {file("{"+good+"} x", 8), "header"},
		"twice":         {file("{"+good+","+good+"}", 8), "twice"},
		"overlap":       {file("{"+good+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), "begins at"},
		"gap":           {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), "begins at"},
		"negative":      {file(`{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, 8), "does not fit"},
		"overflow":      {file(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}`, 8), "does not fit"},
		"wrong size":    {file(`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,8]}}`, 8), "needs 4 bytes"},
		"unknown dtype": {file(`{"a":{"dtype":"F37","shape":[2],"data_offsets":[0,8]}}`, 8), `"F37"`},
		"no shape":      {file(`{"a":{"dtype":"F32","data_offsets":[0,8]}}`, 8), "needed"},
		"one offset":    {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}`, 8), "needed"},
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := os.WriteFile(path, tc.bytes, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := OpenSafetensors(path)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A pipe in the place of weights is refused, not waited for.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSafetensors(path); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("%v", err)
	}
}

func TestBrokenIndex(t *testing.T) {
	shard := file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8)
	for name, tc := range map[string]struct{ index, want string }{
		"no index":       {"", "no weights"},
		"not json":       {"{", "not valid JSON"},
		"empty":          {"{}", "names no tensor"},
		"outside":        {`{"weight_map":{"a":"../x.safetensors"}}`, "not the name of a file"},
		"missing shard":  {`{"weight_map":{"a":"y.safetensors"}}`, "no such file"},
		"missing tensor": {`{"weight_map":{"a":"x.safetensors","b":"x.safetensors"}}`, "tensor b"},
		"wrong shard":    {`{"weight_map":{"b":"x.safetensors"}}`, "tensor b"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.safetensors"), shard, 0o644); err != nil {
			t.Fatal(err)
		}
		if tc.index != "" {
			if err := os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), []byte(tc.index), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenSafetensors(dir); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a file holds, opening it gives an error or tensors that can be read whole.
func FuzzSafetensors(f *testing.F) {
	f.Add(file(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8))
	f.Add(file(`{"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"b":{"dtype":"F16","shape":[0,3],"data_offsets":[2,2]}}`, 2))
	f.Add(file(`{"a":{"dtype":"F32","shape":[9223372036854775807,0],"data_offsets":[0,0]}}`, 0))
	f.Fuzz(func(t *testing.T, text []byte) {
		tensors, _, err := parseHeader(bytes.NewReader(text), int64(len(text)))
		if err != nil {
			return
		}
		for _, x := range tensors {
			convert, size := floatReader(x.Dtype)
			if convert == nil {
				continue
			}
			if x.end > int64(len(text)) || x.end-x.begin != int64(x.Len()*size) {
				t.Fatalf("%+v lies outside of the %d bytes", x, len(text))
			}
			convert(make([]float32, x.Len()), text[x.begin:x.end])
		}
	})
}
