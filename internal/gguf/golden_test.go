package gguf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const goldens = "../../testdata/parity/train/gguf/"

// golden is gguf.json: what the gguf package wrote and reads.
type golden struct {
	Files map[string]struct {
		Size    int64
		Tensors map[string]struct {
			Type   string
			Shape  []int `json:"shape_rows_first"`
			Sum    float64
			AbsSum float64   `json:"abs_sum"`
			MaxErr float64   `json:"max_abs_err"`
			First  []float32 `json:"first4"`
			Last   []float32 `json:"last4"`
			SHA256 string    `json:"bytes_sha256"`
		}
	}
}

func readGolden(t *testing.T) golden {
	t.Helper()
	text, err := os.ReadFile(goldens + "gguf.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Files) != 6 {
		t.Fatalf("%d files in the golden, not 6", len(g.Files))
	}
	return g
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func floats(t *testing.T, x *Tensor) []float32 {
	t.Helper()
	out := make([]float32, x.Len())
	if err := x.Floats(out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDequantisedAsGolden(t *testing.T) {
	for name, want := range readGolden(t).Files {
		f := open(t, goldens+name)
		if len(f.Tensors()) != len(want.Tensors) {
			t.Errorf("%s: %d tensors, not %d", name, len(f.Tensors()), len(want.Tensors))
		}
		for n, w := range want.Tensors {
			x := f.Tensor(n)
			if x == nil || x.Type.String() != w.Type || !slices.Equal(x.Shape, w.Shape) {
				t.Errorf("%s: %s: %+v, not %s %v", name, n, x, w.Type, w.Shape)
				continue
			}
			data := floats(t, x)
			var sum, abs float64
			for _, v := range data {
				sum, abs = sum+float64(v), abs+math.Abs(float64(v))
			}
			if math.Abs(sum-w.Sum) > 1e-9*w.AbsSum || math.Abs(abs-w.AbsSum) > 1e-9*w.AbsSum {
				t.Errorf("%s: %s: sums %v and %v, not %v and %v", name, n, sum, abs, w.Sum, w.AbsSum)
			}
			if !slices.Equal(data[:4], w.First) || !slices.Equal(data[len(data)-4:], w.Last) {
				t.Errorf("%s: %s: begins %v and ends %v, not %v and %v", name, n, data[:4], data[len(data)-4:], w.First, w.Last)
			}
		}
	}
}

// What is written from the fp32 weights is what the gguf package wrote, byte for byte, in all six types.
func TestWrittenAsGolden(t *testing.T) {
	source := open(t, goldens+"tiny-llama.F32.gguf")
	for name, want := range readGolden(t).Files {
		var tensors []FloatTensor
		byName := map[string]Type{}
		for typ, k := range types {
			byName[k.name] = typ
		}
		for _, x := range source.Tensors() {
			data := floats(t, x)
			tensors = append(tensors, FloatTensor{x.Name, byName[want.Tensors[x.Name].Type], x.Shape, func() []float32 { return data }})
		}
		path := filepath.Join(t.TempDir(), name)
		var out bytes.Buffer
		if err := Write(&out, []Pair{{"general.architecture", "llama"}}, tensors); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		f := open(t, path)
		for n, w := range want.Tensors {
			x := f.Tensor(n)
			sum := sha256.Sum256(out.Bytes()[x.begin : x.begin+x.size])
			if got := hex.EncodeToString(sum[:]); got != w.SHA256 {
				t.Errorf("%s: %s: bytes %s, not %s", name, n, got, w.SHA256)
			}
			rounded, back, data := floats(t, source.Tensor(n)), floats(t, x), floats(t, source.Tensor(n))
			if err := Round(x.Type, rounded); err != nil || !slices.Equal(rounded, back) {
				t.Errorf("%s: %s: Round does not give what is read back: %v", name, n, err)
			}
			worst := 0.0
			for i := range data {
				worst = max(worst, math.Abs(float64(data[i])-float64(back[i])))
			}
			if worst > w.MaxErr {
				t.Errorf("%s: %s: an error of %v, above the golden's %v", name, n, worst, w.MaxErr)
			}
		}
	}
}
