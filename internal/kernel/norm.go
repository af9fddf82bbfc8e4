package kernel

/*
#include "kernels.h"

static void sh_rmsnorm(const float *x, const float *w, float eps, float *y, float *rstd, long rows, long n, long ldx, long ldy) {
	sh_kernels->rmsnorm(x, w, eps, y, rstd, rows, n, ldx, ldy);
}

static void sh_rmsnorm_dx(const float *x, const float *w, const float *rstd, const float *dy, const float *skip, float *dx,
                          long rows, long n, long ldx, long lddy) {
	sh_kernels->rmsnorm_dx(x, w, rstd, dy, skip, dx, rows, n, ldx, lddy);
}

static void sh_rmsnorm_dw(const float *x, const float *rstd, const float *dy, float *dw, long rows, long ld, long from, long to) {
	sh_kernels->rmsnorm_dw(x, rstd, dy, dw, rows, ld, ld, from, to);
}
*/
import "C"

// RMSNorm computes y = x · rstd · w with rstd = 1/√(mean(x²) + eps) for each row of x [rows, n]; w is [n]. The rstd of
// each row is kept for the gradient unless rstd is nil.
func RMSNorm(x, w []float32, eps float32, y, rstd []float32, rows, n int) {
	need(len(x), rows*n)
	need(len(w), n)
	need(len(y), rows*n)
	if rstd != nil {
		need(len(rstd), rows)
	}
	Parallel(rows, grain(n), func(from, to int) {
		var keep []float32
		if rstd != nil {
			keep = rstd[from:]
		}
		C.sh_rmsnorm(ptr(x[from*n:]), ptr(w), C.float(eps), ptr(y[from*n:]), ptr(keep), C.long(to-from), C.long(n), C.long(n), C.long(n))
	})
}

// RMSNormInputGradient computes dx = skip + the gradient of RMSNorm with regard to x, all [rows, n]. skip may be nil,
// and may be dx itself.
func RMSNormInputGradient(x, w, rstd, dy, skip, dx []float32, rows, n int) {
	need(len(x), rows*n)
	need(len(w), n)
	need(len(rstd), rows)
	need(len(dy), rows*n)
	need(len(dx), rows*n)
	if skip != nil {
		need(len(skip), rows*n)
	}
	Parallel(rows, grain(n), func(from, to int) {
		var by []float32
		if skip != nil {
			by = skip[from*n:]
		}
		C.sh_rmsnorm_dx(ptr(x[from*n:]), ptr(w), ptr(rstd[from:]), ptr(dy[from*n:]), ptr(by), ptr(dx[from*n:]), C.long(to-from), C.long(n), C.long(n), C.long(n))
	})
}

// RMSNormWeightGradient adds the gradient of RMSNorm with regard to w to dw [n]. Threads share the columns, so the sum
// over the rows has one order.
func RMSNormWeightGradient(x, rstd, dy, dw []float32, rows, n int) {
	need(len(x), rows*n)
	need(len(rstd), rows)
	need(len(dy), rows*n)
	need(len(dw), n)
	columns(rows, n, func(from, to int) {
		C.sh_rmsnorm_dw(ptr(x), ptr(rstd), ptr(dy), ptr(dw), C.long(rows), C.long(n), C.long(from), C.long(to))
	})
}

// columns shares the columns of a matrix [rows, n] among threads in runs of whole cache lines.
func columns(rows, n int, do func(from, to int)) {
	const line = 64
	Parallel((n+line-1)/line, grain(rows*line), func(from, to int) { do(from*line, min(n, to*line)) })
}
