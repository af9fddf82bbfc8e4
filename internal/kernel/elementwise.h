// RoPE, SwiGLU, sums over rows, and the gradient of an embedding.

// Rotates the first `heads` heads of each row: (a, b) = (x[i], x[i + dim/2]) becomes (a·cos − b·sin, b·cos + a·sin), the
// convention of Hugging Face's rotate_half; sign −1 turns back. cos and sin are [positions, dim/2].
FN void rope(float *x, long ld, long heads, long dim, const float *cos, const float *sin, const int32_t *pos, float sign, long rows) {
	long half = dim / 2;
	for (long t = 0; t < rows; t++, x += ld) {
		const float *c = cos + pos[t] * half, *s = sin + pos[t] * half;
		for (long h = 0; h < heads; h++) {
			float *a = x + h * dim, *b = a + half;
			for (long i = 0; i < half; i += VL) {
				long n = half - i;
				vf u = load_n(a + i, n), v = load_n(b + i, n), p = load_n(c + i, n), q = load_n(s + i, n) * sign;
				store_n(a + i, u * p - v * q, n);
				store_n(b + i, v * p + u * q, n);
			}
		}
	}
}

// gu is [rows, 2n]: gate, then up. y = silu(gate) · up.
FN void swiglu(const float *gu, float *y, long rows, long n) {
	for (long t = 0; t < rows; t++, gu += 2 * n, y += n)
		for (long i = 0; i < n; i += VL) {
			vf g = load_n(gu + i, n - i), u = load_n(gu + n + i, n - i);
			store_n(y + i, g / (exp_v(-g) + 1.0f) * u, n - i);
		}
}

FN void swiglu_dx(const float *gu, const float *dy, float *dgu, long rows, long n) {
	for (long t = 0; t < rows; t++, gu += 2 * n, dgu += 2 * n, dy += n)
		for (long i = 0; i < n; i += VL) {
			vf g = load_n(gu + i, n - i), u = load_n(gu + n + i, n - i), d = load_n(dy + i, n - i);
			vf s = 1.0f / (exp_v(-g) + 1.0f);
			vf silu = g * s;
			store_n(dgu + i, d * u * (s + silu * (1.0f - s)), n - i);
			store_n(dgu + n + i, d * silu, n - i);
		}
}

FN void add_rows(float *y, const float *b, long rows, long n, long ld) {
	for (long t = 0; t < rows; t++, y += ld)
		for (long i = 0; i < n; i += VL)
			store_n(y + i, load_n(y + i, n - i) + load_n(b + i, n - i), n - i);
}

// db += Σ over the rows of dy, for the columns from..to.
FN void sum_rows(const float *dy, float *db, long rows, long ld, long from, long to) {
	for (long i = from; i < to; i += VL) {
		vf s = load_n(db + i, to - i);
		for (long t = 0; t < rows; t++)
			s += load_n(dy + t * ld + i, to - i);
		store_n(db + i, s, to - i);
	}
}

// to[index[t]] += dx[t] for every row t, for the columns from..until of n.
FN void scatter_add(const float *dx, const int32_t *index, float *to, long rows, long n, long from, long until) {
	for (long t = 0; t < rows; t++) {
		const float *a = dx + t * n;
		float *b = to + (long)index[t] * n;
		for (long i = from; i < until; i += VL)
			store_n(b + i, load_n(b + i, until - i) + load_n(a + i, until - i), until - i);
	}
}
