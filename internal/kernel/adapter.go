package kernel

/*
#include <stdint.h>

static void sh_scale_columns(float *y, const float *g, float shift, long rows, long n, long ldy, const float *x, long ldx) {
	for (long t = 0; t < rows; t++, y += ldy, x += ldx)
		for (long i = 0; i < n; i++) y[i] = (g[i] + shift) * x[i];
}

static void sh_add_scaled_columns(float *y, const float *g, long rows, long n, long ldy, const float *x, long ldx) {
	for (long t = 0; t < rows; t++, y += ldy, x += ldx)
		for (long i = 0; i < n; i++) y[i] += g[i] * x[i];
}

static void sh_add(float *y, const float *x, long n) {
	for (long i = 0; i < n; i++) y[i] += x[i];
}

static void sh_column_dots(const float *a, long lda, const float *b, long ldb, double *sums, long rows, long n) {
	for (long t = 0; t < rows; t++, a += lda, b += ldb)
		for (long i = 0; i < n; i++) sums[i] += (double)a[i] * b[i];
}

// Two rounds of a 32 bit mixer (C. Wellons' lowbias32), with half of the key before each.
static inline uint32_t sh_draw(uint32_t i, uint32_t low, uint32_t high) {
	uint32_t x = i ^ low;
	x ^= x >> 16; x *= 0x7feb352dU; x ^= x >> 15; x *= 0x846ca68bU; x ^= x >> 16;
	x ^= high;
	x ^= x >> 16; x *= 0x7feb352dU; x ^= x >> 15; x *= 0x846ca68bU; x ^= x >> 16;
	return x;
}

// The comparison is of signed numbers, for which vectors have an instruction everywhere.
static void sh_dropout(const float *x, float *y, int add, uint32_t from, long n, uint32_t low, uint32_t high, uint32_t limit, float scale) {
	const int32_t bound = (int32_t)(limit ^ 0x80000000U);
	if (add)
		for (long i = 0; i < n; i++) y[i] += (int32_t)(sh_draw(from + (uint32_t)i, low, high) ^ 0x80000000U) < bound ? 0.0f : x[i] * scale;
	else
		for (long i = 0; i < n; i++) y[i] = (int32_t)(sh_draw(from + (uint32_t)i, low, high) ^ 0x80000000U) < bound ? 0.0f : x[i] * scale;
}
*/
import "C"

import (
	"math"
	"unsafe"
)

// The elementwise kernels of adapters. They are bound by memory: what the compiler makes of plain loops is enough.

// ScaleColumns computes y = (g + shift)·x column by column, for rows of n floats in rows of ldy and ldx. y may be x.
func ScaleColumns(y []float32, ldy int, g []float32, shift float32, x []float32, ldx, rows, n int) {
	needColumns(y, ldy, g, x, ldx, rows, n)
	Parallel(rows, grain(n), func(from, to int) {
		C.sh_scale_columns(ptr(y[from*ldy:]), ptr(g), C.float(shift), C.long(to-from), C.long(n), C.long(ldy), ptr(x[from*ldx:]), C.long(ldx))
	})
}

// AddScaledColumns computes y += g·x column by column.
func AddScaledColumns(y []float32, ldy int, g, x []float32, ldx, rows, n int) {
	needColumns(y, ldy, g, x, ldx, rows, n)
	Parallel(rows, grain(n), func(from, to int) {
		C.sh_add_scaled_columns(ptr(y[from*ldy:]), ptr(g), C.long(to-from), C.long(n), C.long(ldy), ptr(x[from*ldx:]), C.long(ldx))
	})
}

func needColumns(y []float32, ldy int, g, x []float32, ldx, rows, n int) {
	need(len(g), n)
	need(min(ldx, ldy), n)
	if rows > 0 {
		need(len(y), (rows-1)*ldy+n)
		need(len(x), (rows-1)*ldx+n)
	}
}

// ColumnDots sets sums [n] to Σ a·b over the rows, column by column, in fp64 and in the order of the rows.
func ColumnDots(a []float32, lda int, b []float32, ldb int, sums []float64, rows int) {
	n := len(sums)
	clear(sums)
	need(min(lda, ldb), n)
	if rows == 0 || n == 0 {
		return
	}
	need(len(a), (rows-1)*lda+n)
	need(len(b), (rows-1)*ldb+n)
	Parallel(n, grain(rows), func(from, to int) {
		C.sh_column_dots(ptr(a[from:]), C.long(lda), ptr(b[from:]), C.long(ldb), (*C.double)(unsafe.Pointer(&sums[from])), C.long(rows), C.long(to-from))
	})
}

// Add computes y += x for the first n floats.
func Add(y, x []float32, n int) {
	need(len(y), n)
	need(len(x), n)
	Parallel(n, 1<<14, func(from, to int) { C.sh_add(ptr(y[from:]), ptr(x[from:]), C.long(to-from)) })
}

// Dropout computes y = x·mask/(1−p) for the first n floats, where the mask is 0 with probability p and else 1; with add
// set it adds that to y. The mask depends on the key and the place in x alone, whatever the number of threads.
func Dropout(x, y []float32, n int, p float64, key uint64, add bool) {
	need(len(y), n)
	need(len(x), n)
	limit := C.uint32_t(min(math.MaxUint32, math.Round(p*(1<<32))))
	low, high, sum := C.uint32_t(key), C.uint32_t(key>>32), flag(add)
	Parallel(n, 1<<13, func(from, to int) {
		C.sh_dropout(ptr(x[from:]), ptr(y[from:]), sum, C.uint32_t(from), C.long(to-from), low, high, limit, C.float(1/(1-p)))
	})
}
