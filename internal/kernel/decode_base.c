// The kernels of generation for any processor, in vectors of four.
#include "decode.h"

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#define FN(name) shd_base_##name
#define LEVEL 1
#define W 4
#define ROWS 4
#define NARROW_ROWS 4
#define PANELS 1
#include "decode_simd.h"
