package gguf

import (
	"encoding/binary"
	"math"

	"stillhouse/internal/hub"
)

// dequantize turns whole blocks into numbers, as ggml's reference code (ggml-quants.c) and the gguf package do, in fp32.
// Products and sums are rounded one by one: float32(…) keeps a compiler from fusing them.
var dequantize = map[Type]func(dst []float32, src []byte){
	F32: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	},
	F16: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = half(src[2*i:])
		}
	},
	BF16: func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		}
	},
	Q8_0: dequantizeQ8_0,
	Q4_0: dequantizeQ4_0,
	Q4_1: dequantizeQ4_1,
	Q4_K: dequantizeQ4_K,
	Q6_K: dequantizeQ6_K,
}

func half(b []byte) float32 { return hub.FromF16(binary.LittleEndian.Uint16(b)) }

// A block of Q8_0 is a scale and 32 signed bytes.
func dequantizeQ8_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[34:] {
		d := half(src)
		for i, q := range src[2:34] {
			dst[i] = float32(int8(q)) * d
		}
	}
}

// A block of Q4_0 is a scale and 32 numbers of 4 bits less 8: byte i holds number i and, above it, number i + 16.
func dequantizeQ4_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[18:] {
		d := half(src)
		for i, q := range src[2:18] {
			dst[i] = d * float32(int(q&15)-8)
			dst[i+16] = d * float32(int(q>>4)-8)
		}
	}
}

// A block of Q4_1 is a scale, a smallest value and 32 numbers of 4 bits, laid out as in Q4_0.
func dequantizeQ4_1(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[20:] {
		d, m := half(src), half(src[2:])
		for i, q := range src[4:20] {
			dst[i] = float32(d*float32(q&15)) + m
			dst[i+16] = float32(d*float32(q>>4)) + m
		}
	}
}

// A block of Q4_K has 8 parts of 32 numbers of 4 bits. Two scales stand for all; each part has a factor of either, of 6
// bits, packed into 12 bytes: parts 0–3 in the low bits of the first 8, parts 4–7 in the last 4 and their high bits.
func dequantizeQ4_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[144:] {
		d, dmin, s := half(src), half(src[2:]), src[4:16]
		for part := range 8 {
			var scale, low byte
			if part < 4 {
				scale, low = s[part]&63, s[part+4]&63
			} else {
				scale = s[part+4]&15 | s[part-4]>>6<<4
				low = s[part+4]>>4 | s[part]>>6<<4
			}
			a, b := d*float32(scale), dmin*float32(low)
			qs := src[16+part/2*32:]
			for i := range 32 {
				q := qs[i] >> (part % 2 * 4) & 15
				dst[32*part+i] = float32(a*float32(q)) - b
			}
		}
	}
}

// A block of Q6_K is 256 numbers of 6 bits less 32 (128 bytes of low halves, 64 of high quarters), 16 signed factors, one
// for each 16 numbers, and a scale.
func dequantizeQ6_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[210:] {
		low, high, factors, d := src[:128], src[128:192], src[192:208], half(src[208:])
		for i := range 256 {
			part, at := i/128, i%128
			q := low[64*part+at%64]>>(at/64*4)&15 | high[32*part+at%32]>>(at/32*2)&3<<4
			dst[i] = float32(d*float32(int8(factors[i/16]))) * float32(int(q)-32)
		}
	}
}
