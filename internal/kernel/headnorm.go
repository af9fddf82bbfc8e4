package kernel

/*
#include "kernels.h"

static void sh_head_norm(const float *x, const float *w, float eps, float *y, float *rstd, long rows, long n, long ld) {
	sh_kernels->rmsnorm(x, w, eps, y, rstd, rows, n, ld, ld);
}

static void sh_head_norm_dx(const float *x, const float *w, const float *rstd, const float *dy, float *dx, long rows, long n, long ld) {
	sh_kernels->rmsnorm_dx(x, w, rstd, dy, NULL, dx, rows, n, ld, ld);
}

static void sh_head_norm_dw(const float *x, const float *rstd, const float *dy, float *dw, long rows, long n, long ld) {
	sh_kernels->rmsnorm_dw(x, rstd, dy, dw, rows, ld, ld, 0, n);
}
*/
import "C"

// HeadNorm is RMSNorm of each of heads vectors that lie side by side at the start of each row of x; rows have ld floats
// and all heads the same weight w. rstd is [heads, rows], kept for the gradient. y has the shape of x.
func HeadNorm(x, w []float32, eps float32, y, rstd []float32, rows, heads, ld int) {
	n := len(w)
	needHeads(len(x), rows, heads, n, ld)
	needHeads(len(y), rows, heads, n, ld)
	need(len(rstd), heads*rows)
	Parallel(heads, grain(rows*n), func(from, to int) {
		for h := from; h < to && rows > 0; h++ {
			C.sh_head_norm(ptr(x[h*n:]), ptr(w), C.float(eps), ptr(y[h*n:]), ptr(rstd[h*rows:]), C.long(rows), C.long(n), C.long(ld))
		}
	})
}

// HeadNormGradient computes dx from dy, both of the shape of x, and adds to dw unless that is nil. dx may be dy.
func HeadNormGradient(x, w, rstd, dy, dx, dw []float32, rows, heads, ld int) {
	n := len(w)
	needHeads(len(x), rows, heads, n, ld)
	needHeads(len(dy), rows, heads, n, ld)
	needHeads(len(dx), rows, heads, n, ld)
	need(len(rstd), heads*rows)
	if dw != nil {
		need(len(dw), n)
	}
	// Every head adds to dw, so that part has one thread and one order.
	for h := 0; h < heads && rows > 0 && dw != nil; h++ {
		C.sh_head_norm_dw(ptr(x[h*n:]), ptr(rstd[h*rows:]), ptr(dy[h*n:]), ptr(dw), C.long(rows), C.long(n), C.long(ld))
	}
	Parallel(heads, grain(rows*n), func(from, to int) {
		for h := from; h < to && rows > 0; h++ {
			C.sh_head_norm_dx(ptr(x[h*n:]), ptr(w), ptr(rstd[h*rows:]), ptr(dy[h*n:]), ptr(dx[h*n:]), C.long(rows), C.long(n), C.long(ld))
		}
	})
}

func needHeads(have, rows, heads, n, ld int) {
	need(ld, heads*n)
	if rows > 0 {
		need(have, (rows-1)*ld+heads*n)
	}
}
