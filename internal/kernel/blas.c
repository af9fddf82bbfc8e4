#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "blas.h"
#include "stillhouse_blas.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

static __typeof__(&STILLHOUSE_BLAS(cblas_sgemm)) sgemm;

const char *sh_blas_load(void) {
	static const char threads[] = "OPENBLAS_NUM_THREADS";
	const char *said = getenv(threads);
	char *before = said ? strdup(said) : NULL;
	setenv(threads, "1", 1);
	void *library = dlopen("libstillhouse_blas.so", RTLD_NOW | RTLD_LOCAL);
	if (before)
		setenv(threads, before, 1);
	else
		unsetenv(threads);
	free(before);
	if (!library)
		return dlerror();
	__typeof__(&STILLHOUSE_BLAS(openblas_set_num_threads)) set = dlsym(library, TEXT(STILLHOUSE_BLAS(openblas_set_num_threads)));
	if (set)
		set(1);
	sgemm = dlsym(library, TEXT(STILLHOUSE_BLAS(cblas_sgemm)));
	return sgemm ? NULL : dlerror();
}

void sh_sgemm(int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta,
              float *c, int ldc) {
	sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
