package kernel

/*
#include "kernels.h"

static void sh_scatter_add(const float *dx, const int32_t *index, float *to, long rows, long n, long from, long until) {
	sh_kernels->scatter_add(dx, index, to, rows, n, from, until);
}
*/
import "C"

// Embed copies row tokens[t] of table [v, n] to row t of y. Every token must be in 0..v-1.
func Embed(table []float32, tokens []int32, y []float32, n int) {
	need(len(y), len(tokens)*n)
	Parallel(len(tokens), grain(n), func(from, to int) {
		for t := from; t < to; t++ {
			i := int(tokens[t])
			copy(y[t*n:(t+1)*n], table[i*n:(i+1)*n])
		}
	})
}

// EmbedGradient adds row t of dy to row tokens[t] of dtable. Threads share the columns, so the sums have one order.
func EmbedGradient(dy []float32, tokens []int32, dtable []float32, n int) {
	need(len(dy), len(tokens)*n)
	for _, t := range tokens {
		need(len(dtable), (int(t)+1)*n)
		need(int(t), 0)
	}
	columns(len(tokens), n, func(from, to int) {
		C.sh_scatter_add(ptr(dy), ints(tokens), ptr(dtable), C.long(len(tokens)), C.long(n), C.long(from), C.long(to))
	})
}
