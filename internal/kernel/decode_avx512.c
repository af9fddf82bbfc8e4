// The kernels of generation for AVX-512 F and BW, in vectors of sixteen.
#if defined(__x86_64__)
#include "decode.h"

#include <math.h>
#include <string.h>
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx2,fma,f16c")
#define FN(name) shd_avx512_##name
#define LEVEL 3
#define W 16
#define ROWS 8
#define NARROW_ROWS 8
#define PANELS 2
#include "decode_simd.h"
#endif
