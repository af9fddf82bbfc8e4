// Small matrix products on one thread, for the heads of an attention: too small for a BLAS, and A may be read by columns.

// C[m rows, v vectors] (+)= A·B with m and v known when compiled; `part` floats of the last vector count.
INL void product_tile(const int m, const int v, const int whole, long part, long k, const float *a, long ra, long ca,
                      const float *b, long ldb, float *c, long ldc, int add) {
	vf s[6][2];
	for (int i = 0; i < m; i++)
		for (int j = 0; j < v; j++)
			s[i][j] = (vf){0};
	for (long p = 0; p < k; p++) {
		vf x[2];
		for (int j = 0; j < v; j++)
			x[j] = whole ? load(b + j * VL) : load_n(b + j * VL, part);
		for (int i = 0; i < m; i++) {
			vf y = set1(a[i * ra]);
			for (int j = 0; j < v; j++)
				s[i][j] += y * x[j];
		}
		a += ca;
		b += ldb;
	}
	for (int i = 0; i < m; i++)
		for (int j = 0; j < v; j++) {
			float *to = c + i * ldc + j * VL;
			if (whole)
				store(to, add ? load(to) + s[i][j] : s[i][j]);
			else
				store_n(to, add ? load_n(to, part) + s[i][j] : s[i][j], part);
		}
}

// C[m, n] = A·B, or += with `add`: A[i][p] is a[i·ra + p·ca], B is [k, n].
FN void product(long m, long n, long k, const float *a, long ra, long ca, const float *b, long ldb, float *c, long ldc, int add) {
	for (long j = 0; j < n;) {
		long left = n - j;
		int v = left >= 2 * VL ? 2 : 1, whole = left >= VL;
		for (long i = 0; i < m; i += 6) {
			const float *ai = a + i * ra;
			float *ci = c + i * ldc + j;
			const int rows = (int)(m - i < 6 ? m - i : 6);
#define TILE(r)                                                                                        \
	case r:                                                                                            \
		if (v == 2)                                                                                    \
			product_tile(r, 2, 1, 0, k, ai, ra, ca, b + j, ldb, ci, ldc, add);                         \
		else if (whole)                                                                                \
			product_tile(r, 1, 1, 0, k, ai, ra, ca, b + j, ldb, ci, ldc, add);                         \
		else                                                                                           \
			product_tile(r, 1, 0, left, k, ai, ra, ca, b + j, ldb, ci, ldc, add);                      \
		break;
			switch (rows) {
				TILE(1)
				TILE(2)
				TILE(3)
				TILE(4)
				TILE(5)
				TILE(6)
			}
#undef TILE
		}
		j += v * VL;
	}
}
