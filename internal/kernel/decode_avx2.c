// The kernels of generation for AVX2, FMA and F16C, in vectors of eight.
#if defined(__x86_64__)
#include "decode.h"

#include <math.h>
#include <string.h>
#include <immintrin.h>
#pragma GCC target("avx2,fma,f16c")
#define FN(name) shd_avx2_##name
#define LEVEL 2
#define W 8
#define ROWS 6
#define NARROW_ROWS 4
#define PANELS 1
#include "decode_simd.h"
#endif
