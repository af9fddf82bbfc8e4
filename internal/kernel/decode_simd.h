// The kernels of generation, written once for vectors of W floats and compiled once for each set of instructions:
// decode.c includes this file with FN, W, ROWS and PANELS set.
//
// Each output is one sum in one fixed order: a product over k from first to last, a norm over 16 lanes whatever W is.
// So a row's result does not depend on how many rows there are, on the place of the row among them, on threads, or on
// whether AVX2 or AVX-512 computes it.

#define LANES (SHD_PANEL / W)

typedef float FN(vf) __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t FN(vi) __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint32_t FN(vu) __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint16_t FN(vh) __attribute__((vector_size(2 * W), aligned(2), may_alias));
#define vf FN(vf)
#define vi FN(vi)
#define vu FN(vu)
#define vh FN(vh)
#define INLINE static inline __attribute__((always_inline))

INLINE vf FN(load)(const void *w, int64_t at, const int bf16) {
	if (!bf16) return *(const vf *)((const float *)w + at);
	const uint16_t *half = (const uint16_t *)w + at;
#if W == 16 && defined(__AVX512F__)
	return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)half)), 16);
#elif W == 8 && defined(__AVX2__)
	return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)half)), 16);
#else
	return (vf)(__builtin_convertvector(*(const vh *)half, vu) << 16);
#endif
}

// e to the power x, for x from -87 to 88 (clamped), within 2 units in the last place: Cephes' polynomial.
INLINE vf FN(exp)(vf x) {
	const vf low = (vf){} - 87.0f, high = (vf){} + 88.0f;
	const vi under = x < low, over = x > high;
	x = (vf)(((vi)low & under) | ((vi)x & ~under));
	x = (vf)(((vi)high & over) | ((vi)x & ~over));
	vf t = x * 1.44269504088896341f + 12582912.0f; // the integer part ends up in the low bits
	vf n = t - 12582912.0f;
	x = x - n * 0.693359375f;
	x = x + n * 2.12194440e-4f;
	vf p = (vf){} + 1.9875691500e-4f;
	p = p * x + 1.3981999507e-3f;
	p = p * x + 8.3334519073e-3f;
	p = p * x + 4.1665795894e-2f;
	p = p * x + 1.6666665459e-1f;
	p = p * x + 5.0000001201e-1f;
	p = p * (x * x) + x + 1.0f;
	return (vf)((vi)p + ((vi)t << 23));
}

// One tile: MR rows of x times P panels of w. Partial panels and sums onto y go by way of a buffer.
INLINE void FN(tile)(const int MR, const int P, int k, int n, const float *x, int64_t ldx, const void *w, const int bf16, float *y, int64_t ldy, int add) {
	vf acc[8][16]; // only [MR][P * LANES] of it is used, all in registers: a size that is not literal would end up in memory
#pragma GCC unroll 16
	for (int r = 0; r < MR; r++)
#pragma GCC unroll 16
		for (int j = 0; j < P * LANES; j++) acc[r][j] = (vf){};
	for (int i = 0; i < k; i++) {
		vf b[16];
#pragma GCC unroll 16
		for (int p = 0; p < P; p++)
#pragma GCC unroll 16
			for (int j = 0; j < LANES; j++) b[p * LANES + j] = FN(load)(w, ((int64_t)p * k + i) * SHD_PANEL + j * W, bf16);
#pragma GCC unroll 16
		for (int r = 0; r < MR; r++) {
			const float a = x[r * ldx + i];
#pragma GCC unroll 16
			for (int j = 0; j < P * LANES; j++) acc[r][j] += a * b[j];
		}
	}
	if (n >= P * SHD_PANEL) {
#pragma GCC unroll 16
		for (int r = 0; r < MR; r++)
#pragma GCC unroll 16
			for (int j = 0; j < P * LANES; j++) {
				vf *to = (vf *)(y + r * ldy + j * W);
				if (add) *to += acc[r][j];
				else *to = acc[r][j];
			}
		return;
	}
#pragma GCC unroll 16
	for (int r = 0; r < MR; r++) {
		float out[4 * SHD_PANEL];
#pragma GCC unroll 16
		for (int j = 0; j < P * LANES; j++) *(vf *)(out + j * W) = acc[r][j];
		for (int j = 0; j < n; j++) y[r * ldy + j] = add ? y[r * ldy + j] + out[j] : out[j];
	}
}

// Fewer rows take more panels at once, so that there are always enough sums under way to keep the processor busy.
INLINE void FN(panels)(int from, int to, int m, int k, int n, const float *x, int64_t ldx, const void *w, const int bf16, float *y, int64_t ldy, int add) {
	const int64_t size = (int64_t)k * SHD_PANEL * (bf16 ? 2 : 4);
#define TILE(MR, P) FN(tile)(MR, P, k, n - p * SHD_PANEL, x + r * ldx, ldx, (const char *)w + p * size, bf16, y + r * ldy + p * SHD_PANEL, ldy, add)
#define REST(P)                                \
	for (; r + 4 <= m; r += 4) TILE(4, P); \
	if (m - r == 3) TILE(3, P);            \
	else if (m - r == 2) TILE(2, P);       \
	else if (m - r == 1) TILE(1, P)
	for (int p = from; p < to;) {
		int r = 0;
		if (m == 1 && p + 4 <= to) {
			TILE(1, 4);
			p += 4;
		} else if (m <= 3 && p + 2 <= to) {
			REST(2);
			p += 2;
		} else if (p + PANELS <= to) {
			for (; r + ROWS <= m; r += ROWS) TILE(ROWS, PANELS);
			REST(PANELS);
			p += PANELS;
		} else {
			REST(1);
			p++;
		}
	}
#undef REST
#undef TILE
}

static void FN(gemm)(int from, int to, int m, int k, int n, const float *x, int64_t ldx, const void *w, int bf16, float *y, int64_t ldy, int add) {
	if (bf16) FN(panels)(from, to, m, k, n, x, ldx, w, 1, y, ldy, add);
	else FN(panels)(from, to, m, k, n, x, ldx, w, 0, y, ldy, add);
}

// The sum of 16 lanes, in one order for every W.
INLINE float FN(total)(const vf *acc) {
	float s[SHD_PANEL];
	for (int j = 0; j < LANES; j++) *(vf *)(s + j * W) = acc[j];
	for (int step = SHD_PANEL / 2; step > 0; step /= 2)
		for (int j = 0; j < step; j++) s[j] += s[j + step];
	return s[0];
}

static void FN(norm)(int from, int to, int n, float eps, const float *x, int64_t ldx, const float *w, float *y, int64_t ldy) {
	for (int r = from; r < to; r++) {
		const float *a = x + r * ldx;
		float *b = y + r * ldy;
		vf acc[LANES];
		for (int j = 0; j < LANES; j++) acc[j] = (vf){};
		int i = 0;
		for (; i + SHD_PANEL <= n; i += SHD_PANEL)
			for (int j = 0; j < LANES; j++) {
				vf v = *(const vf *)(a + i + j * W);
				acc[j] += v * v;
			}
		float sum = FN(total)(acc);
		for (; i < n; i++) sum += a[i] * a[i];
		const float scale = 1.0f / sqrtf(sum / n + eps);
		for (i = 0; i < n; i++) b[i] = w[i] * (a[i] * scale);
	}
}

INLINE float *FN(block)(const shd_cache *c, int row, int position) {
	return (float *)c->blocks[c->table[row] + position / SHD_PANEL] + c->layer;
}

// The rows of V are padded with zeros to whole vectors.
INLINE int FN(padded)(const shd_cache *c) { return (c->head_dim + SHD_PANEL - 1) / SHD_PANEL * SHD_PANEL; }

static void FN(rope)(int from, int to, const shd_cache *c, float *qkv, int64_t ldq, const float *cosines, const float *sines) {
	const int hd = c->head_dim, half = hd / 2;
	for (int r = from; r < to; r++) {
		const int position = c->position[r];
		float *x = qkv + r * ldq;
		const float *cs = cosines + (int64_t)position * half, *sn = sines + (int64_t)position * half;
		for (int h = 0; h < c->heads + c->kv_heads; h++) {
			float *a = x + h * hd, *b = a + half;
			for (int i = 0; i < half; i++) {
				const float u = a[i], v = b[i];
				a[i] = u * cs[i] - v * sn[i];
				b[i] = v * cs[i] + u * sn[i];
			}
		}
		const int lane = position % SHD_PANEL, pad = FN(padded)(c);
		float *keys = FN(block)(c, r, position), *values = keys + (int64_t)c->kv_heads * hd * SHD_PANEL;
		const float *k = x + c->heads * hd, *v = k + c->kv_heads * hd;
		for (int i = 0; i < c->kv_heads * hd; i++) keys[(int64_t)i * SHD_PANEL + lane] = k[i];
		for (int h = 0; h < c->kv_heads; h++)
			for (int i = 0; i < hd; i++) values[((int64_t)h * SHD_PANEL + lane) * pad + i] = v[h * hd + i];
	}
}

// scores of N blocks of 16 positions, from block b of the row's table on
INLINE void FN(scores)(const int N, const shd_cache *c, int row, int b, int kv, const float *q, float scale, float *s) {
	const int hd = c->head_dim;
	const float *keys[4];
	vf acc[4][LANES];
#pragma GCC unroll 8
	for (int i = 0; i < N; i++) {
		keys[i] = FN(block)(c, row, (b + i) * SHD_PANEL) + (int64_t)kv * hd * SHD_PANEL;
#pragma GCC unroll 8
		for (int j = 0; j < LANES; j++) acc[i][j] = (vf){};
	}
	for (int d = 0; d < hd; d++)
#pragma GCC unroll 8
		for (int i = 0; i < N; i++)
#pragma GCC unroll 8
			for (int j = 0; j < LANES; j++) acc[i][j] += q[d] * *(const vf *)(keys[i] + (int64_t)d * SHD_PANEL + j * W);
#pragma GCC unroll 8
	for (int i = 0; i < N; i++)
#pragma GCC unroll 8
		for (int j = 0; j < LANES; j++) *(vf *)(s + (b + i) * SHD_PANEL + j * W) = acc[i][j] * scale;
}

// Weighted sum of N vectors of each row of V.
INLINE void FN(mix)(const int N, const shd_cache *c, int row, int count, int64_t at, const float *p, float *y, int n) {
	const int pad = FN(padded)(c);
	vf acc[4];
#pragma GCC unroll 8
	for (int j = 0; j < N; j++) acc[j] = (vf){};
	for (int t = 0; t < count; t += SHD_PANEL) {
		const float *v = FN(block)(c, row, t) + at;
		const int end = count - t < SHD_PANEL ? count - t : SHD_PANEL;
		for (int i = 0; i < end; i++)
#pragma GCC unroll 8
			for (int j = 0; j < N; j++) acc[j] += p[t + i] * *(const vf *)(v + (int64_t)i * pad + j * W);
	}
	float out[4 * W];
#pragma GCC unroll 8
	for (int j = 0; j < N; j++) *(vf *)(out + j * W) = acc[j];
	memcpy(y, out, sizeof(float) * (n < N * W ? n : N * W));
}

static float FN(exps)(int n, const float *x, float scale, float *y) {
	float top = -INFINITY;
	for (int i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
	vf acc[LANES];
	for (int j = 0; j < LANES; j++) acc[j] = (vf){};
	int i = 0;
	for (; i + SHD_PANEL <= n; i += SHD_PANEL)
		for (int j = 0; j < LANES; j++) {
			vf e = FN(exp)((*(const vf *)(x + i + j * W) - top) * scale);
			*(vf *)(y + i + j * W) = e;
			acc[j] += e;
		}
	float rest[SHD_PANEL] = {0};
	if (i < n) {
		for (int j = 0; i + j < n; j++) rest[j] = (x[i + j] - top) * scale;
		for (int j = 0; j < LANES; j++) *(vf *)(rest + j * W) = FN(exp)(*(vf *)(rest + j * W));
		for (int j = 0; j < SHD_PANEL; j++)
			if (i + j < n) y[i + j] = rest[j];
			else rest[j] = 0;
		for (int j = 0; j < LANES; j++) acc[j] += *(vf *)(rest + j * W);
	}
	return FN(total)(acc);
}

// Units are pairs of a row and a head of keys and values. Returns -1 when there is no memory for the scores.
static int FN(attend)(int from, int to, const shd_cache *c, const float *qkv, int64_t ldq, float *y, int64_t ldy) {
	const int hd = c->head_dim, group = c->heads / c->kv_heads, pad = FN(padded)(c);
	const float scale = 1.0f / sqrtf((float)hd);
	int most = 0;
	for (int u = from; u < to; u++)
		if (c->position[u / c->kv_heads] > most) most = c->position[u / c->kv_heads];
	float *s = malloc(sizeof(float) * (most / SHD_PANEL + 1) * SHD_PANEL);
	if (!s) return -1;
	for (int u = from; u < to; u++) {
		const int row = u / c->kv_heads, kv = u % c->kv_heads, count = c->position[row] + 1;
		const int blocks = (count + SHD_PANEL - 1) / SHD_PANEL;
		for (int h = kv * group; h < (kv + 1) * group; h++) {
			const float *q = qkv + row * ldq + h * hd;
			int b = 0;
			for (; b + 4 <= blocks; b += 4) FN(scores)(4, c, row, b, kv, q, scale, s);
			for (; b < blocks; b++) FN(scores)(1, c, row, b, kv, q, scale, s);
			const float inverse = 1.0f / FN(exps)(count, s, 1.0f, s);
			for (int t = 0; t < count; t++) s[t] *= inverse;
			const int64_t values = (int64_t)c->kv_heads * hd * SHD_PANEL + (int64_t)kv * SHD_PANEL * pad;
			float *out = y + row * ldy + h * hd;
			int d = 0;
			for (; d + 4 * W <= pad; d += 4 * W) FN(mix)(4, c, row, count, values + d, s, out + d, hd - d);
			for (; d < pad; d += W)
				if (d < hd) FN(mix)(1, c, row, count, values + d, s, out + d, hd - d);
		}
	}
	free(s);
	return 0;
}

static void FN(swiglu)(int from, int to, int n, const float *x, int64_t ldx, float *y, int64_t ldy) {
	for (int r = from; r < to; r++) {
		const float *gate = x + r * ldx, *up = gate + n;
		float *out = y + r * ldy;
		int i = 0;
		for (; i + W <= n; i += W) {
			vf g = *(const vf *)(gate + i);
			*(vf *)(out + i) = g / (1.0f + FN(exp)(-g)) * *(const vf *)(up + i);
		}
		if (i < n) {
			float g[W] = {0};
			memcpy(g, gate + i, sizeof(float) * (n - i));
			vf v = *(vf *)g;
			*(vf *)g = v / (1.0f + FN(exp)(-v));
			for (int j = 0; i + j < n; j++) out[i + j] = g[j] * up[i + j];
		}
	}
}

static const shd_kernels FN(kernels) = {FN(gemm), FN(norm), FN(rope), FN(attend), FN(swiglu), FN(exps)};

#undef vf
#undef vi
#undef vu
#undef vh
#undef INLINE
#undef LANES
#undef FN
#undef W
#undef ROWS
#undef PANELS
