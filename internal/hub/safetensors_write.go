package hub

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"stillhouse"
)

// FloatTensor is a tensor to be written.
type FloatTensor struct {
	Name  string
	Shape []int
	Data  []float32
}

// WriteSafetensors writes tensors as one safetensors file of dtype F32, BF16 or F16, rounded to nearest, ties to even.
// The bytes depend on the arguments alone: tensors are ordered by name, and the header is padded with spaces so that
// the data begins at a multiple of 8 bytes. Its __metadata__ is {"format": "pt"}, without which transformers refuses
// a file. A value that becomes infinite in the dtype, or is not a number, is an error.
func WriteSafetensors(w io.Writer, dtype string, tensors []FloatTensor) error {
	return WriteSafetensorsWith(w, dtype, nil, tensors)
}

// WriteSafetensorsWith is WriteSafetensors with more keys in __metadata__.
func WriteSafetensorsWith(w io.Writer, dtype string, metadata map[string]string, tensors []FloatTensor) error {
	convert, size := floatWriter(dtype)
	if convert == nil {
		return stillhouse.Invalidf("safetensors: dtype %q cannot be written: F32, BF16 and F16 can", dtype)
	}
	sorted := slices.SortedFunc(slices.Values(tensors), func(a, b FloatTensor) int { return strings.Compare(a.Name, b.Name) })
	about := map[string]string{"format": "pt"}
	maps.Copy(about, metadata)
	header := map[string]any{"__metadata__": about}
	at := 0
	for _, t := range sorted {
		n := 1
		for _, d := range t.Shape {
			n *= d
		}
		if n != len(t.Data) {
			return fmt.Errorf("safetensors: tensor %s has %d elements, its shape %v asks for %d", t.Name, len(t.Data), t.Shape, n)
		}
		if _, ok := header[t.Name]; ok {
			return fmt.Errorf("safetensors: two tensors are named %q", t.Name)
		}
		header[t.Name] = struct {
			Dtype   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}{dtype, append([]int{}, t.Shape...), [2]int{at, at + n*size}}
		at += n * size
	}
	text, err := json.Marshal(header)
	if err != nil {
		return err
	}
	text = append(text, strings.Repeat(" ", (8-len(text)%8)%8)...)

	out := bufio.NewWriterSize(w, 1<<20)
	if err := binary.Write(out, binary.LittleEndian, uint64(len(text))); err != nil {
		return err
	}
	if _, err := out.Write(text); err != nil {
		return err
	}
	buf := make([]byte, 0, 1<<16)
	for _, t := range sorted {
		for rest := t.Data; len(rest) > 0; {
			n := min(len(rest), cap(buf)/size)
			buf = buf[:n*size]
			if i := convert(buf, rest[:n]); i >= 0 {
				return fmt.Errorf("safetensors: tensor %s: element %d is %v, which %s cannot hold as a finite number", t.Name, len(t.Data)-len(rest)+i, rest[i], dtype)
			}
			if _, err := out.Write(buf); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return out.Flush()
}

// floatWriter returns a converter, which returns the place of the first value that is not finite in the dtype, or -1.
func floatWriter(dtype string) (convert func(dst []byte, src []float32) int, size int) {
	le := binary.LittleEndian
	switch dtype {
	case "F32":
		return func(dst []byte, src []float32) int {
			for i, x := range src {
				b := math.Float32bits(x)
				if b>>23&0xff == 0xff {
					return i
				}
				le.PutUint32(dst[4*i:], b)
			}
			return -1
		}, 4
	case "BF16":
		return halfWriter(ToBF16, 0x7f80), 2
	case "F16":
		return halfWriter(ToF16, 0x7c00), 2
	}
	return nil, 0
}

func halfWriter(round func(float32) uint16, exponent uint16) func(dst []byte, src []float32) int {
	return func(dst []byte, src []float32) int {
		for i, x := range src {
			h := round(x)
			if h&exponent == exponent {
				return i
			}
			binary.LittleEndian.PutUint16(dst[2*i:], h)
		}
		return -1
	}
}

// ToBF16 rounds to bfloat16, to nearest, ties to even.
func ToBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40 // a NaN stays one
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// ToF16 rounds to IEEE half precision, to nearest, ties to even; what is too large becomes infinite.
func ToF16(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00
	case b >= 0x47800000: // 65536 and more
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: subnormal, a multiple of 2^-24
		// Adding 0.5 leaves room for just those bits in the mantissa, and the processor rounds.
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-0x3f000000)
	}
	b += 0xfff + b>>13&1
	return sign | uint16((b-0x38000000)>>13)
}

// FromF16 widens a half-precision number.
func FromF16(h uint16) float32 {
	sign, exp, frac := uint32(h&0x8000)<<16, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0:
		f := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(f))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}
