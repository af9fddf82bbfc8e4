// The kernels of one instruction set, as a table: kernels_*.c fill one each from the same sources, and sh_kernels points
// to the best that the processor runs. All matrices are row-major fp32.
#ifndef STILLHOUSE_KERNELS_H
#define STILLHOUSE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

// One query head of one row of an attention: q, k and v are rows of ld floats, o and its gradient of ldo, the gradient of
// q of ld, those of k and v of lddkv; lse is one float a token.
typedef struct sh_head {
	const float *q, *k, *v;
	long ld, tokens, dim;
	float scale;
	float *o;
	long ldo;
	float *lse;
	float *scratch;
	// backward only
	const float *d_o;
	float *dq, *dk, *dv;
	long lddkv;
} sh_head;

typedef struct sh_table {
	const char *name;
	void (*rmsnorm)(const float *x, const float *w, float eps, float *y, float *rstd, long rows, long n, long ldx, long ldy);
	void (*rmsnorm_dx)(const float *x, const float *w, const float *rstd, const float *dy, const float *skip, float *dx,
	                   long rows, long n, long ldx, long lddy);
	void (*rmsnorm_dw)(const float *x, const float *rstd, const float *dy, float *dw, long rows, long ldx, long lddy, long from, long to);
	void (*rope)(float *x, long ld, long heads, long dim, const float *cos, const float *sin, const int32_t *pos, float sign, long rows);
	void (*swiglu)(const float *gu, float *y, long rows, long n);
	void (*swiglu_dx)(const float *gu, const float *dy, float *dgu, long rows, long n);
	void (*add_rows)(float *y, const float *b, long rows, long n, long ld);
	void (*sum_rows)(const float *dy, float *db, long rows, long ld, long from, long to);
	void (*scatter_add)(const float *dx, const int32_t *index, float *to, long rows, long n, long from, long until);
	void (*cross_entropy)(float *logits, const int32_t *labels, long rows, long v, float scale, int gradient, int dft, double *loss,
	                      double *entropy, int32_t *correct);
	void (*attention)(const sh_head *a);
	void (*attention_dx)(const sh_head *a);
	void (*adamw)(float *p, const float *g, float *m, float *v, long n, float grad_scale, float decay, float gain1,
	              float keep2, float gain2, float step, float root, float eps);
	double (*squared_norm)(const float *x, long n);
	void (*scale)(float *x, float by, long n);
	void (*exp)(const float *x, float *y, long n);
} sh_table;

extern const sh_table sh_table_base;
#if defined(__x86_64__)
extern const sh_table sh_table_avx2, sh_table_avx512;
#endif
extern const sh_table *sh_kernels;

// sh_choose points sh_kernels to the widest table that the processor runs and whose name is not above `most` ("base",
// "avx2", "avx512"; NULL for no bound), and returns its name.
const char *sh_choose(const char *most);

// Queries of an attention that are worked on together, and the distance between the rows of its scratch, which holds the
// transposed keys and values [dim, SH_PITCH] and, of a panel of such blocks, the scores and their gradients
// [SH_PANEL, SH_PITCH].
enum { SH_QUERIES = 24, SH_PANEL = 5 * SH_QUERIES };
#define SH_PITCH(tokens) (((tokens) + 31) / 32 * 32)
#define SH_SCRATCH(tokens, dim) ((2 * (dim) + 2 * SH_PANEL) * SH_PITCH(tokens))

#endif
