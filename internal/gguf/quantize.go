package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"stillhouse/internal/hub"
)

// quantize turns numbers into whole blocks, byte for byte as the gguf package 0.19 and ggml's reference code do. It
// gives the place of a block with a number that is not finite, or that is too large for the type, or -1. float32(…)
// keeps a compiler from fusing a product and a sum.
var quantize = map[Type]func(dst []byte, src []float32) int{
	F32: func(dst []byte, src []float32) int {
		for i, x := range src {
			if !finite(x) {
				return i
			}
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
		}
		return -1
	},
	F16:  func(dst []byte, src []float32) int { return halves(dst, src, hub.ToF16, 0x7c00) },
	BF16: func(dst []byte, src []float32) int { return halves(dst, src, hub.ToBF16, 0x7f80) },
	Q8_0: func(dst []byte, src []float32) int { return blocks(dst, src, 34, quantizeQ8_0) },
	Q4_0: func(dst []byte, src []float32) int { return blocks(dst, src, 18, quantizeQ4_0) },
	Q4_1: func(dst []byte, src []float32) int { return blocks(dst, src, 20, quantizeQ4_1) },
}

// Writable says why a tensor of a shape cannot be written in a type, nil when it can.
func Writable(t Type, shape []int) error {
	if quantize[t] == nil {
		return fmt.Errorf("type %v is not written: %s are", t, typeNames(quantize))
	}
	if row := shape[len(shape)-1]; row%t.Block() != 0 {
		return fmt.Errorf("type %v needs rows of whole blocks of %d, these have %d elements", t, t.Block(), row)
	}
	return nil
}

// Round rounds numbers as writing them in a type and reading them back would.
func Round(t Type, data []float32) error {
	if len(data)%t.Block() != 0 {
		return fmt.Errorf("%d numbers are no whole blocks of %d", len(data), t.Block())
	}
	k := types[t]
	buf := make([]byte, 1<<12*k.bytes)
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1<<12*k.block)
		if i := quantize[t](buf[:n/k.block*k.bytes], rest[:n]); i >= 0 {
			return tooLarge(t, len(data)-len(rest)+i, rest[i])
		}
		dequantize[t](rest[:n], buf)
		rest = rest[n:]
	}
	return nil
}

func tooLarge(t Type, i int, x float32) error {
	return fmt.Errorf("element %d is %v, or is scaled by a block of numbers so large that %v cannot hold them", i, x, t)
}

func finite(x float32) bool { return math.Float32bits(x)>>23&0xff != 0xff }

func halves(dst []byte, src []float32, round func(float32) uint16, exponent uint16) int {
	for i, x := range src {
		h := round(x)
		if h&exponent == exponent {
			return i
		}
		binary.LittleEndian.PutUint16(dst[2*i:], h)
	}
	return -1
}

// blocks quantises blocks of 32 numbers of size bytes each.
func blocks(dst []byte, src []float32, size int, one func(dst []byte, src []float32) bool) int {
	for i := 0; i < len(src); i += 32 {
		block := src[i : i+32]
		for j, x := range block {
			if !finite(x) {
				return i + j
			}
		}
		if !one(dst[i/32*size:][:size], block) {
			return i
		}
	}
	return -1
}

// putScale stores a scale in half precision, which has to hold it.
func putScale(dst []byte, d float32) bool {
	h := hub.ToF16(d)
	binary.LittleEndian.PutUint16(dst, h)
	return h&0x7c00 != 0x7c00
}

// inverse is 1/d, and 0 where that is none: blocks of zeros, or of numbers so small that they become zeros.
func inverse(d float32) float32 {
	if id := 1 / d; finite(id) {
		return id
	}
	return 0
}

// quantizeQ8_0 divides by the largest magnitude over 127 and rounds halves away from zero.
func quantizeQ8_0(dst []byte, src []float32) bool {
	var most float32
	for _, x := range src {
		most = max(most, float32(math.Abs(float64(x))))
	}
	d := most / 127
	id := inverse(d)
	for i, x := range src {
		dst[2+i] = byte(int8(math.Round(float64(x * id))))
	}
	return putScale(dst, d)
}

// quantizeQ4_0 puts the number of the largest magnitude, the first of equal ones, at −8.
func quantizeQ4_0(dst []byte, src []float32) bool {
	var most, signed float32
	for _, x := range src {
		if a := float32(math.Abs(float64(x))); a > most {
			most, signed = a, x
		}
	}
	d := signed / -8
	id := inverse(d)
	for i := range 16 {
		dst[2+i] = nibble(float32(src[i]*id)+8.5) | nibble(float32(src[i+16]*id)+8.5)<<4
	}
	return putScale(dst, d)
}

// quantizeQ4_1 spreads 16 steps from the smallest number to the largest.
func quantizeQ4_1(dst []byte, src []float32) bool {
	low, high := src[0], src[0]
	for _, x := range src {
		low, high = min(low, x), max(high, x)
	}
	d := (high - low) / 15
	id := inverse(d)
	for i := range 16 {
		a, b := float32(src[i]-low), float32(src[i+16]-low)
		dst[4+i] = nibble(float32(a*id)+0.5) | nibble(float32(b*id)+0.5)<<4
	}
	fits := putScale(dst, d)
	return putScale(dst[2:], low) && fits
}

// nibble cuts off the fraction of a number that is not negative.
func nibble(x float32) byte { return byte(min(15, int(x))) }
