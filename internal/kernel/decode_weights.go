package kernel

/*
#include "decode.h"
*/
import "C"

import (
	"errors"
	"math"
	"unsafe"
)

// A WeightType is how a packed matrix holds its values.
type WeightType int32

const (
	Float32  WeightType = C.SHD_F32  // as they are
	BFloat16 WeightType = C.SHD_BF16 // rounded to the nearest, to even
	Q8_0     WeightType = C.SHD_Q8   // llama.cpp's: 32 values of a row share a scale in fp16, and are whole multiples of it from -127 to 127
)

// panelRows is the number of rows in a panel.
const panelRows = C.SHD_PANEL

// A Slab is memory for the weights of a model, outside of Go's, that is given out from one end to the other: what is used
// in turn lies in turn.
type Slab struct {
	base       unsafe.Pointer
	size, used int
}

// NewSlab reserves memory. What is not used of it costs nothing.
func NewSlab(bytes int) (*Slab, error) {
	p := C.shd_map(C.size_t(bytes))
	if p == nil {
		return nil, errors.New("no memory is left for the weights: use a smaller model, or weights of a smaller type")
	}
	return &Slab{base: p, size: bytes}, nil
}

// Free gives the memory back.
func (s *Slab) Free() {
	if s.base != nil {
		C.shd_unmap(s.base, C.size_t(s.size))
	}
	*s = Slab{}
}

// Used is the number of bytes that were given out.
func (s *Slab) Used() int { return s.used }

func (s *Slab) take(bytes int) unsafe.Pointer {
	at := s.used
	if at+bytes > s.size {
		panic("kernel: the slab is full")
	}
	s.used = aligned(at + bytes)
	return unsafe.Add(s.base, at)
}

func aligned(bytes int) int { return (bytes + 63) / 64 * 64 }

// A Vector is a copy of a vector in a slab. The zero value is none.
type Vector struct {
	data *C.float
	n    int
}

// VectorBytes is what a vector of n takes of a slab.
func VectorBytes(n int) int { return aligned((n + panelRows) * 4) }

// Vector copies vectors, one after the other; without any it is the zero value.
func (s *Slab) Vector(parts ...[]float32) Vector {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n == 0 {
		return Vector{}
	}
	v := Vector{data: (*C.float)(s.take(VectorBytes(n))), n: n}
	to := unsafe.Slice((*float32)(unsafe.Pointer(v.data)), n)
	for _, p := range parts {
		to = to[copy(to, p):]
	}
	return v
}

// Packed is a weight matrix [n, k] laid out for products; see decode.h.
type Packed struct{ m C.shd_matrix }

// PackedBytes is what a matrix [n, k] takes of a slab at most.
func PackedBytes(t WeightType, n, k int) int {
	return aligned((n + panelRows - 1) / panelRows * int(C.shd_panel_bytes(C.int32_t(t), C.int32_t(k))))
}

// Pack lays out matrices [n_i, k], row-major, one below the other. What is to be Float32 is kept as BFloat16 when every
// value is one, which halves what a product reads and changes no bit of the result. A block of Q8_0 with a value that is
// not finite becomes one whose scale is not a number.
func (s *Slab) Pack(t WeightType, k int, matrices ...[]float32) *Packed {
	n := 0
	half := true
	for _, m := range matrices {
		if len(m)%k != 0 {
			panic("kernel: Pack: a matrix is not whole rows")
		}
		n += len(m) / k
		for _, x := range m {
			if half = half && math.Float32bits(x)&0xffff == 0; !half {
				break
			}
		}
	}
	if t == Float32 && half {
		t = BFloat16
	}
	p := &Packed{m: C.shd_matrix{_type: C.int32_t(t), n: C.int32_t(n), k: C.int32_t(k)}}
	p.m.data = s.take(PackedBytes(t, n, k))
	row := func(i int) []float32 {
		for _, m := range matrices {
			if rows := len(m) / k; i >= rows {
				i -= rows
			} else {
				return m[i*k : (i+1)*k]
			}
		}
		return nil
	}
	size := int(C.shd_panel_bytes(C.int32_t(t), C.int32_t(k)))
	Parallel((n+panelRows-1)/panelRows, 1+(1<<14)/(k*panelRows), func(from, to int) {
		for panel := from; panel < to; panel++ {
			var rows [panelRows][]float32
			for j := range rows {
				rows[j] = row(panel*panelRows + j)
			}
			memory := unsafe.Slice((*byte)(unsafe.Add(p.m.data, panel*size)), size)
			switch t {
			case Q8_0:
				packQ8(memory, rows, k)
			case BFloat16:
				packBF16(memory, rows)
			default:
				packF32(memory, rows)
			}
		}
	})
	return p
}

func packF32(memory []byte, rows [panelRows][]float32) {
	out := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/4)
	for j, r := range rows {
		for i, x := range r {
			out[i*panelRows+j] = x
		}
	}
}

func packBF16(memory []byte, rows [panelRows][]float32) {
	out := unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/2)
	for j, r := range rows {
		for i, x := range r {
			out[i/2*2*panelRows+2*j+i%2] = roundBF16(x)
		}
	}
}

func roundBF16(x float32) uint16 {
	bits := math.Float32bits(x)
	if x != x {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

func packQ8(memory []byte, rows [panelRows][]float32, k int) {
	for j, r := range rows {
		for b := 0; b*C.SHD_QUANT < len(r); b++ {
			block := memory[b*C.SHD_BYTES : (b+1)*C.SHD_BYTES]
			var q [C.SHD_QUANT]int8
			scale := roundQ8(r[b*C.SHD_QUANT:min(k, (b+1)*C.SHD_QUANT)], &q)
			for i, x := range q {
				block[i/2*2*panelRows+2*j+i%2] = byte(x)
			}
			at := panelRows*C.SHD_QUANT + 2*j
			block[at], block[at+1] = byte(scale), byte(scale>>8)
		}
	}
}

// roundQ8 makes a block as llama.cpp does: the scale is the largest magnitude over 127, rounded to fp16; the values are
// rounded by the scale that is not.
func roundQ8(x []float32, q *[C.SHD_QUANT]int8) (scale uint16) {
	most, lost := float32(0), false
	for _, v := range x {
		lost = lost || v-v != 0
		most = max(most, max(v, -v))
	}
	if lost {
		return 0x7e00
	}
	d := most / 127
	if d == 0 {
		return 0
	}
	for i, v := range x {
		q[i] = int8(math.Round(float64(v * (1 / d))))
	}
	return roundHalf(min(d, 65504))
}

// roundHalf rounds a number that is not negative nor above 65504 to fp16, to the nearest, to even.
func roundHalf(x float32) uint16 {
	bits := math.Float32bits(x)
	if bits < 113<<23 { // below the normal numbers: multiples of 2⁻²⁴
		return uint16(math.RoundToEven(float64(x) * (1 << 24)))
	}
	bits -= 112 << 23
	return uint16((bits + 0xfff + bits>>13&1) >> 13)
}

// Rows is n, the width of a product's result.
func (p *Packed) Rows() int { return int(p.m.n) }

// Type is the type that the values are held in.
func (p *Packed) Type() WeightType { return WeightType(p.m._type) }

// Bytes is what a product reads of the matrix.
func (p *Packed) Bytes() int { return PackedBytes(p.Type(), int(p.m.n), int(p.m.k)) }
