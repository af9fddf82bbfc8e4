// Products with packed weights. Included by decode_simd.h.
//
// Each output is one sum in one fixed order, over k from first to last; with Q8_0 it is over blocks of 32, inside of which
// integers are added, which has no order.

// The next panels are fetched into the second cache while these are worked on.
#define FETCH(p) __builtin_prefetch((p), 0, 2)
#define FETCH_MOST (96 << 10)

#define CLEAR(acc)                       \
	UNROLL                               \
	for (int r = 0; r < MR; r++)         \
	UNROLL                               \
		for (int j = 0; j < P * LANES; j++) acc[r][j] = (__typeof__(acc[r][j])){}

// One tile: MR rows of x times P panels of w. acc is [MR][P * LANES], in registers: a size that is not literal would end
// up in memory.
INLINE void FN(tile_f32)(const int MR, const int P, int k, const float *x, int64_t ldx, const float *w, vf acc[8][16]) {
	const int64_t ahead = (int64_t)k * SHD_PANEL * 4 * P < FETCH_MOST ? (int64_t)k * SHD_PANEL * P : FETCH_MOST / 4;
	CLEAR(acc);
	for (int i = 0; i < k; i++) {
		vf b[16];
UNROLL
		for (int p = 0; p < P; p++) {
			const float *from = w + ((int64_t)p * k + i) * SHD_PANEL;
			FETCH(from + ahead);
UNROLL
			for (int j = 0; j < LANES; j++) b[p * LANES + j] = *(const vf *)(from + j * W);
		}
UNROLL
		for (int r = 0; r < MR; r++) {
			const float a = x[r * ldx + i];
UNROLL
			for (int j = 0; j < P * LANES; j++) acc[r][j] += a * b[j];
		}
	}
}

INLINE void FN(tile_bf16)(const int MR, const int P, int k, const float *x, int64_t ldx, const uint16_t *w, vf acc[8][16]) {
	const int64_t size = (int64_t)(k + 1) / 2 * SHD_PANEL * 2;
	const int64_t ahead = size * 2 * P < FETCH_MOST ? size * P : FETCH_MOST / 2;
	CLEAR(acc);
	for (int i = 0; i < k; i += 2) {
		vi b[16];
UNROLL
		for (int p = 0; p < P; p++) {
			const uint16_t *from = w + p * size + (int64_t)i * SHD_PANEL;
			FETCH(from + ahead);
UNROLL
			for (int j = 0; j < LANES; j++) b[p * LANES + j] = *(const vi *)(from + j * W * 2);
		}
UNROLL
		for (int r = 0; r < MR; r++) {
			const float a = x[r * ldx + i];
UNROLL
			for (int j = 0; j < P * LANES; j++) acc[r][j] += a * (vf)(b[j] << 16);
		}
		if (i + 1 == k) break; // the pair's second column is not there
UNROLL
		for (int r = 0; r < MR; r++) {
			const float a = x[r * ldx + i + 1];
UNROLL
			for (int j = 0; j < P * LANES; j++) acc[r][j] += a * (vf)(b[j] & (int32_t)0xffff0000);
		}
	}
}

// x are rows of k int16 with a scale for 32 of them.
INLINE void FN(tile_q8)(const int MR, const int P, int blocks, const int16_t *x, const float *scale, const int8_t *w, vf acc[8][16]) {
	const int64_t size = (int64_t)blocks * SHD_BYTES, ldx = (int64_t)blocks * SHD_QUANT;
	const int64_t ahead = size * P < FETCH_MOST ? size * P : FETCH_MOST;
	CLEAR(acc);
	for (int b = 0; b < blocks; b++) {
		vi sum[8][16];
		CLEAR(sum);
		const int8_t *at = w + (int64_t)b * SHD_BYTES;
		for (int p = 0; p < P; p++)
			for (int i = 0; i < SHD_BYTES + 63; i += 64) FETCH(at + p * size + ahead + i);
		for (int i = 0; i < SHD_QUANT / 2; i++) {
			vi v[16];
UNROLL
			for (int p = 0; p < P; p++)
UNROLL
				for (int j = 0; j < LANES; j++) v[p * LANES + j] = FN(widen)(at + p * size + i * SHD_PANEL * 2 + j * W * 2);
UNROLL
			for (int r = 0; r < MR; r++) {
				int32_t a;
				memcpy(&a, x + r * ldx + b * SHD_QUANT + i * 2, 4);
UNROLL
				for (int j = 0; j < P * LANES; j++) sum[r][j] = FN(pairs)(sum[r][j], v[j], a);
			}
		}
UNROLL
		for (int p = 0; p < P; p++)
UNROLL
			for (int j = 0; j < LANES; j++) {
				const vf d = FN(half)((const uint16_t *)(at + p * size + SHD_PANEL * SHD_QUANT) + j * W);
UNROLL
				for (int r = 0; r < MR; r++)
					acc[r][p * LANES + j] += __builtin_convertvector(sum[r][p * LANES + j], vf) * (d * scale[(int64_t)r * blocks + b]);
			}
	}
}

// A function of its own for each shape of a tile. The sums go to a buffer, [MR][P·16].
typedef struct {
	int k;
	int64_t ldx;
	const float *x, *scale;
	const int16_t *rounded;
	float *sums;
} FN(job);
typedef void (*FN(tile))(const FN(job) *t, const void *w);

#define TILE(NAME, MR, P, CALL)                                                           \
	static __attribute__((noinline)) void FN(NAME)(const FN(job) *t, const void *w) { \
		vf acc[8][16];                                                            \
		CALL;                                                                     \
		UNROLL                                                                    \
		for (int r = 0; r < MR; r++)                                              \
		UNROLL                                                                    \
			for (int j = 0; j < P * LANES; j++)                               \
				*(vf *)(t->sums + r * P * SHD_PANEL + j * W) = acc[r][j]; \
	}
#define WIDE(MR, P) TILE(f32_##MR##_##P, MR, P, FN(tile_f32)(MR, P, t->k, t->x, t->ldx, w, acc))
#define NARROW(MR, P)                                                                                  \
	TILE(bf16_##MR##_##P, MR, P, FN(tile_bf16)(MR, P, t->k, t->x, t->ldx, w, acc))                 \
	TILE(q8_##MR##_##P, MR, P, FN(tile_q8)(MR, P, (t->k + SHD_QUANT - 1) / SHD_QUANT, t->rounded, t->scale, w, acc))
#define WIDE_PLACE(MR, P) [SHD_F32][MR][P] = FN(f32_##MR##_##P),
#define NARROW_PLACE(MR, P) [SHD_BF16][MR][P] = FN(bf16_##MR##_##P), [SHD_Q8][MR][P] = FN(q8_##MR##_##P),
#define FEW(DO) DO(1, 1) DO(1, 2) DO(1, 4) DO(2, 1) DO(2, 2) DO(3, 1) DO(3, 2) DO(4, 1)
#if ROWS == 4
#define MORE(DO)
#elif ROWS == 6
#define MORE(DO) DO(5, 1) DO(6, 1)
#else
#define MORE(DO) DO(5, 1) DO(6, 1) DO(7, 1) DO(8, 1) DO(4, 2) DO(5, 2) DO(6, 2) DO(7, 2) DO(8, 2)
#endif
FEW(WIDE) MORE(WIDE) FEW(NARROW)
#if NARROW_ROWS > 4
MORE(NARROW)
#endif
static const FN(tile) FN(tiles)[3][ROWS + 1][5] = {
	FEW(WIDE_PLACE) MORE(WIDE_PLACE) FEW(NARROW_PLACE)
#if NARROW_ROWS > 4
	MORE(NARROW_PLACE)
#endif
};
#undef WIDE
#undef NARROW
#undef WIDE_PLACE
#undef NARROW_PLACE
#undef FEW
#undef MORE
#undef TILE

// y [m, n] = the sums [m, ld], with a bias, added to y or not.
static void FN(put)(const float *sums, int m, int ld, int n, const float *bias, float *y, int64_t ldy, int add) {
	if (n > ld) n = ld;
	for (int r = 0; r < m; r++, sums += ld, y += ldy)
		for (int j = 0; j < n; j++) {
			const float v = bias ? sums[j] + bias[j] : sums[j];
			y[j] = add ? v + y[j] : v;
		}
}

// The panels from..to for the rows row..until. Fewer rows take more panels at once, so that there are always enough sums
// under way to keep the processor busy; rows are cut into tiles of like size.
static void FN(panels)(const shd_step *s, const shd_op *op, int from, int to, int row, int until) {
	const int k = op->w.k, m = until - row, most = op->w.type == SHD_F32 ? ROWS : NARROW_ROWS, tiles = (m + most - 1) / most;
	const int64_t blocks = (k + SHD_QUANT - 1) / SHD_QUANT, size = shd_panel_bytes(op->w.type, k), ldy = s->width[op->out];
	float sums[ROWS * PANELS * SHD_PANEL < 6 * SHD_PANEL ? 6 * SHD_PANEL : ROWS * PANELS * SHD_PANEL];
	FN(job) t = {.k = k, .ldx = s->width[op->in], .sums = sums};
	for (int p = from, wide; p < to; p += wide) {
		wide = m == 1 && p + 4 <= to ? 4 : m <= 3 && p + 2 <= to ? 2 : m > 3 && p + PANELS <= to ? PANELS : 1;
		for (int i = 0; i < tiles; i++) {
			const int64_t r = row + (int64_t)m * i / tiles, rows = row + (int64_t)m * (i + 1) / tiles - r;
			t.x = s->buffer[op->in] + r * t.ldx;
			t.rounded = s->rounded + r * blocks * SHD_QUANT;
			t.scale = s->scale + r * blocks;
			FN(tiles)[op->w.type][rows][wide](&t, (const char *)op->w.data + p * size);
			FN(put)(sums, rows, wide * SHD_PANEL, op->w.n - p * SHD_PANEL, op->a ? op->a + p * SHD_PANEL : NULL, s->buffer[op->out] + r * ldy + p * SHD_PANEL, ldy, op->add);
		}
	}
}

// Pieces are pairs of a block of rows and a group of panels.
static void FN(product)(const shd_step *s, const shd_op *op, int from, int to, int thread) {
	(void)thread;
	const int rows = op->wanted ? s->picks : s->rows, all = (op->w.n + SHD_PANEL - 1) / SHD_PANEL;
	const int group = op->group, groups = (all + group - 1) / group, blocks = shd_row_blocks(op, rows);
	for (int u = from; u < to; u++) {
		const int64_t b = u / groups;
		const int p = u % groups * group, end = p + group < all ? p + group : all;
		const int row = (int)(rows * b / blocks), until = (int)(rows * (b + 1) / blocks);
		FN(panels)(s, op, p, end, row, until);
	}
}
