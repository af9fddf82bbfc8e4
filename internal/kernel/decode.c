// The choice of the kernels of generation at run time.
#include "decode.h"

const shd_kernels *shd_select(int level) {
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (level == 0) level = 3;
	const int wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
	if (level >= 3 && wide && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return &shd_avx512_kernels;
	if (level >= 2 && wide) return &shd_avx2_kernels;
#endif
	return &shd_base_kernels;
}
