// AdamW, norms and scaling.

// torch's AdamW, with gain1 = 1 − β1, keep2 = β2, gain2 = 1 − β2: p = p·decay; m = m + (1 − β1)(g − m); v = β2·v + (1 − β2)·g²; p = p − step · m / (√v / root + eps).
FN void adamw(float *p, const float *g, float *m, float *v, long n, float grad_scale, float decay, float gain1,
              float keep2, float gain2, float step, float root, float eps) {
	for (long i = 0; i < n; i += VL) {
		long k = n - i;
		vf d = load_n(g + i, k) * grad_scale;
		vf a = load_n(m + i, k);
		a += (d - a) * gain1;
		vf b = load_n(v + i, k) * keep2 + d * d * gain2;
		store_n(m + i, a, k);
		store_n(v + i, b, k);
		store_n(p + i, load_n(p + i, k) * decay - a * step / (sqrt_v(b) / root + eps), k);
	}
}

FN double squared_norm(const float *x, long n) {
	double total = 0;
	for (long i = 0; i < n; i += 64 * VL) {
		long end = n - i < 64 * VL ? n : i + 64 * VL;
		double s[VL] = {0};
		for (long j = i; j < end; j += VL) {
			vf a = load_n(x + j, end - j);
			for (int k = 0; k < VL; k++)
				s[k] += (double)a[k] * a[k];
		}
		for (int k = 0; k < VL; k++)
			total += s[k];
	}
	return total;
}

FN void scale_by(float *x, float by, long n) {
	for (long i = 0; i < n; i += VL)
		store_n(x + i, load_n(x + i, n - i) * by, n - i);
}
