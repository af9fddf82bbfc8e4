// Products on a processor's matrix unit (AMX), to the accuracy of fp32.
#ifndef STILLHOUSE_TILES_H
#define STILLHOUSE_TILES_H

#include <stddef.h>
#include <stdint.h>

// Packed operands of one call: SH_TILES_M rows of A and SH_TILES_N columns of B, SH_TILES_K deep, three bf16 each.
enum { SH_TILES_M = 256, SH_TILES_N = 768, SH_TILES_K = 576, SH_TILES_SCRATCH = (SH_TILES_M + SH_TILES_N) * SH_TILES_K * 3 * 2 };

// Whether there is such a unit, and the system lets this process use it.
int sh_tiles(void);

// C = alpha·op(A)·op(B) + beta·C as in BLAS, row-major. The scratch is of SH_TILES_SCRATCH bytes, aligned to 64.
void sh_tiles_gemm(int ta, int tb, long m, long n, long k, float alpha, const float *a, long lda, const float *b, long ldb,
                   float beta, float *c, long ldc, void *scratch);

#endif
