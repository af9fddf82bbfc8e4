package kernel

/*
#include "decode.h"

static void shd_run_gemm(const shd_kernels *k, int from, int to, int m, int kk, int n, const float *x, int64_t ldx, const void *w, int bf16, float *y, int64_t ldy, int add) {
	k->gemm(from, to, m, kk, n, x, ldx, w, bf16, y, ldy, add);
}
static void shd_run_norm(const shd_kernels *k, int from, int to, int n, float eps, const float *x, int64_t ldx, const float *w, float *y, int64_t ldy) {
	k->norm(from, to, n, eps, x, ldx, w, y, ldy);
}
static shd_cache shd_at(const uintptr_t *blocks, const int32_t *table, const int32_t *position, int64_t layer, int heads, int kv_heads, int head_dim) {
	shd_cache c = {blocks, table, position, layer, heads, kv_heads, head_dim};
	return c;
}
// The descriptions of the cache are put together here, on the C stack, because Go must not pass a pointer to pointers.
static void shd_run_rope(const shd_kernels *k, int from, int to, const uintptr_t *blocks, const int32_t *table, const int32_t *position, int64_t layer, int heads, int kv_heads, int head_dim, float *qkv, int64_t ldq, const float *cosines, const float *sines) {
	shd_cache c = shd_at(blocks, table, position, layer, heads, kv_heads, head_dim);
	k->rope(from, to, &c, qkv, ldq, cosines, sines);
}
static int shd_run_attend(const shd_kernels *k, int from, int to, const uintptr_t *blocks, const int32_t *table, const int32_t *position, int64_t layer, int heads, int kv_heads, int head_dim, const float *qkv, int64_t ldq, float *y, int64_t ldy) {
	shd_cache c = shd_at(blocks, table, position, layer, heads, kv_heads, head_dim);
	return k->attend(from, to, &c, qkv, ldq, y, ldy);
}
static void shd_run_swiglu(const shd_kernels *k, int from, int to, int n, const float *x, int64_t ldx, float *y, int64_t ldy) {
	k->swiglu(from, to, n, x, ldx, y, ldy);
}
static float shd_run_exps(const shd_kernels *k, int n, const float *x, float scale, float *y) { return k->exps(n, x, scale, y); }
*/
import "C"

import (
	"errors"
	"math"
	"unsafe"
)

// The kernels of generation. Every row's result is the same bits whatever other rows are computed beside it and on
// however many threads: each sum has one fixed order. OpenBLAS does not promise that, which is why products with the
// weights are made here when text is generated. On processors with AVX2 or AVX-512 the bits are the same too.

var decodeKernels = C.shd_select(0)

// selectDecode takes the kernels of at most a level, 0 for the best that there are.
func selectDecode(level int) { decodeKernels = C.shd_select(C.int(level)) }

// decodeFused reports whether the kernels multiply and add in one rounding.
func decodeFused() bool { return decodeKernels != C.shd_select(1) }

// BlockPositions is the number of positions in one block of a cache of keys and values.
const BlockPositions = C.SHD_PANEL

// Packed is a weight matrix [n, k] laid out for products: panels of 16 rows, each panel column by column. It is kept in
// bfloat16 when every value is one, which halves what a product reads and changes no bit of the result.
type Packed struct {
	n, k int
	wide []float32
	half []uint16
}

// Pack lays out matrices [n_i, k], row-major, one below the other.
func Pack(k int, matrices ...[]float32) *Packed {
	p := &Packed{k: k}
	half := true
	for _, m := range matrices {
		if len(m)%k != 0 {
			panic("kernel: Pack: a matrix is not whole rows")
		}
		p.n += len(m) / k
		for _, x := range m {
			half = half && math.Float32bits(x)&0xffff == 0
		}
	}
	size := p.panels() * BlockPositions * k
	if half {
		p.half = make([]uint16, size)
	} else {
		p.wide = make([]float32, size)
	}
	row := 0
	for _, m := range matrices {
		for ; len(m) > 0; m, row = m[k:], row+1 {
			at := row/BlockPositions*BlockPositions*k + row%BlockPositions
			for _, x := range m[:k] {
				if half {
					p.half[at] = uint16(math.Float32bits(x) >> 16)
				} else {
					p.wide[at] = x
				}
				at += BlockPositions
			}
		}
	}
	return p
}

func (p *Packed) panels() int { return (p.n + BlockPositions - 1) / BlockPositions }

// Rows is n, the width of a product's result.
func (p *Packed) Rows() int { return p.n }

// Mul computes Y = X·Pᵀ, or Y += X·Pᵀ, for X [m, k] and Y [m, n], rows end to end.
func (p *Packed) Mul(x []float32, m int, y []float32, add bool) {
	if m == 0 {
		return
	}
	_, _ = x[m*p.k-1], y[m*p.n-1]
	w, bf16 := unsafe.Pointer(unsafe.SliceData(p.wide)), p.half != nil
	if bf16 {
		w = unsafe.Pointer(unsafe.SliceData(p.half))
	}
	// A product of 64 thousand multiplications takes some microseconds; a smaller piece is not worth a thread.
	Parallel(p.panels(), 1+(1<<16)/(m*p.k*BlockPositions), func(from, to int) {
		C.shd_run_gemm(decodeKernels, C.int(from), C.int(to), C.int(m), C.int(p.k), C.int(p.n), ptr(x), C.int64_t(p.k), w, flag(bf16), ptr(y), C.int64_t(p.n), flag(add))
	})
}

// DecodeNorm is the RMS norm of rows of len(w): y = w · x / √(mean(x²) + eps).
func DecodeNorm(x []float32, rows int, w []float32, eps float32, y []float32) {
	n := len(w)
	if rows == 0 {
		return
	}
	_, _ = x[rows*n-1], y[rows*n-1]
	Parallel(rows, 1+(1<<15)/n, func(from, to int) {
		C.shd_run_norm(decodeKernels, C.int(from), C.int(to), C.int(n), C.float(eps), ptr(x), C.int64_t(n), ptr(w), ptr(y), C.int64_t(n))
	})
}

// DecodeSwiGLU computes silu(gate)·up for rows of 2n floats, the gate's n first.
func DecodeSwiGLU(x []float32, rows, n int, y []float32) {
	if rows == 0 {
		return
	}
	_, _ = x[2*rows*n-1], y[rows*n-1]
	Parallel(rows, 1+(1<<14)/n, func(from, to int) {
		C.shd_run_swiglu(decodeKernels, C.int(from), C.int(to), C.int(n), ptr(x), C.int64_t(2*n), ptr(y), C.int64_t(n))
	})
}

// DecodeExps computes y = exp((x − max x)·scale) and returns the sum of y. A result below e⁻⁸⁷ is e⁻⁸⁷.
func DecodeExps(x []float32, scale float32, y []float32) float32 {
	_ = y[:len(x)]
	return float32(C.shd_run_exps(decodeKernels, C.int(len(x)), ptr(x), C.float(scale), ptr(y)))
}

// CacheShape is the shape of a cache of keys and values.
type CacheShape struct {
	Layers, Heads, KVHeads, HeadDim int
}

func (s CacheShape) layer() int {
	padded := (s.HeadDim + BlockPositions - 1) / BlockPositions * BlockPositions
	return s.KVHeads * BlockPositions * (s.HeadDim + padded)
}

// floats is the size of a block: the keys and values of all layers for 16 positions.
func (s CacheShape) floats() int { return s.Layers * s.layer() }

// A Block is 16 positions of a cache, of all layers. It lies outside of Go's memory and must be freed.
type Block uintptr

// NewBlock allocates a block of zeros.
func (s CacheShape) NewBlock() (Block, error) {
	p := C.shd_block_new(C.int64_t(s.floats()))
	if p == nil {
		return 0, errors.New("no memory is left for the cache of keys and values: generate fewer or shorter samples at once")
	}
	return Block(uintptr(p)), nil
}

// Copy copies the block from onto the block to.
func (s CacheShape) Copy(to, from Block) {
	C.shd_block_copy(C.uintptr_t(to), C.uintptr_t(from), C.int64_t(s.floats()))
}

// Free gives the block back.
func (b Block) Free() { C.shd_block_free(C.uintptr_t(b)) }

// CacheRows says where in the cache the rows of one step lie: row i is position Position[i] of the sequence whose blocks
// begin at Blocks[Table[i]].
type CacheRows struct {
	CacheShape
	Blocks          []Block
	Table, Position []int32
}

func (c CacheRows) check() {
	for i, t := range c.Table {
		_ = c.Blocks[t+c.Position[i]/BlockPositions]
	}
}

func (c CacheRows) pointers() (blocks *C.uintptr_t, table, position *C.int32_t) {
	return (*C.uintptr_t)(unsafe.Pointer(unsafe.SliceData(c.Blocks))), (*C.int32_t)(unsafe.SliceData(c.Table)), (*C.int32_t)(unsafe.SliceData(c.Position))
}

func (s CacheShape) width() int { return (s.Heads + 2*s.KVHeads) * s.HeadDim }

// DecodeRope turns the queries and keys of qkv (rows of all heads' queries, keys, values) in place by their positions
// and stores keys and values of one layer in the cache. cosines and sines are [positions, HeadDim/2].
func DecodeRope(c CacheRows, layer int, qkv, cosines, sines []float32) {
	rows, width := len(c.Position), c.width()
	c.check()
	_ = qkv[:rows*width]
	for _, p := range c.Position {
		_, _ = cosines[(int(p)+1)*c.HeadDim/2-1], sines[(int(p)+1)*c.HeadDim/2-1]
	}
	blocks, table, position := c.pointers()
	Parallel(rows, 1+(1<<14)/width, func(from, to int) {
		C.shd_run_rope(decodeKernels, C.int(from), C.int(to), blocks, table, position, C.int64_t(layer*c.layer()), C.int(c.Heads), C.int(c.KVHeads), C.int(c.HeadDim), ptr(qkv), C.int64_t(width), ptr(cosines), ptr(sines))
	})
}

// DecodeAttention lets each row attend to the positions of its sequence up to its own. y is [rows, Heads·HeadDim].
func DecodeAttention(c CacheRows, layer int, qkv, y []float32) error {
	rows, width, out := len(c.Position), c.width(), c.Heads*c.HeadDim
	c.check()
	_, _ = qkv[:rows*width], y[:rows*out]
	cost := rows * c.KVHeads
	for _, p := range c.Position {
		cost += int(p) * out
	}
	blocks, table, position := c.pointers()
	units := rows * c.KVHeads
	short := make([]C.int, units+1) // by the first unit of a piece: not 0 when memory was short
	Parallel(units, 1+units*(1<<14)/cost, func(from, to int) {
		short[from] = C.shd_run_attend(decodeKernels, C.int(from), C.int(to), blocks, table, position, C.int64_t(layer*c.layer()), C.int(c.Heads), C.int(c.KVHeads), C.int(c.HeadDim), ptr(qkv), C.int64_t(width), ptr(y), C.int64_t(out))
	})
	for _, s := range short {
		if s != 0 {
			return errors.New("no memory is left for the scores of attention")
		}
	}
	return nil
}

// Row writes row i of the matrix, k floats, to dst.
func (p *Packed) Row(i int, dst []float32) {
	at := i/BlockPositions*BlockPositions*p.k + i%BlockPositions
	for j := range dst[:p.k] {
		if p.half != nil {
			dst[j] = math.Float32frombits(uint32(p.half[at]) << 16)
		} else {
			dst[j] = p.wide[at]
		}
		at += BlockPositions
	}
}
