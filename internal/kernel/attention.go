package kernel

/*
#include "kernels.h"

// Query heads first..last of one row. q is the first query head of the row's first token, k and v the first KV heads.
static void sh_attend(const float *qkv, long tokens, long heads, long kv, long dim, float scale, long first, long last, float *o, float *lse,
                      long pitch, float *scratch, const float *d_o, float *dqkv, float *dkv, long lddkv) {
	long ld = (heads + 2 * kv) * dim;
	for (long h = first; h < last; h++) {
		long g = h / (heads / kv);
		sh_head a = {
			.q = qkv + h * dim, .k = qkv + (heads + g) * dim, .v = qkv + (heads + kv + g) * dim, .ld = ld,
			.tokens = tokens, .dim = dim, .scale = scale, .o = o + h * dim, .ldo = heads * dim,
			.lse = lse ? lse + h * pitch : NULL, .scratch = scratch,
		};
		if (d_o == NULL) {
			sh_kernels->attention(&a);
			continue;
		}
		a.d_o = d_o + h * dim;
		a.dq = dqkv + h * dim;
		if (heads == kv) {
			a.dk = dqkv + (heads + g) * dim;
			a.dv = dqkv + (heads + kv + g) * dim;
			a.lddkv = ld;
		} else {
			a.dk = dkv + 2 * h * dim;
			a.dv = a.dk + dim;
			a.lddkv = lddkv;
		}
		sh_kernels->attention_dx(&a);
	}
}

// Sums the gradients that each query head has for its keys and values into those of the KV heads.
static void sh_join(const float *dkv, long heads, long kv, long dim, float *dqkv, long rows) {
	long ld = (heads + 2 * kv) * dim, group = heads / kv;
	for (long t = 0; t < rows; t++, dkv += 2 * heads * dim, dqkv += ld)
		for (long g = 0; g < kv; g++) {
			float *dk = dqkv + (heads + g) * dim, *dv = dk + kv * dim;
			for (long i = 0; i < dim; i++) {
				float a = 0, b = 0;
				for (long h = g * group; h < (g + 1) * group; h++) {
					a += dkv[2 * h * dim + i];
					b += dkv[(2 * h + 1) * dim + i];
				}
				dk[i] = a;
				dv[i] = b;
			}
		}
}

static long sh_scratch(long tokens, long dim) { return SH_SCRATCH(tokens, dim); }
*/
import "C"

import "math"

// Heads is the shape of an attention: Query heads that share KeyValue heads in equal groups, each of Dim.
type Heads struct{ Query, KeyValue, Dim int }

// Width is the number of columns of a matrix of queries, keys and values side by side.
func (h Heads) Width() int { return (h.Query + 2*h.KeyValue) * h.Dim }

// An AttentionScratch is memory that calls of Attention and AttentionGradient use, one call at a time.
type AttentionScratch struct {
	threads [][]float32
	dkv     []float32
}

// Bytes is the size of the memory.
func (s *AttentionScratch) Bytes() int64 {
	n := len(s.dkv)
	for _, t := range s.threads {
		n += len(t)
	}
	return 4 * int64(n)
}

// fit makes room for every thread and, with kv set, for the keys' and values' gradients of each query head.
func (s *AttentionScratch) fit(h Heads, longest, tokens int, kv bool) {
	size := int(C.sh_scratch(C.long(longest), C.long(h.Dim)))
	for len(s.threads) < threads {
		s.threads = append(s.threads, nil)
	}
	for i := range s.threads {
		if len(s.threads[i]) < size {
			s.threads[i] = make([]float32, size)
		}
	}
	if n := 2 * tokens * h.Query * h.Dim; kv && h.Query != h.KeyValue && len(s.dkv) < n {
		s.dkv = make([]float32, n)
	}
}

// AttentionScratchBytes is the size that an AttentionScratch grows to for rows of at most longest tokens, tokens in all.
func AttentionScratchBytes(h Heads, longest, tokens int) int64 {
	n := int64(threads) * int64(C.sh_scratch(C.long(longest), C.long(h.Dim)))
	if h.Query != h.KeyValue {
		n += 2 * int64(tokens) * int64(h.Query*h.Dim)
	}
	return 4 * n
}

// Attention is causal attention within each row: rows of lengths[i] tokens lie end to end in qkv [tokens, Width], queries
// beside keys beside values, and o is [tokens, Query·Dim]. Scores are scaled by 1/√Dim. With lse, which has Query
// runs of pitch >= tokens floats, the log-sum-exp of every head and token is kept for the gradient.
func Attention(h Heads, lengths []int, qkv, o, lse []float32, pitch int, s *AttentionScratch) {
	attend(h, lengths, qkv, o, lse, pitch, s, nil, nil)
}

// AttentionGradient computes dqkv [tokens, Width] from d_o [tokens, Query·Dim] and what Attention was given and made.
func AttentionGradient(h Heads, lengths []int, qkv, o, lse []float32, pitch int, s *AttentionScratch, do, dqkv []float32) {
	attend(h, lengths, qkv, o, lse, pitch, s, do, dqkv)
	if h.Query == h.KeyValue {
		return
	}
	tokens := 0
	for _, n := range lengths {
		tokens += n
	}
	wide, width := 2*h.Query*h.Dim, h.Width()
	Parallel(tokens, grain(wide), func(from, to int) {
		C.sh_join(ptr(s.dkv[from*wide:]), C.long(h.Query), C.long(h.KeyValue), C.long(h.Dim), ptr(dqkv[from*width:]), C.long(to-from))
	})
}

func attend(h Heads, lengths []int, qkv, o, lse []float32, pitch int, s *AttentionScratch, do, dqkv []float32) {
	tokens, longest, work := 0, 0, 0
	for _, n := range lengths {
		tokens += n
		longest = max(longest, n)
		work += cost(n) * h.Query
	}
	if tokens == 0 {
		return
	}
	need(len(qkv), tokens*h.Width())
	need(len(o), tokens*h.Query*h.Dim)
	if lse != nil {
		need(pitch, tokens)
		need(len(lse), (h.Query-1)*pitch+tokens)
	}
	if do != nil {
		need(len(lse), 1)
		need(len(do), tokens*h.Query*h.Dim)
		need(len(dqkv), tokens*h.Width())
	}
	s.fit(h, longest, tokens, do != nil)
	var dkv []float32
	if do != nil && h.Query != h.KeyValue {
		dkv = s.dkv
	}
	scale := C.float(1 / math.Sqrt(float64(h.Dim)))
	width, out, wide := h.Width(), h.Query*h.Dim, 2*h.Query*h.Dim
	// Each piece does the heads whose share of the work, counted from the first head of the first row, begins in it.
	pieces := min(threads, max(1, work/4096))
	Parallel(pieces, 1, func(from, to int) {
		for p := from; p < to; p++ {
			start, done := 0, 0
			for _, n := range lengths {
				c := cost(n)
				first, last := h.Query, 0
				for i := range h.Query {
					if (done+i*c)*pieces/work == p {
						first, last = min(first, i), i+1
					}
				}
				if first < last && n > 0 {
					C.sh_attend(ptr(qkv[start*width:]), C.long(n), C.long(h.Query), C.long(h.KeyValue), C.long(h.Dim), scale, C.long(first), C.long(last),
						ptr(o[start*out:]), ptr(tail(lse, start)), C.long(pitch), ptr(s.threads[p]), ptr(tail(do, start*out)), ptr(tail(dqkv, start*width)),
						ptr(tail(dkv, start*wide)), C.long(wide))
				}
				start += n
				done += c * h.Query
			}
		}
	})
}

// cost is the work of one head of a row of n tokens, in some unit.
func cost(n int) int { return n * (n + 64) }

func tail(s []float32, from int) []float32 {
	if s == nil {
		return nil
	}
	return s[from:]
}
