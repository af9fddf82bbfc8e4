package kernel

/*
#include <stdlib.h>
#include "tiles.h"
*/
import "C"

import (
	"sync"
	"unsafe"
)

// tiles says whether products are computed on the processor's matrix unit.
var tiles = C.sh_tiles() != 0

// Products names what computes matrix products on this processor: amx where it has that matrix unit and the system lets
// it be used, else openblas. On amx every float is taken as the sum of three bf16 and the products that matter in fp32
// are added in fp32: as exact as a BLAS, and 1.4 to 1.7 times as fast as OpenBLAS with AVX-512 (BenchmarkGemm). Small
// products stay with OpenBLAS.
func Products() string {
	if tiles {
		return "amx"
	}
	return "openblas"
}

// UseTiles says whether products may be computed on the matrix unit. It returns what was so before. It must not be called
// while a kernel runs.
func UseTiles(on bool) (before bool) {
	before = tiles
	tiles = on && C.sh_tiles() != 0
	return before
}

// packed is memory for packed operands that is not in use: one piece a thread, kept for good.
var packed struct {
	sync.Mutex
	free []unsafe.Pointer
}

func takeTiles() unsafe.Pointer {
	packed.Lock()
	defer packed.Unlock()
	if n := len(packed.free); n > 0 {
		last := packed.free[n-1]
		packed.free = packed.free[:n-1]
		return last
	}
	const size = 4 << 20
	p := C.aligned_alloc(2<<20, size)
	if p == nil {
		panic("kernel: no memory for a product")
	}
	advise(p, size)
	return p
}

func giveTiles(p unsafe.Pointer) {
	packed.Lock()
	defer packed.Unlock()
	packed.free = append(packed.free, p)
}
