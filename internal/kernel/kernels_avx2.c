// The kernels for AVX2 and FMA, in vectors of eight.
#if defined(__x86_64__)
#define VL 8
#define TARGET __attribute__((target("avx2,fma")))
#define TABLE sh_table_avx2
#define NAME "avx2"
#include "table.h"
#endif
