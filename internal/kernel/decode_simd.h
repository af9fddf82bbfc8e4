// The kernels of generation, written once for vectors of W floats and compiled once for each set of instructions:
// decode_*.c include this file with FN, LEVEL, W and the sizes of a tile set: ROWS
// of fp32 or NARROW_ROWS of narrower weights, PANELS wide. They are what fits the registers.
//
// A row's result does not depend on how many rows there are, on the place of the row among them, on threads, or on whether
// AVX2 or AVX-512 computes it: see the order of sums at the head of each part.
#include "decode_vector.h"
#include "decode_product.h"
#include "decode_rows.h"
#include "decode_attention.h"

const shd_kernels FN(kernels) = {
	.level = LEVEL,
	.run = {
		[SHD_EMBED] = FN(embed),
		[SHD_NORM] = FN(norm),
		[SHD_PRODUCT] = FN(product),
		[SHD_ROPE] = FN(rope),
		[SHD_ATTEND] = FN(attend),
		[SHD_GATE] = FN(gate),
		[SHD_ROUND] = FN(round),
		[SHD_LOSS] = FN(loss),
	},
	.exps = FN(exps),
	.top = FN(top),
	.read = FN(read),
};
