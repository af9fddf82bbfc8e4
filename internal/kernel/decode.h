// The kernels of generation: a step of a model is a program of few operations, each of which is many pieces of work that
// any thread may take. See decode_program.go for what a program is, decode_team.c for how it is run.
#ifndef STILLHOUSE_DECODE_H
#define STILLHOUSE_DECODE_H

#include <stddef.h>
#include <stdint.h>

#define SHD_PANEL 16 // rows of a packed panel, positions of a block of the cache, lanes of every sum
#define SHD_QUANT 32 // values that share a scale
#define SHD_BYTES (SHD_PANEL * SHD_QUANT + SHD_PANEL * 2) // of a block of a Q8_0 panel: the values, then the fp16 scales

enum { SHD_F32, SHD_BF16, SHD_Q8 };

// A weight matrix [n, k] in panels of 16 rows, the last one filled up with zeros:
//   F32   [k][16] floats
//   BF16  [⌈k/2⌉][16][2]
//   Q8_0  [⌈k/32⌉] blocks of [16][16][2] int8 (pair of columns, row, column of the pair) and [16] fp16 scales
typedef struct {
	const void *data;
	int32_t type, n, k;
} shd_matrix;

int64_t shd_panel_bytes(int32_t type, int32_t k);

// The buffers of a step, [rows, width] floats each.
enum { SHD_X, SHD_NORMED, SHD_QKV, SHD_ATTENDED, SHD_GATES, SHD_ACTIVE, SHD_LOGITS, SHD_BUFFERS };

enum { SHD_EMBED, SHD_NORM, SHD_PRODUCT, SHD_ROPE, SHD_ATTEND, SHD_GATE, SHD_ROUND, SHD_LOSS, SHD_KINDS };

typedef struct {
	int32_t kind;
	int32_t in, out; // buffers
	int32_t layer;
	int32_t group;  // panels in a piece of a product
	int32_t add;    // a product is added to what out holds
	int32_t wanted; // the rows are those that step.pick names, not all
	int32_t round;  // the result goes to step.rounded, not to out
	float eps;
	shd_matrix w;
	const float *a, *b; // weights of a norm, a bias; norms of queries and keys
} shd_op;

typedef struct {
	int32_t rows, picks, spans;
	const int32_t *tokens, *table, *position; // [rows]
	const int32_t *pick;                      // [picks] rows whose logits are wanted, rising
	const int32_t *label;                     // [picks] the token whose loss is wanted
	const int32_t *first, *count;             // [spans] rows of one sequence at positions that follow each other
	const uintptr_t *blocks;                  // addresses of blocks of the cache, the sequences' tables end to end
	float *buffer[SHD_BUFFERS];
	int32_t width[SHD_BUFFERS];
	int16_t *rounded;  // [rows][k up to a multiple of 32] activations for a product with Q8_0
	float *scale;      // [rows][⌈k/32⌉]
	const float *cosines, *sines; // [positions, head_dim/2]
	float *scores;     // [threads][SHD_QUERIES][pitch]
	double *loss;      // [picks]
	int64_t pitch;
	int32_t heads, kv_heads, head_dim;
} shd_step;

#define SHD_QUERIES 6 // of an attention that are worked on together

// Does the pieces from..to of an operation.
typedef void (*shd_kernel)(const shd_step *s, const shd_op *op, int from, int to, int thread);

typedef struct {
	int32_t level;
	shd_kernel run[SHD_KINDS];
	float (*exps)(int n, const float *x, float scale, float *y);
	int (*top)(int n, const float *x);
	uint64_t (*read)(const void *from, size_t bytes);
} shd_kernels;

extern const shd_kernels shd_base_kernels;
#if defined(__x86_64__)
extern const shd_kernels shd_avx2_kernels, shd_avx512_kernels;
#endif

// shd_select returns the kernels for the processor's instructions: 0 the best there are, else at most level 1 (the
// baseline), 2 (AVX2, FMA and F16C) or 3 (AVX-512 F and BW).
const shd_kernels *shd_select(int level);

// Rows of a product are worked on in blocks of like size whose activations stay in the second cache.
int shd_row_blocks(const shd_op *op, int rows);

// A program and the state of its run.
typedef struct {
	const shd_kernels *kernels;
	shd_op *ops;
	int32_t n, threads;
	shd_step step;
	int32_t *claims; // [threads][n] pieces of each thread's share that are taken
	int32_t *done;   // [n] pieces that are done
	int64_t state;   // threads in the program, and whether others may join
} shd_program;

void shd_open(shd_program *p, int threads);
void shd_join(shd_program *p, int thread);

void *shd_map(size_t bytes); // zeros, in large pages where the system has them; NULL when there is no memory
void shd_unmap(void *p, size_t bytes);
void *shd_block_new(int64_t floats);
void shd_block_copy(uintptr_t to, uintptr_t from, int64_t floats);
void shd_block_free(uintptr_t block);

#endif
