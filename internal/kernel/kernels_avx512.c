// The kernels for AVX-512, in vectors of sixteen.
#if defined(__x86_64__)
#define VL 16
#define TARGET __attribute__((target("avx512f,avx2,fma")))
#define TABLE sh_table_avx512
#define NAME "avx512"
#include "table.h"
#endif
