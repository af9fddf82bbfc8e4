package kernel

/*
#include "kernels.h"

static void sh_rope(float *x, long ld, long heads, long dim, const float *cos, const float *sin, const int32_t *pos, float sign, long rows) {
	sh_kernels->rope(x, ld, heads, dim, cos, sin, pos, sign, rows);
}

static void sh_swiglu(const float *gu, float *y, long rows, long n) { sh_kernels->swiglu(gu, y, rows, n); }

static void sh_swiglu_dx(const float *gu, const float *dy, float *dgu, long rows, long n) {
	sh_kernels->swiglu_dx(gu, dy, dgu, rows, n);
}

static void sh_add_rows(float *y, const float *b, long rows, long n, long ld) { sh_kernels->add_rows(y, b, rows, n, ld); }

static void sh_sum_rows(const float *dy, float *db, long rows, long ld, long from, long to) {
	sh_kernels->sum_rows(dy, db, rows, ld, from, to);
}

static void sh_scale(float *x, float by, long n) { sh_kernels->scale(x, by, n); }
static void sh_exp(const float *x, float *y, long n) { sh_kernels->exp(x, y, n); }
*/
import "C"

// A Rotation is the table of a rotary embedding: cosines and sines [positions, dim/2], of Su et al. (RoFormer, 2021) in
// the arithmetic of Hugging Face's LlamaRotaryEmbedding: inverse frequencies and angles are fp32.
type Rotation struct {
	Dim      int
	Cos, Sin []float32
}

// RoPE turns the first heads heads of every row of x in place, by the row's position; each row has ld floats.
// With back set it turns the other way, which is the gradient. Both halves of a head turn together (rotate_half).
func RoPE(x []float32, ld, heads int, r Rotation, positions []int32, back bool) {
	rows := len(positions)
	need(ld, heads*r.Dim)
	if rows == 0 {
		return
	}
	need(len(x), (rows-1)*ld+heads*r.Dim)
	sign := C.float(1)
	if back {
		sign = -1
	}
	Parallel(rows, grain(ld), func(from, to int) {
		C.sh_rope(ptr(x[from*ld:]), C.long(ld), C.long(heads), C.long(r.Dim), ptr(r.Cos), ptr(r.Sin), ints(positions[from:]), sign, C.long(to-from))
	})
}

// SwiGLU computes y = silu(gate) · up; gu is [rows, 2n], gate beside up, and y is [rows, n] (Shazeer, 2020).
func SwiGLU(gu, y []float32, rows, n int) {
	need(len(gu), 2*rows*n)
	need(len(y), rows*n)
	Parallel(rows, grain(n), func(from, to int) {
		C.sh_swiglu(ptr(gu[2*from*n:]), ptr(y[from*n:]), C.long(to-from), C.long(n))
	})
}

// SwiGLUGradient computes the gradient dgu [rows, 2n] of gate and up; dgu may be gu itself.
func SwiGLUGradient(gu, dy, dgu []float32, rows, n int) {
	need(len(gu), 2*rows*n)
	need(len(dy), rows*n)
	need(len(dgu), 2*rows*n)
	Parallel(rows, grain(n), func(from, to int) {
		C.sh_swiglu_dx(ptr(gu[2*from*n:]), ptr(dy[from*n:]), ptr(dgu[2*from*n:]), C.long(to-from), C.long(n))
	})
}

// AddRows adds b [n] to the first n of the ld columns of every row of y.
func AddRows(y, b []float32, rows, ld int) {
	n := len(b)
	need(ld, n)
	if rows > 0 {
		need(len(y), (rows-1)*ld+n)
	}
	Parallel(rows, grain(n), func(from, to int) {
		C.sh_add_rows(ptr(y[from*ld:]), ptr(b), C.long(to-from), C.long(n), C.long(ld))
	})
}

// SumRows adds the sum over the rows of the first len(db) of the ld columns of dy to db.
func SumRows(dy, db []float32, rows, ld int) {
	n := len(db)
	need(ld, n)
	if rows > 0 {
		need(len(dy), (rows-1)*ld+n)
	}
	columns(rows, n, func(from, to int) {
		C.sh_sum_rows(ptr(dy), ptr(db), C.long(rows), C.long(ld), C.long(from), C.long(to))
	})
}

// Scale multiplies x by a number.
func Scale(x []float32, by float32) {
	Parallel(len(x), 1<<15, func(from, to int) { C.sh_scale(ptr(x[from:]), C.float(by), C.long(to-from)) })
}

// exp computes y = exp(x), to 1.2e-7 relative between exp(-87.3) and exp(88.3), where it is clamped.
func exp(x, y []float32) {
	need(len(y), len(x))
	C.sh_exp(ptr(x), ptr(y), C.long(len(x)))
}
