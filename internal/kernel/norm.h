// RMSNorm: y = x · rstd · w, rstd = 1 / sqrt(mean(x²) + eps).

FN void rmsnorm(const float *x, const float *w, float eps, float *y, float *rstd, long rows, long n, long ldx, long ldy) {
	for (long t = 0; t < rows; t++, x += ldx, y += ldy) {
		vf s0 = {0}, s1 = {0};
		long i = 0;
		for (; i + 2 * VL <= n; i += 2 * VL) {
			vf a = load(x + i), b = load(x + i + VL);
			s0 += a * a;
			s1 += b * b;
		}
		for (; i < n; i += VL) {
			vf a = load_n(x + i, n - i);
			s0 += a * a;
		}
		float r = 1.0f / sqrtf(sum_v(s0 + s1) / (float)n + eps);
		if (rstd)
			rstd[t] = r;
		for (i = 0; i < n; i += VL)
			store_n(y + i, load_n(x + i, n - i) * r * load_n(w + i, n - i), n - i);
	}
}

// dx = skip + rstd · (w·dy − x · rstd² · mean(w·dy·x)); skip and dx are [rows, ldx] as x is, and may be the same.
FN void rmsnorm_dx(const float *x, const float *w, const float *rstd, const float *dy, const float *skip, float *dx,
                   long rows, long n, long ldx, long lddy) {
	for (long t = 0; t < rows; t++, x += ldx, dx += ldx, dy += lddy) {
		vf s0 = {0}, s1 = {0};
		long i = 0;
		for (; i + 2 * VL <= n; i += 2 * VL) {
			s0 += load(x + i) * load(w + i) * load(dy + i);
			s1 += load(x + i + VL) * load(w + i + VL) * load(dy + i + VL);
		}
		for (; i < n; i += VL)
			s0 += load_n(x + i, n - i) * load_n(w + i, n - i) * load_n(dy + i, n - i);
		float r = rstd[t], c = sum_v(s0 + s1) / (float)n * r * r;
		for (i = 0; i < n; i += VL) {
			vf g = (load_n(w + i, n - i) * load_n(dy + i, n - i) - load_n(x + i, n - i) * c) * r;
			if (skip)
				g += load_n(skip + i, n - i);
			store_n(dx + i, g, n - i);
		}
		if (skip)
			skip += ldx;
	}
}

// dw += Σ over the rows of dy · x · rstd, for the columns from..to.
FN void rmsnorm_dw(const float *x, const float *rstd, const float *dy, float *dw, long rows, long ldx, long lddy, long from, long to) {
	for (long i = from; i < to; i += 4 * VL) {
		long n = to - i;
		vf s[4] = {{0}, {0}, {0}, {0}};
		for (long t = 0; t < rows; t++) {
			const float *a = x + t * ldx + i, *b = dy + t * lddy + i;
			if (n >= 4 * VL) {
				for (int k = 0; k < 4; k++)
					s[k] += load(a + k * VL) * rstd[t] * load(b + k * VL);
			} else {
				for (int k = 0; k < 4 && k * VL < n; k++)
					s[k] += load_n(a + k * VL, n - k * VL) * rstd[t] * load_n(b + k * VL, n - k * VL);
			}
		}
		for (int k = 0; k < 4 && k * VL < n; k++)
			store_n(dw + i + k * VL, load_n(dw + i + k * VL, n - k * VL) + s[k], n - k * VL);
	}
}
