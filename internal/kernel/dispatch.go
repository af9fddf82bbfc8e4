package kernel

/*
#include <stdlib.h>
#include "kernels.h"
*/
import "C"

import "unsafe"

var instructionSet = choose("")

// InstructionSet names the instruction set that the kernels use on this processor: avx512, avx2 or base.
func InstructionSet() string { return instructionSet }

// choose takes the widest kernels that the processor runs, at most those named unless most is empty.
func choose(most string) string {
	if most == "" {
		return C.GoString(C.sh_choose(nil))
	}
	name := C.CString(most)
	defer C.free(unsafe.Pointer(name))
	return C.GoString(C.sh_choose(name))
}

func ints(s []int32) *C.int32_t { return (*C.int32_t)(unsafe.Pointer(unsafe.SliceData(s))) }

// need panics unless every slice has at least the length that the kernel will read: C checks nothing.
func need(have, want int) {
	if have < want {
		panic("kernel: a slice is shorter than its matrix")
	}
}

// grain is the least number of rows of n floats that is worth a thread of its own.
func grain(n int) int { return max(1, 8192/max(1, n)) }
