// Attention over the cache. Included by decode_simd.h.
//
// A tile is up to 6 queries of one sequence that share a head of keys and values: the heads of a group at positions that
// follow each other. Each score and each output is one sum in one fixed order, whatever queries are in the tile.

// Scores of MR queries against N blocks of 16 positions.
INLINE void FN(scores)(const int MR, const int N, const shd_step *s, int layer, int row, int b, int kv, const float **q, float scale, float *to) {
	const int hd = s->head_dim;
	const float *keys[4];
	vf acc[SHD_QUERIES][16];
UNROLL
	for (int i = 0; i < N; i++) keys[i] = FN(block)(s, layer, row, (b + i) * SHD_PANEL) + (int64_t)kv * hd * SHD_PANEL;
UNROLL
	for (int r = 0; r < MR; r++)
UNROLL
		for (int j = 0; j < N * LANES; j++) acc[r][j] = (vf){};
	for (int d = 0; d < hd; d++) {
		vf k[16];
UNROLL
		for (int i = 0; i < N; i++)
UNROLL
			for (int j = 0; j < LANES; j++) k[i * LANES + j] = *(const vf *)(keys[i] + (int64_t)d * SHD_PANEL + j * W);
UNROLL
		for (int r = 0; r < MR; r++) {
			const float a = q[r][d];
UNROLL
			for (int j = 0; j < N * LANES; j++) acc[r][j] += a * k[j];
		}
	}
UNROLL
	for (int r = 0; r < MR; r++)
UNROLL
		for (int j = 0; j < N * LANES; j++) *(vf *)(to + r * s->pitch + b * SHD_PANEL + j * W) = acc[r][j] * scale;
}

// Sums of the values of count positions, N times 16 of their components from `at` on, weighted for MR queries.
INLINE void FN(mix)(const int MR, const int N, const shd_step *s, int layer, int row, int count, int kv, int at, const float *p, const float *by, float **y) {
	const int hd = s->head_dim, pad = (hd + SHD_PANEL - 1) / SHD_PANEL * SHD_PANEL, n = hd - at;
	const int64_t offset = (int64_t)s->kv_heads * hd * SHD_PANEL + (int64_t)kv * SHD_PANEL * pad + at;
	vf acc[SHD_QUERIES][16];
UNROLL
	for (int r = 0; r < MR; r++)
UNROLL
		for (int j = 0; j < N * LANES; j++) acc[r][j] = (vf){};
	for (int t = 0; t < count; t += SHD_PANEL) {
		const float *v = FN(block)(s, layer, row, t) + offset;
		const int end = count - t < SHD_PANEL ? count - t : SHD_PANEL;
		for (int i = 0; i < end; i++) {
			vf u[16];
UNROLL
			for (int j = 0; j < N * LANES; j++) u[j] = *(const vf *)(v + (int64_t)i * pad + j * W);
UNROLL
			for (int r = 0; r < MR; r++) {
				const float a = p[r * s->pitch + t + i];
UNROLL
				for (int j = 0; j < N * LANES; j++) acc[r][j] += a * u[j];
			}
		}
	}
UNROLL
	for (int r = 0; r < MR; r++) {
		float out[4 * SHD_PANEL];
UNROLL
		for (int j = 0; j < N * LANES; j++) *(vf *)(out + j * W) = acc[r][j] * by[r];
		memcpy(y[r] + at, out, sizeof(float) * (n < N * SHD_PANEL ? n : N * SHD_PANEL));
	}
}

// MR queries of the sequence of a row; counts are the positions that each of them sees, the last one's the most. N is how
// many blocks are looked at together.
INLINE void FN(attend_tile)(const int MR, const int N, const shd_step *s, int layer, int row, int kv, const float **q, const int *counts, float *p, float **y) {
	const float scale = 1.0f / sqrtf((float)s->head_dim);
	const int most = counts[MR - 1], blocks = (most + SHD_PANEL - 1) / SHD_PANEL, pad = (s->head_dim + SHD_PANEL - 1) / SHD_PANEL * SHD_PANEL;
	int b = 0;
	for (; b + N <= blocks; b += N) FN(scores)(MR, N, s, layer, row, b, kv, q, scale, p);
	for (; N > 1 && b < blocks; b++) FN(scores)(MR, 1, s, layer, row, b, kv, q, scale, p);
	float by[SHD_QUERIES];
	for (int r = 0; r < MR; r++) {
		float *mine = p + r * s->pitch;
		by[r] = 1.0f / FN(exps)(counts[r], mine, 1.0f, mine);
		memset(mine + counts[r], 0, sizeof(float) * (most - counts[r]));
	}
	int d = 0;
	for (; d + N * SHD_PANEL <= pad; d += N * SHD_PANEL) FN(mix)(MR, N, s, layer, row, most, kv, d, p, by, y);
	for (; N > 1 && d < pad; d += SHD_PANEL) FN(mix)(MR, 1, s, layer, row, most, kv, d, p, by, y);
}

// Pieces are pairs of a span and a head of keys and values.
static void FN(attend)(const shd_step *s, const shd_op *op, int from, int to, int thread) {
	const int hd = s->head_dim, group = s->heads / s->kv_heads;
	float *p = s->scores + (int64_t)thread * SHD_QUERIES * s->pitch;
	for (int u = from; u < to; u++) {
		const int first = s->first[u / s->kv_heads], all = s->count[u / s->kv_heads] * group, kv = u % s->kv_heads;
		const int tiles = (all + SHD_QUERIES - 1) / SHD_QUERIES;
		for (int t = 0; t < tiles; t++) {
			const int begin = all * t / tiles, n = all * (t + 1) / tiles - begin;
			const float *q[SHD_QUERIES];
			float *y[SHD_QUERIES];
			int counts[SHD_QUERIES];
			for (int i = 0; i < n; i++) {
				const int64_t row = first + (begin + i) / group;
				const int head = kv * group + (begin + i) % group;
				q[i] = s->buffer[op->in] + row * s->width[op->in] + head * hd;
				y[i] = s->buffer[op->out] + row * s->width[op->out] + head * hd;
				counts[i] = s->position[row] + 1;
			}
			switch (n) {
			case 1: FN(attend_tile)(1, 4, s, op->layer, first, kv, q, counts, p, y); break;
			case 2: FN(attend_tile)(2, 2, s, op->layer, first, kv, q, counts, p, y); break;
			case 3: FN(attend_tile)(3, 2, s, op->layer, first, kv, q, counts, p, y); break;
			case 4: FN(attend_tile)(4, 1, s, op->layer, first, kv, q, counts, p, y); break;
			case 5: FN(attend_tile)(5, 1, s, op->layer, first, kv, q, counts, p, y); break;
			default: FN(attend_tile)(6, 1, s, op->layer, first, kv, q, counts, p, y);
			}
		}
	}
}
