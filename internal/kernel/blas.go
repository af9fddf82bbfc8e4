// Package kernel is the arithmetic under the student: matrix products by OpenBLAS, or on a matrix unit where there is one,
// and fused kernels in C, all fp32.
//
// Matrices are row-major slices. Kernels dispatch on the processor at run time and split their rows over [Threads]
// goroutines in pieces whose results do not depend on which does them, nor when.
package kernel

/*
#cgo CFLAGS: -O3 -std=gnu11 -I${SRCDIR}/../../.build/include
#cgo LDFLAGS: -L${SRCDIR}/../../.build/lib -lm -ldl -Wl,-rpath,$ORIGIN/../.build/lib -Wl,-rpath,${SRCDIR}/../../.build/lib
#include "blas.h"
#include "tiles.h"
*/
import "C"

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

var threads = runtime.GOMAXPROCS(0)

// blas has OpenBLAS loaded, with one thread a call. Its own threads wait for each other by spinning: they take the processor
// from our kernels between the products, and on a machine that does other work too a product waits for a thread that has no
// processor.
var blas = sync.OnceFunc(func() {
	if wrong := C.sh_blas_load(); wrong != nil {
		panic("kernel: OpenBLAS cannot be loaded, make build gets it: " + C.GoString(wrong))
	}
})

// pieces are how many pieces a product is cut into whatever the number of threads, or 0 for one a thread.
var pieces int

// fixedPieces is the number of pieces where results may not depend on the number of threads. More would keep more threads
// busy, and read the shared side of a product more often.
const fixedPieces = 4

// SetDeterministic says whether products are cut into a fixed number of pieces. Then their results, to the last bit, do
// not depend on the number of threads; those of the other kernels never do. It returns what was set before. It must not
// be called while a kernel runs.
func SetDeterministic(on bool) (before bool) {
	before = pieces > 0
	if pieces = 0; on {
		pieces = fixedPieces
	}
	return before
}

// Threads is the number of threads that products and kernels use.
func Threads() int { return threads }

// SetThreads sets the number of threads, at least 1. It must not be called while a kernel runs.
func SetThreads(n int) { threads = max(1, n) }

// Gemm computes C = alpha·op(A)·op(B) + beta·C, where op(A) is [m, k], op(B) is [k, n] and C is [m, n]; op transposes
// when transA or transB is set, and lda, ldb, ldc are the distances between the rows as stored. With beta 0, what C held
// is not read. The last bits of the result depend on the number of pieces (see [SetDeterministic]): OpenBLAS sums the
// edges of a matrix in another order than its middle. See [Products] for where it is computed.
func Gemm(transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	if m == 0 || n == 0 {
		return
	}
	// What is too little work for a second thread is left whole.
	const least = 1 << 19
	if tiles && min(m, n, k) >= 32 && m*n*k >= least {
		gemmOnTiles(side{a, m, lda, transA, false, alpha}, side{b, n, ldb, transB, true, 1}, k, beta, c, ldc)
		return
	}
	// Threads share the longer side of C in strips that suit the inner kernels.
	const strip = 48
	strips, grain := (max(m, n)+strip-1)/strip, 1+least/max(1, strip*min(m, n)*k)
	cut := pieces
	if cut == 0 {
		cut = threads
	}
	cut = max(1, min(cut, (strips+grain-1)/grain))
	product := func(row, rows, column, columns int) {
		at, bt := row*lda, column
		if transA {
			at = row
		}
		if transB {
			bt = column * ldb
		}
		blas()
		C.sh_sgemm(flag(transA), flag(transB), C.int(rows), C.int(columns), C.int(k), C.float(alpha), ptr(a[at:]), C.int(lda), ptr(b[bt:]), C.int(ldb), C.float(beta), ptr(c[row*ldc+column:]), C.int(ldc))
	}
	whoIsFree(cut, func(p int) {
		first, last := strips*p/cut*strip, min(max(m, n), strips*(p+1)/cut*strip)
		if m >= n {
			product(first, last-first, 0, n)
		} else {
			product(0, m, first, last-first)
		}
	})
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func ptr(s []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(s))) }

// Parallel calls do(from, to) for pieces of 0..n, each of at least grain, on up to [Threads] goroutines.
func Parallel(n, grain int, do func(from, to int)) {
	// More pieces than threads: where one has to share its core with another program, the others do more.
	pieces := min(4*threads, (n+grain-1)/max(1, grain))
	if threads == 1 || pieces <= 1 {
		if n > 0 {
			do(0, n)
		}
		return
	}
	whoIsFree(pieces, func(p int) { do(n*p/pieces, n*(p+1)/pieces) })
}

// whoIsFree calls do(0), … do(n-1), each once, on up to [Threads] goroutines; each takes the next when it is done with one.
func whoIsFree(n int, do func(i int)) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	var wg sync.WaitGroup
	for range min(threads, n) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}
