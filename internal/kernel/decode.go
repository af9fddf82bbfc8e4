package kernel

/*
#include "decode.h"

static float shd_run_exps(const shd_kernels *k, int n, const float *x, float scale, float *y) { return k->exps(n, x, scale, y); }
static int shd_run_top(const shd_kernels *k, int n, const float *x) { return k->top(n, x); }
static uint64_t shd_run_read(const shd_kernels *k, const void *from, size_t bytes) { return k->read(from, bytes); }
*/
import "C"

import (
	"errors"
	"time"
	"unsafe"
)

// The kernels of generation. Every row's result is the same bits whatever other rows are computed beside it and on
// however many threads: each sum has one fixed order. OpenBLAS does not promise that, which is why products with the
// weights are made here when text is generated. On processors with AVX2 or AVX-512 the bits are the same too.

var decodeKernels = C.shd_select(0)

// selectDecode takes the kernels of at most a level, 0 for the best that there are.
func selectDecode(level int) { decodeKernels = C.shd_select(C.int(level)) }

// decodeFused reports whether the kernels multiply and add in one rounding.
func decodeFused() bool { return decodeKernels.level > 1 }

// DecodeExps computes y = exp((x − max x)·scale) and returns the sum of y. A result below e⁻⁸⁷ is e⁻⁸⁷.
func DecodeExps(x []float32, scale float32, y []float32) float32 {
	_ = y[:len(x)]
	return float32(C.shd_run_exps(decodeKernels, C.int(len(x)), ptr(x), C.float(scale), ptr(y)))
}

// DecodeTop is the place of the largest, the first of several; -1 when any of x is not a number or the largest is
// infinite.
func DecodeTop(x []float32) int {
	return int(C.shd_run_top(decodeKernels, C.int(len(x)), ptr(x)))
}

// ReadBandwidth is how many bytes a second all threads together read from memory: the best of passes over `bytes` bytes,
// which should be well above the caches'.
func ReadBandwidth(bytes, passes int) (float64, error) {
	bytes = max(bytes, 1<<20)
	p := C.shd_map(C.size_t(bytes))
	if p == nil {
		return 0, errors.New("no memory is left to measure its speed with")
	}
	defer C.shd_unmap(p, C.size_t(bytes))
	memory := unsafe.Slice((*byte)(p), bytes)
	for i := 0; i < bytes; i += 4096 {
		memory[i] = byte(i) // pages that were never written all share one
	}
	best := 0.0
	for range passes {
		begun := time.Now()
		Parallel(bytes>>12, 1, func(from, to int) {
			C.shd_run_read(decodeKernels, unsafe.Pointer(&memory[from<<12]), C.size_t((to-from)<<12))
		})
		best = max(best, float64(bytes)/time.Since(begun).Seconds())
	}
	return best, nil
}
