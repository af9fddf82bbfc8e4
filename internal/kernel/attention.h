// Causal attention of one head over one row, in blocks of queries: softmax(scale · Q·Kᵀ) · V, and its gradients from the
// log-sum-exp that the forward pass keeps (Dao et al., FlashAttention, 2022).
#include "product.h"

// to[d][t] = from[t][d]; the columns up to the pitch are zero.
FN void transpose(const float *from, long ld, long tokens, long dim, float *to, long pitch) {
	for (long t0 = 0; t0 < tokens; t0 += 8) {
		long end = t0 + 8 < tokens ? t0 + 8 : tokens;
		for (long d = 0; d < dim; d++)
			for (long t = t0; t < end; t++)
				to[d * pitch + t] = from[t * ld + d];
	}
	for (long d = 0; d < dim; d++)
		memset(to + d * pitch + tokens, 0, (size_t)(pitch - tokens) * 4);
}

FN void attention(const sh_head *a) {
	long pitch = SH_PITCH(a->tokens), dim = a->dim;
	float *kt = a->scratch, *s = kt + dim * pitch;
	transpose(a->k, a->ld, a->tokens, dim, kt, pitch);
	for (long i0 = 0; i0 < a->tokens; i0 += SH_QUERIES) {
		long n = a->tokens - i0 < SH_QUERIES ? a->tokens - i0 : SH_QUERIES, keys = i0 + n;
		long wide = (keys + VL - 1) / VL * VL;
		float by[SH_QUERIES];
		product(n, wide, dim, a->q + i0 * a->ld, a->ld, 1, kt, pitch, s, pitch, 0);
		for (long i = 0; i < n; i++) {
			float *row = s + i * pitch;
			long seen = i0 + i + 1;
			vf m = set1(row[0]);
			long j = 0;
			for (; j + VL <= seen; j += VL)
				m = max_v(load(row + j), m);
			float most = max_of(m);
			for (; j < seen; j++)
				most = row[j] > most ? row[j] : most;
			memset(row + seen, 0, (size_t)(wide - seen) * 4);
			vf sum = {0};
			for (j = 0; j < seen; j += VL) {
				vf e = exp_v((load_n(row + j, seen - j) - most) * a->scale);
				if (seen - j < VL) {
					vf kept = {0};
					memcpy(&kept, &e, (size_t)(seen - j) * 4);
					e = kept;
				}
				sum += e;
				store(row + j, e);
			}
			float total = sum_v(sum);
			by[i] = 1.0f / total;
			if (a->lse)
				a->lse[i0 + i] = most * a->scale + logf(total);
		}
		float *o = a->o + i0 * a->ldo;
		product(n, dim, keys, s, pitch, 1, a->v, a->ld, o, a->ldo, 0);
		for (long i = 0; i < n; i++, o += a->ldo)
			for (long d = 0; d < dim; d += VL)
				store_n(o + d, load_n(o + d, dim - d) * by[i], dim - d);
	}
}

// Queries are taken a panel at a time: the gradients of keys and values are sums over queries, and a whole panel's are added
// at once.
FN void attention_dx(const sh_head *a) {
	long pitch = SH_PITCH(a->tokens), dim = a->dim;
	float *kt = a->scratch, *vt = kt + dim * pitch, *p = vt + dim * pitch, *ds = p + SH_PANEL * pitch;
	transpose(a->k, a->ld, a->tokens, dim, kt, pitch);
	transpose(a->v, a->ld, a->tokens, dim, vt, pitch);
	for (long first = 0; first < a->tokens; first += SH_PANEL) {
		long panel = a->tokens - first < SH_PANEL ? a->tokens - first : SH_PANEL;
		const float *q = a->q + first * a->ld, *d_o = a->d_o + first * a->ldo, *o = a->o + first * a->ldo;
		for (long i0 = 0; i0 < panel; i0 += SH_QUERIES) {
			long n = panel - i0 < SH_QUERIES ? panel - i0 : SH_QUERIES, keys = first + i0 + n;
			long wide = (keys + VL - 1) / VL * VL;
			float *pb = p + i0 * pitch, *db = ds + i0 * pitch;
			product(n, wide, dim, q + i0 * a->ld, a->ld, 1, kt, pitch, pb, pitch, 0);
			product(n, wide, dim, d_o + i0 * a->ldo, a->ldo, 1, vt, pitch, db, pitch, 0);
			for (long i = i0; i < i0 + n; i++) {
				vf s = {0};
				for (long d = 0; d < dim; d += VL)
					s += load_n(d_o + i * a->ldo + d, dim - d) * load_n(o + i * a->ldo + d, dim - d);
				float delta = sum_v(s), lse = a->lse[first + i];
				float *pr = p + i * pitch, *dr = ds + i * pitch;
				long seen = first + i + 1;
				for (long j = 0; j < seen; j += VL) {
					vf e = exp_v(load(pr + j) * a->scale - lse);
					store(dr + j, e * (load(dr + j) - delta) * a->scale);
					store(pr + j, e);
				}
				memset(pr + seen, 0, (size_t)(wide - seen) * 4);
				memset(dr + seen, 0, (size_t)(wide - seen) * 4);
			}
			product(n, dim, keys, db, pitch, 1, a->k, a->ld, a->dq + (first + i0) * a->ld, a->ld, 0);
		}
		// Keys before the panel are seen by all its queries, its own by those from their block on.
		if (first > 0) {
			product(first, dim, panel, ds, 1, pitch, q, a->ld, a->dk, a->lddkv, 1);
			product(first, dim, panel, p, 1, pitch, d_o, a->ldo, a->dv, a->lddkv, 1);
		}
		for (long j = 0; j < panel; j += SH_QUERIES) {
			long n = panel - j < SH_QUERIES ? panel - j : SH_QUERIES, at = j * pitch + first + j;
			product(n, dim, panel - j, ds + at, 1, pitch, q + j * a->ld, a->ld, a->dk + (first + j) * a->lddkv, a->lddkv, 0);
			product(n, dim, panel - j, p + at, 1, pitch, d_o + j * a->ldo, a->ldo, a->dv + (first + j) * a->lddkv, a->lddkv, 0);
		}
	}
}
