// Included by each kernels_*.c: the kernels in vectors of VL floats, as the table TABLE.
#include "kernels.h"
#include "vector.h"
#include "norm.h"
#include "elementwise.h"
#include "crossentropy.h"
#include "attention.h"
#include "optimiser.h"

const sh_table TABLE = {
	.name = NAME,
	.rmsnorm = rmsnorm,
	.rmsnorm_dx = rmsnorm_dx,
	.rmsnorm_dw = rmsnorm_dw,
	.rope = rope,
	.swiglu = swiglu,
	.swiglu_dx = swiglu_dx,
	.add_rows = add_rows,
	.sum_rows = sum_rows,
	.scatter_add = scatter_add,
	.cross_entropy = cross_entropy,
	.attention = attention,
	.attention_dx = attention_dx,
	.adamw = adamw,
	.squared_norm = squared_norm,
	.scale = scale_by,
	.exp = exp_all,
};
