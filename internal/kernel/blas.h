// OpenBLAS, loaded when the first product needs it. Its threads, which we do not use, begin with the library, and spin for
// a tenth of a second: linked, they cost that at every start of the program.
#pragma once

// sh_blas_load loads the library. It returns NULL, or what is wrong. It must come once, before sh_sgemm.
const char *sh_blas_load(void);

// sh_sgemm is cblas_sgemm of row-major matrices, on the caller's thread.
void sh_sgemm(int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta,
              float *c, int ldc);
