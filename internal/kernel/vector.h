// Vectors of VL floats by the compiler's vector extension: loads, sums, and the exponential function.
#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define FN TARGET static
#define INL TARGET static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef float vfu __attribute__((vector_size(VL * 4), aligned(4), may_alias));

INL vf set1(float s) { return s - (vf){0}; }
INL vf load(const float *p) { return *(const vfu *)p; }
INL void store(float *p, vf x) { *(vfu *)p = x; }

// The n floats at p, and zeros.
INL vf load_n(const float *p, long n) {
	if (n >= VL)
		return load(p);
	vf x = {0};
	memcpy(&x, p, (size_t)n * 4);
	return x;
}

INL void store_n(float *p, vf x, long n) {
	if (n >= VL)
		store(p, x);
	else
		memcpy(p, &x, (size_t)n * 4);
}

INL vf select_v(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
INL vf max_v(vf a, vf b) { return select_v(a > b, a, b); }

INL vf sqrt_v(vf x) {
#if VL == 16
	return (vf)_mm512_sqrt_ps((__m512)x);
#elif VL == 8
	return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
	return (vf)_mm_sqrt_ps((__m128)x);
#else
	for (int i = 0; i < VL; i++)
		x[i] = sqrtf(x[i]);
	return x;
#endif
}

INL float sum_v(vf x) {
	float s[VL];
	memcpy(s, &x, sizeof s);
	for (int w = VL / 2; w > 0; w /= 2)
		for (int i = 0; i < w; i++)
			s[i] += s[i + w];
	return s[0];
}

INL float max_of(vf x) {
	float m = x[0];
	for (int i = 1; i < VL; i++)
		m = x[i] > m ? x[i] : m;
	return m;
}

// exp(x) to 1.2e-7 relative: x = n·ln 2 + r with |r| <= ln 2 / 2, and the polynomial of Cephes' expf for exp(r). Below
// -87.3 it is exp(-87.3) = 1.2e-38, above 88.3 it is exp(88.3); NaN becomes one of these, so callers keep NaN apart.
INL vf exp_v(vf x) {
	const vf low = set1(-87.3f), high = set1(88.3f), shift = set1(12582912.0f);
	x = select_v(x > low, x, low);
	x = select_v(x < high, x, high);
	vf t = x * 1.44269504088896341f + shift;
	vf n = t - shift;
	vf r = x - n * 0.693359375f;
	r = r + n * 2.12194440e-4f;
	vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	p = p * (r * r) + r + 1.0f;
	vi e = ((vi)t - (vi)shift) << 23;
	return (vf)((vi)p + e);
}

FN void exp_all(const float *x, float *y, long n) {
	for (long i = 0; i < n; i += VL)
		store_n(y + i, exp_v(load_n(x + i, n - i)), n - i);
}
