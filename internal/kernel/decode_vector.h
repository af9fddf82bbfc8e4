// Vectors of W floats and what all kernels of generation do with them. Included by decode_simd.h.

#define LANES (SHD_PANEL / W)

typedef float FN(vf) __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t FN(vi) __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint32_t FN(vu) __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint16_t FN(vh) __attribute__((vector_size(2 * W), aligned(2), may_alias));
typedef int16_t FN(vs) __attribute__((vector_size(2 * W), aligned(2), may_alias));
typedef int16_t FN(vp) __attribute__((vector_size(4 * W), aligned(2), may_alias));
typedef int8_t FN(vb) __attribute__((vector_size(2 * W), aligned(1), may_alias));
#define vf FN(vf)
#define vi FN(vi)
#define vu FN(vu)
#define vh FN(vh)
#define vs FN(vs)
#define vp FN(vp)
#define vb FN(vb)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

// W pairs of int8 as pairs of int16, one pair in each lane.
INLINE vi FN(widen)(const int8_t *from) {
#if W == 16 && defined(__AVX512BW__)
	return (vi)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)from));
#elif W == 8 && defined(__AVX2__)
	return (vi)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)from));
#elif W == 4 && defined(__SSE2__)
	const __m128i v = _mm_loadl_epi64((const __m128i *)from);
	return (vi)_mm_srai_epi16(_mm_unpacklo_epi8(v, v), 8);
#else
	return (vi)__builtin_convertvector(*(const vb *)from, vp);
#endif
}

// sum + the sum of the products of two pairs, in each lane.
INLINE vi FN(pairs)(vi sum, vi a, int32_t b) {
#if W == 16 && defined(__AVX512BW__)
	return (vi)_mm512_add_epi32((__m512i)sum, _mm512_madd_epi16((__m512i)a, _mm512_set1_epi32(b)));
#elif W == 8 && defined(__AVX2__)
	return (vi)_mm256_add_epi32((__m256i)sum, _mm256_madd_epi16((__m256i)a, _mm256_set1_epi32(b)));
#elif W == 4 && defined(__SSE2__)
	return (vi)_mm_add_epi32((__m128i)sum, _mm_madd_epi16((__m128i)a, _mm_set1_epi32(b)));
#else
	const vi low = (a << 16) >> 16, high = a >> 16;
	return sum + low * (int32_t)(int16_t)(b & 0xffff) + high * (b >> 16);
#endif
}

// W scales, which are not negative.
INLINE vf FN(half)(const uint16_t *from) {
#if W == 16 && defined(__AVX512F__)
	return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif W == 8 && defined(__F16C__)
	return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#else
	const vu h = __builtin_convertvector(*(const vh *)from, vu);
	const vi broken = (vi)(h >= 0x7c00); // infinite or not a number
	return (vf)((vi)((vf)(h << 13) * 0x1p112f) | (broken & 0x7f800000));
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

// The sum of 16 lanes, in one order for every W.
INLINE float FN(total)(const vf *acc) {
	float s[SHD_PANEL];
	for (int j = 0; j < LANES; j++) *(vf *)(s + j * W) = acc[j];
	for (int step = SHD_PANEL / 2; step > 0; step /= 2)
		for (int j = 0; j < step; j++) s[j] += s[j + step];
	return s[0];
}

INLINE vf FN(larger)(vf a, vf b) {
	const vi m = a > b;
	return (vf)((m & (vi)a) | (~m & (vi)b));
}

INLINE float FN(largest)(vf v) {
	float most = v[0];
	for (int i = 1; i < W; i++) most = v[i] > most ? v[i] : most;
	return most;
}
