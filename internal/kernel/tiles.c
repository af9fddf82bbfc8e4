// Products of fp32 matrices on AMX, which multiplies tiles of bf16 and adds in fp32.
//
// A float is the sum of three bf16 to within 2^-26 of it: x = x0 + x1 + x2. Of the nine products of two such sums the six
// that reach above 2^-24 are computed: x0y2 + x1y1 + x2y0, x0y1 + x1y0, x0y0. So the result differs from the exact one
// by the rounding of fp32 sums, as that of any BLAS does. (Henry, Tang, Heinecke: Leveraging the bfloat16 Artificial
// Intelligence Datatype For Higher-Precision Computations, 2019.) Every element of C is summed in the same order wherever it
// lies, so results do not depend on how C is cut into pieces.
#include "tiles.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#pragma GCC target("avx512f,avx512bw,amx-tile,amx-bf16")

#define INL static inline __attribute__((always_inline))

enum {
	TILE = 16 * 32,                // bf16 of a tile: 16 lines (rows of A or columns of B), 32 deep
	PART = 3,                      // bf16 of a float
	SLAB = 2 * PART * TILE,        // of a panel of 32 lines, 32 deep
	ARCH_REQ_XCOMP_PERM = 0x1023,  // asm/prctl.h
	XFEATURE_XTILEDATA = 18,
};

int sh_tiles(void) {
	unsigned a, b, c, d;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return 0;
	const unsigned bf16 = 1u << 22, tile = 1u << 24, f = 1u << 16, bw = 1u << 30;
	if (!(d & bf16) || !(d & tile) || !(b & f) || !(b & bw) || !__builtin_cpu_supports("avx512bw"))
		return 0;
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

// Stores the transpose of 16 rows of 16 double words.
INL void store_transposed(const __m512i *x, uint16_t *to) {
	__m512i a[16], b[16];
	for (int i = 0; i < 16; i += 2) {
		a[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
		a[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
	}
	for (int i = 0; i < 16; i += 4) {
		b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
		b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
		b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
		b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
	}
	for (int i = 0; i < 4; i++) {
		a[i] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88);
		a[i + 4] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd);
		a[i + 8] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88);
		a[i + 12] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
	}
	for (int i = 0; i < 8; i++) {
		_mm512_store_si512(to + 32 * i, _mm512_shuffle_i32x4(a[i], a[i + 8], 0x88));
		_mm512_store_si512(to + 32 * (i + 8), _mm512_shuffle_i32x4(a[i], a[i + 8], 0xdd));
	}
}

// The bf16 nearest to each float, as the upper half of a float; a half is rounded away from zero.
INL __m512i nearest(__m512 x) {
	__m512i u = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
	return _mm512_and_si512(u, _mm512_set1_epi32((int)0xffff0000));
}

static const uint16_t odd[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};

// Packs a block of up to 16 lines, up to 32 deep, into a tile for each part. A line's floats lie side by side, or ld
// apart where the block lies `across`. A tile's rows are lines for A, and for B pairs in depth; what is not there is 0.
INL void pack_block(const float *x, long ld, int across, int pairs_down, int lines, int k, float alpha, uint16_t *to) {
	__m512i part[PART][16];
	const __m512i upper = _mm512_loadu_si512(odd);
	const __mmask16 all = 0xffff, side = lines >= 16 ? all : (__mmask16)((1u << lines) - 1);
	const __mmask16 first = k >= 16 ? all : (__mmask16)((1u << k) - 1), second = k >= 32 ? all : k > 16 ? (__mmask16)((1u << (k - 16)) - 1) : 0;
	for (int i = 0; i < 16; i++) {
		__m512 l = _mm512_setzero_ps(), h = l;
		if (!across && i < lines) {
			l = _mm512_maskz_loadu_ps(first, x + i * ld);
			h = _mm512_maskz_loadu_ps(second, x + i * ld + 16);
		}
		if (across && 2 * i < k)
			l = _mm512_maskz_loadu_ps(side, x + 2 * i * ld);
		if (across && 2 * i + 1 < k)
			h = _mm512_maskz_loadu_ps(side, x + (2 * i + 1) * ld);
		if (alpha != 1) {
			l = _mm512_mul_ps(_mm512_set1_ps(alpha), l);
			h = _mm512_mul_ps(_mm512_set1_ps(alpha), h);
		}
		for (int s = 0; s < PART; s++) {
			__m512i u = nearest(l), v = nearest(h);
			part[s][i] = across ? _mm512_or_si512(_mm512_srli_epi32(u, 16), v) : _mm512_permutex2var_epi16(u, upper, v);
			l = _mm512_sub_ps(l, _mm512_castsi512_ps(u));
			h = _mm512_sub_ps(h, _mm512_castsi512_ps(v));
		}
	}
	for (int s = 0; s < PART; s++, to += TILE)
		if (across == pairs_down)
			for (int i = 0; i < 16; i++)
				_mm512_store_si512(to + 32 * i, part[s][i]);
		else
			store_transposed(part[s], to);
}

// Packs lines into panels of 32, which are `panel` apart: slab after slab of 32 in depth, in each the parts of the first 16
// lines, then of the others. It reads along the rows of x, which memory likes.
#define PACK(NAME, ACROSS, PAIRS_DOWN)                                                                                       \
	static void NAME(const float *x, long ld, long lines, long k, float alpha, uint16_t *to) {                               \
		const long slabs = (k + 31) / 32, panels = (lines + 31) / 32;                                                        \
		for (long step = 0; step < slabs * panels; step++) {                                                                 \
			const long i = (ACROSS) ? step % panels : step / slabs, p = (ACROSS) ? step / panels : step % slabs;             \
			for (int half = 0; half < 2; half++) {                                                                           \
				uint16_t *into = to + (i * slabs + p) * SLAB + half * PART * TILE;                                           \
				const long line = 32 * i + 16 * half, n = lines - line, d = k - 32 * p;                                      \
				const float *from = (ACROSS) ? x + 32 * p * ld + line : x + line * ld + 32 * p;                              \
				if (n <= 0)                                                                                                  \
					memset(into, 0, PART * TILE * sizeof *into);                                                             \
				else if (n >= 16 && d >= 32)                                                                                 \
					pack_block(from, ld, ACROSS, PAIRS_DOWN, 16, 32, alpha, into);                                           \
				else                                                                                                         \
					pack_block(from, ld, ACROSS, PAIRS_DOWN, n < 16 ? (int)n : 16, d < 32 ? (int)d : 32, alpha, into);       \
			}                                                                                                                \
		}                                                                                                                    \
	}
PACK(pack_a, 0, 0)
PACK(pack_a_transposed, 1, 0)
PACK(pack_b, 1, 1)
PACK(pack_b_transposed, 0, 1)

void sh_tiles_pack(int columns, int trans, const float *x, long ld, long lines, long k, float alpha, void *to) {
	void (*const pack[])(const float *, long, long, long, float, uint16_t *) = {pack_a, pack_a_transposed, pack_b, pack_b_transposed};
	pack[2 * columns + trans](x, ld, lines, k, alpha, to);
}

// C[32, 32] = or += a panel of A times a panel of B, `slabs` deep. Meanwhile, `lines` cache lines of what comes next are fetched with
// every slab, and the block of C `after` this one.
static void product_of_panels(long slabs, const uint16_t *a, const uint16_t *b, float *c, long ldc, int add, const char *next, long lines, const float *after) {
	float *below = c + 16 * ldc;
	if (add) {
		_tile_loadd(0, c, ldc * 4);
		_tile_loadd(1, c + 16, ldc * 4);
		_tile_loadd(2, below, ldc * 4);
		_tile_loadd(3, below + 16, ldc * 4);
	} else {
		_tile_zero(0);
		_tile_zero(1);
		_tile_zero(2);
		_tile_zero(3);
	}
#define LOAD(t, u, x, s)                \
	_tile_loadd(t, x + (s) * TILE, 64); \
	_tile_loadd(u, x + (PART + (s)) * TILE, 64)
#define MULTIPLY             \
	_tile_dpbf16ps(0, 4, 6); \
	_tile_dpbf16ps(1, 4, 7); \
	_tile_dpbf16ps(2, 5, 6); \
	_tile_dpbf16ps(3, 5, 7)
// Brings a sixth of the next slabs near. Where the core has another thread to run, products wait for each tile that is not.
#define FETCH(sixth)                                     \
	for (int i = 0; i < TILE; i += 32) {                 \
		__builtin_prefetch(a + SLAB + (sixth) * TILE + i); \
		__builtin_prefetch(b + SLAB + (sixth) * TILE + i); \
	}
	for (long p = 0; p < slabs; p++, a += SLAB, b += SLAB) {
		FETCH(0);
		LOAD(4, 5, a, 0); // each step of the walk from a0·b2 to a0·b0 loads one side only
		LOAD(6, 7, b, 2);
		MULTIPLY;
		FETCH(1);
		LOAD(6, 7, b, 1);
		MULTIPLY;
		FETCH(2);
		LOAD(4, 5, a, 1);
		MULTIPLY;
		FETCH(3);
		LOAD(6, 7, b, 0);
		MULTIPLY;
		FETCH(4);
		LOAD(4, 5, a, 2);
		MULTIPLY;
		FETCH(5);
		LOAD(4, 5, a, 0);
		MULTIPLY;
		for (long i = 0; i < lines; i++, next += 64)
			__builtin_prefetch(next, 0, 2);
		for (long i = 0; i < 2 && p < 16; i++, after += ldc) {
			__builtin_prefetch(after, 1);
			__builtin_prefetch(after + 16, 1);
		}
	}
	_tile_stored(0, c, ldc * 4);
	_tile_stored(1, c + 16, ldc * 4);
	_tile_stored(2, below, ldc * 4);
	_tile_stored(3, below + 16, ldc * 4);
}

void sh_tiles_multiply(int by_rows, long m, long n, long k, const void *packed_a, const void *packed_b, float *c, long ldc, int add) {
	struct {
		uint8_t palette, start, reserved[14];
		uint16_t bytes[16]; // of a tile's row
		uint8_t rows[16];
	} config = {.palette = 1};
	for (int i = 0; i < 8; i++) {
		config.bytes[i] = 64;
		config.rows[i] = 16;
	}
	_tile_loadconfig(&config);
	const long slabs = (k + 31) / 32, panel = slabs * SLAB, outer = by_rows ? m : n, inner = by_rows ? n : m;
	const long fetched = SLAB * 2 / 64 / ((inner + 31) / 32); // the panels of one side share in fetching the other's next
	const uint16_t *const from = by_rows ? packed_a : packed_b;
	float edge[32 * 32] __attribute__((aligned(64)));
	for (long o = 0; o < outer; o += 32)
		for (long i = 0; i < inner; i += 32) {
			const long row = by_rows ? o : i, column = by_rows ? i : o, high = m - row < 32 ? m - row : 32, wide = n - column < 32 ? n - column : 32;
			const uint16_t *a = (const uint16_t *)packed_a + row / 32 * panel, *b = (const uint16_t *)packed_b + column / 32 * panel;
			const char *next = (const char *)(from + (o / 32 + 1) * panel) + i / 32 * slabs * fetched * 64;
			float *to = c + row * ldc + column;
			const float *after = i + 32 < inner ? to + (by_rows ? 32 : 32 * ldc) : by_rows ? c + (row + 32) * ldc : c + column + 32;
			const long lines = outer - o > 32 ? fetched : 0;
			if (high == 32 && wide == 32) {
				product_of_panels(slabs, a, b, to, ldc, add, next, lines, after);
				continue;
			}
			for (long y = 0; add && y < high; y++)
				memcpy(edge + 32 * y, to + y * ldc, wide * sizeof *to);
			product_of_panels(slabs, a, b, edge, 32, add, next, lines, edge);
			for (long y = 0; y < high; y++)
				memcpy(to + y * ldc, edge + 32 * y, wide * sizeof *to);
		}
	_tile_release();
}

#else

int sh_tiles(void) { return 0; }

void sh_tiles_pack(int columns, int trans, const float *x, long ld, long lines, long k, float alpha, void *to) {
	(void)columns, (void)trans, (void)x, (void)ld, (void)lines, (void)k, (void)alpha, (void)to;
}

void sh_tiles_multiply(int by_rows, long m, long n, long k, const void *packed_a, const void *packed_b, float *c, long ldc, int add) {
	(void)by_rows, (void)m, (void)n, (void)k, (void)packed_a, (void)packed_b, (void)c, (void)ldc, (void)add;
}

#endif
