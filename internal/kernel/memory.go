package kernel

import (
	"syscall"
	"unsafe"
)

// Floats is a buffer of n zeros. Large ones lie in pages of 2 MiB where the system has some, which it is asked for before
// the memory is touched: a training walks through gigabytes, and with pages of 4 KiB the processor spends a part of its
// time on finding them.
func Floats(n int) []float32 {
	x := make([]float32, n)
	advise(unsafe.Pointer(unsafe.SliceData(x)), 4*n)
	return x
}

// advise asks for large pages where they fit. What becomes of it shows in the time alone, so an error is none.
func advise(p unsafe.Pointer, bytes int) {
	const page, hugePage = 2 << 20, 14 // MADV_HUGEPAGE
	skip := int(-uintptr(p) % page)
	if n := (bytes - skip) / page * page; n > 0 {
		_ = syscall.Madvise(unsafe.Slice((*byte)(p), bytes)[skip:skip+n], hugePage)
	}
}
