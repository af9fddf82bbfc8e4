// The kernels of generation. See decode.go for what each computes.
#ifndef STILLHOUSE_DECODE_H
#define STILLHOUSE_DECODE_H

#include <stdint.h>

#define SHD_PANEL 16 // columns of a packed panel, positions of a block of the cache, lanes of every sum

// Where the rows of one step lie in the cache of keys and values.
typedef struct {
	const uintptr_t *blocks; // addresses of blocks, the sequences' tables end to end
	const int32_t *table;    // [rows] where the table of the row's sequence begins in blocks
	const int32_t *position; // [rows]
	int64_t layer;           // floats from the start of a block to those of this layer
	int32_t heads, kv_heads, head_dim;
} shd_cache;

typedef struct {
	void (*gemm)(int from, int to, int m, int k, int n, const float *x, int64_t ldx, const void *w, int bf16, float *y, int64_t ldy, int add);
	void (*norm)(int from, int to, int n, float eps, const float *x, int64_t ldx, const float *w, float *y, int64_t ldy);
	void (*rope)(int from, int to, const shd_cache *c, float *qkv, int64_t ldq, const float *cosines, const float *sines);
	int (*attend)(int from, int to, const shd_cache *c, const float *qkv, int64_t ldq, float *y, int64_t ldy);
	void (*swiglu)(int from, int to, int n, const float *x, int64_t ldx, float *y, int64_t ldy);
	float (*exps)(int n, const float *x, float scale, float *y);
} shd_kernels;

// shd_select returns the kernels for the processor's instructions: 0 the best there are, else at most level 1 (the
// baseline), 2 (AVX2 and FMA) or 3 (AVX-512).
const shd_kernels *shd_select(int level);

void *shd_block_new(int64_t floats);
void shd_block_copy(uintptr_t to, uintptr_t from, int64_t floats);
void shd_block_free(uintptr_t block);

#endif
