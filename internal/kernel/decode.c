#include "decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define FN(name) shd_base_##name
#define W 4
#define ROWS 4
#define PANELS 1
#include "decode_simd.h"

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define FN(name) shd_avx2_##name
#define W 8
#define ROWS 6
#define PANELS 1
#include "decode_simd.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx2,fma")
#define FN(name) shd_avx512_##name
#define W 16
#define ROWS 8
#define PANELS 2
#include "decode_simd.h"
#pragma GCC pop_options
#endif

const shd_kernels *shd_select(int level) {
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (level == 0) level = 3;
	if (level >= 3 && __builtin_cpu_supports("avx512f")) return &shd_avx512_kernels;
	if (level >= 2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &shd_avx2_kernels;
#endif
	return &shd_base_kernels;
}

void *shd_block_new(int64_t floats) {
	void *block = aligned_alloc(64, (floats * 4 + 63) / 64 * 64);
	if (block) memset(block, 0, floats * 4);
	return block;
}

void shd_block_copy(uintptr_t to, uintptr_t from, int64_t floats) { memcpy((void *)to, (const void *)from, floats * 4); }

void shd_block_free(uintptr_t block) { free((void *)block); }
