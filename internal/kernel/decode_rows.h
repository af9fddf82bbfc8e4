// What is done to single rows of a step. Included by decode_simd.h.

// Writes n floats as int16 with a scale for each 32 of them, the last ones filled up with zeros.
INLINE void FN(quantise)(const float *x, int n, int16_t *q, float *scale) {
	for (int b = 0; b * SHD_QUANT < n; b++, q += SHD_QUANT) {
		float v[SHD_QUANT] = {0};
		const float *a = x + b * SHD_QUANT;
		if (n - b * SHD_QUANT < SHD_QUANT) {
			memcpy(v, a, sizeof(float) * (n - b * SHD_QUANT));
			a = v;
		}
		vf most = {0}, broken = {0};
		for (int j = 0; j < SHD_QUANT; j += W) {
			const vf u = *(const vf *)(a + j);
			most = FN(larger)(FN(larger)(u, -u), most);
			broken += u - u; // not a number unless all are finite
		}
		const float top = FN(largest)(most);
		float lost = 0;
		for (int j = 0; j < W; j++) lost += broken[j];
		scale[b] = lost == 0 ? top * (1.0f / 32767.0f) : lost;
		const float inverse = top > 1e-30f && lost == 0 ? 32767.0f / top : 0;
		for (int j = 0; j < SHD_QUANT; j += W) {
			const vi r = (vi)(*(const vf *)(a + j) * inverse + 12582912.0f) - 0x4b400000; // to the nearest
			*(vs *)(q + j) = __builtin_convertvector(lost == 0 ? r : (vi){}, vs);
		}
	}
}

// Where the results of an operation go: its buffer, or a row of v that is rounded afterwards.
INLINE void FN(round_row)(const shd_step *s, const shd_op *op, int row, const float *x, int n) {
	const int64_t blocks = (n + SHD_QUANT - 1) / SHD_QUANT;
	(void)op;
	FN(quantise)(x, n, s->rounded + row * blocks * SHD_QUANT, s->scale + row * blocks);
}

static void FN(round)(const shd_step *s, const shd_op *op, int from, int to, int thread) {
	(void)thread;
	for (int r = from; r < to; r++) FN(round_row)(s, op, r, s->buffer[op->in] + (int64_t)r * s->width[op->in], s->width[op->in]);
}

// Row i of a packed matrix.
INLINE void FN(unpack)(const shd_matrix *w, int i, float *y) {
	const int lane = i % SHD_PANEL, k = w->k, blocks = (k + SHD_QUANT - 1) / SHD_QUANT;
	const int64_t p = i / SHD_PANEL;
	if (w->type == SHD_F32) {
		const float *from = (const float *)w->data + p * k * SHD_PANEL + lane;
		for (int j = 0; j < k; j++) y[j] = from[(int64_t)j * SHD_PANEL];
	} else if (w->type == SHD_BF16) {
		const uint16_t *from = (const uint16_t *)w->data + p * ((k + 1) / 2) * SHD_PANEL * 2 + lane * 2;
		for (int j = 0; j < k; j++) {
			const uint32_t bits = (uint32_t)from[(int64_t)(j / 2) * SHD_PANEL * 2 + j % 2] << 16;
			memcpy(y + j, &bits, 4);
		}
	} else {
		for (int b = 0; b < blocks; b++) {
			const int8_t *from = (const int8_t *)w->data + (p * blocks + b) * SHD_BYTES;
			float d[SHD_PANEL];
			for (int j = 0; j < LANES; j++) *(vf *)(d + j * W) = FN(half)((const uint16_t *)(from + SHD_PANEL * SHD_QUANT) + j * W);
			for (int j = 0; j < SHD_QUANT && b * SHD_QUANT + j < k; j++)
				y[b * SHD_QUANT + j] = d[lane] * from[j / 2 * SHD_PANEL * 2 + lane * 2 + j % 2];
		}
	}
}

static void FN(embed)(const shd_step *s, const shd_op *op, int from, int to, int thread) {
	(void)thread;
	for (int r = from; r < to; r++) FN(unpack)(&op->w, s->tokens[r], s->buffer[op->out] + (int64_t)r * s->width[op->out]);
}

INLINE void FN(norm_row)(int n, float eps, const float *x, const float *w, float *y) {
	vf acc[LANES];
	for (int j = 0; j < LANES; j++) acc[j] = (vf){};
	int i = 0;
	for (; i + SHD_PANEL <= n; i += SHD_PANEL)
		for (int j = 0; j < LANES; j++) {
			vf v = *(const vf *)(x + i + j * W);
			acc[j] += v * v;
		}
	float sum = FN(total)(acc);
	for (; i < n; i++) sum += x[i] * x[i];
	const float scale = 1.0f / sqrtf(sum / n + eps);
	for (i = 0; i < n; i++) y[i] = w[i] * (x[i] * scale);
}

static void FN(norm)(const shd_step *s, const shd_op *op, int from, int to, int thread) {
	(void)thread;
	const int n = s->width[op->in];
	for (int r = from; r < to; r++) {
		float *y = s->buffer[op->out] + (int64_t)r * n;
		FN(norm_row)(n, op->eps, s->buffer[op->in] + (int64_t)(op->wanted ? s->pick[r] : r) * n, op->a, y);
		if (op->round) FN(round_row)(s, op, r, y, n);
	}
}

INLINE float *FN(block)(const shd_step *s, int layer, int row, int position) {
	const int64_t pad = (s->head_dim + SHD_PANEL - 1) / SHD_PANEL * SHD_PANEL; // the rows of V are padded with zeros to whole vectors
	return (float *)s->blocks[s->table[row] + position / SHD_PANEL] + layer * s->kv_heads * SHD_PANEL * (s->head_dim + pad);
}

// Norms the queries and keys where the model does so, turns them by their positions, and stores keys and values.
static void FN(rope)(const shd_step *s, const shd_op *op, int from, int to, int thread) {
	(void)thread;
	const int hd = s->head_dim, half = hd / 2, pad = (hd + SHD_PANEL - 1) / SHD_PANEL * SHD_PANEL;
	for (int r = from; r < to; r++) {
		const int position = s->position[r];
		float *x = s->buffer[op->in] + (int64_t)r * s->width[op->in];
		const float *cs = s->cosines + (int64_t)position * half, *sn = s->sines + (int64_t)position * half;
		for (int h = 0; h < s->heads + s->kv_heads; h++) {
			float *a = x + h * hd, *b = a + half;
			const float *w = h < s->heads ? op->a : op->b;
			if (w) FN(norm_row)(hd, op->eps, a, w, a);
			for (int i = 0; i < half; i++) {
				const float u = a[i], v = b[i];
				a[i] = u * cs[i] - v * sn[i];
				b[i] = v * cs[i] + u * sn[i];
			}
		}
		const int lane = position % SHD_PANEL;
		float *keys = FN(block)(s, op->layer, r, position), *values = keys + (int64_t)s->kv_heads * hd * SHD_PANEL;
		const float *k = x + s->heads * hd, *v = k + s->kv_heads * hd;
		for (int i = 0; i < s->kv_heads * hd; i++) keys[(int64_t)i * SHD_PANEL + lane] = k[i];
		for (int h = 0; h < s->kv_heads; h++) memcpy(values + ((int64_t)h * SHD_PANEL + lane) * pad, v + h * hd, sizeof(float) * hd);
	}
}

// silu(gate)·up of rows of 2n floats, the gate's n first.
static void FN(gate)(const shd_step *s, const shd_op *op, int from, int to, int thread) {
	(void)thread;
	const int n = s->width[op->out];
	for (int r = from; r < to; r++) {
		const float *gate = s->buffer[op->in] + (int64_t)r * 2 * n, *up = gate + n;
		float *out = s->buffer[op->out] + (int64_t)r * n;
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
		if (op->round) FN(round_row)(s, op, r, out, n);
	}
}

// The place of the largest, the first of several; -1 when any is not a number or the largest is not finite.
static int FN(top)(int n, const float *x) {
	vf most = (vf){} - INFINITY, lost = {0};
	int i = 0;
	for (; i + W <= n; i += W) {
		const vf v = *(const vf *)(x + i);
		lost += (vf)((vi)(v != v) & 0x3f800000);
		most = FN(larger)(v, most);
	}
	float top = FN(largest)(most), bad = 0;
	for (int j = 0; j < W; j++) bad += lost[j];
	for (; i < n; i++) {
		bad += x[i] != x[i];
		top = x[i] > top ? x[i] : top;
	}
	if (bad != 0 || !(top - top == 0)) return -1;
	for (i = 0; i + W <= n; i += W) {
		const vi m = *(const vf *)(x + i) == top;
		int any = 0;
		for (int j = 0; j < W; j++) any |= m[j];
		if (any) break;
	}
	while (x[i] != top) i++;
	return i;
}

// y = exp((x − max x)·scale); returns the sum of y.
static float FN(exps)(int n, const float *x, float scale, float *y) {
	vf most = (vf){} - INFINITY;
	int i = 0;
	for (; i + W <= n; i += W) most = FN(larger)(*(const vf *)(x + i), most);
	float top = FN(largest)(most);
	for (; i < n; i++) top = x[i] > top ? x[i] : top;
	vf acc[LANES];
	for (int j = 0; j < LANES; j++) acc[j] = (vf){};
	for (i = 0; i + SHD_PANEL <= n; i += SHD_PANEL)
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

// The cross-entropy of each wanted row's label. The sum of exponentials is one of doubles over pieces of 1,024 logits, so
// that it is as exact as a vocabulary asks for.
static void FN(loss)(const shd_step *s, const shd_op *op, int from, int to, int thread) {
	(void)thread;
	const int n = s->width[op->in];
	for (int r = from; r < to; r++) {
		const float *x = s->buffer[op->in] + (int64_t)r * n;
		const int top = FN(top)(n, x);
		if (top < 0) {
			s->loss[r] = NAN;
			continue;
		}
		double sum = 0;
		for (int i = 0; i < n; i += 1024) {
			vf acc[LANES];
			for (int j = 0; j < LANES; j++) acc[j] = (vf){};
			int j = i;
			const int end = i + 1024 < n ? i + 1024 : n;
			for (; j + SHD_PANEL <= end; j += SHD_PANEL)
				for (int l = 0; l < LANES; l++) acc[l] += FN(exp)(*(const vf *)(x + j + l * W) - x[top]);
			sum += FN(total)(acc);
			for (; j < end; j++) {
				const vf e = FN(exp)((vf){} + (x[j] - x[top]));
				sum += e[0];
			}
		}
		s->loss[r] = (double)x[top] + log(sum) - (double)x[s->label[r]];
	}
}

// What a plain reading of memory gives, for measuring.
static uint64_t FN(read)(const void *from, size_t bytes) {
	vi acc[8] = {{0}};
	const int8_t *p = from;
	for (size_t i = 0; i + 8 * 4 * W <= bytes; i += 8 * 4 * W)
		for (int j = 0; j < 8; j++) acc[j] ^= *(const vi *)(p + i + (size_t)j * 4 * W);
	uint64_t sum = 0;
	for (int j = 0; j < 8; j++)
		for (int l = 0; l < W; l++) sum ^= (uint32_t)acc[j][l];
	return sum;
}
