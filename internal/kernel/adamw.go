package kernel

/*
#include "kernels.h"

static void sh_adamw(float *p, const float *g, float *m, float *v, long n, float grad_scale, float decay, float gain1,
                     float keep2, float gain2, float step, float root, float eps) {
	sh_kernels->adamw(p, g, m, v, n, grad_scale, decay, gain1, keep2, gain2, step, root, eps);
}

static double sh_squared_norm(const float *x, long n) { return sh_kernels->squared_norm(x, n); }
*/
import "C"

import "math"

// AdamWOptions are the numbers of one AdamW step.
type AdamWOptions struct {
	LR, Beta1, Beta2, Eps, WeightDecay float64
	Step                               int     // of this update, the first is 1
	GradScale                          float32 // multiplies the gradient first: 1, or less where it is clipped
}

// AdamW updates param and its moments m and v in place, as torch.optim.AdamW does in fp32 (Loshchilov & Hutter, 2019):
// the weight decay is decoupled, eps is added after the bias correction. All four slices have the same length.
func AdamW(param, grad, m, v []float32, o AdamWOptions) {
	n := len(param)
	need(min(len(grad), len(m), len(v)), n)
	step := o.LR / (1 - math.Pow(o.Beta1, float64(o.Step)))
	root := math.Sqrt(1 - math.Pow(o.Beta2, float64(o.Step)))
	Parallel(n, 1<<14, func(from, to int) {
		C.sh_adamw(ptr(param[from:]), ptr(grad[from:]), ptr(m[from:]), ptr(v[from:]), C.long(to-from), C.float(o.GradScale),
			C.float(1-o.LR*o.WeightDecay), C.float(1-o.Beta1), C.float(o.Beta2), C.float(1-o.Beta2), C.float(step), C.float(root), C.float(o.Eps))
	})
}

// SquaredNorm is Σ x², summed in fp64 in runs of a fixed length, whatever the number of threads.
func SquaredNorm(x []float32) float64 {
	const run = 1 << 16
	sums := make([]float64, (len(x)+run-1)/run)
	Parallel(len(sums), 1, func(from, to int) {
		for i := from; i < to; i++ {
			piece := x[i*run : min(len(x), (i+1)*run)]
			sums[i] = float64(C.sh_squared_norm(ptr(piece), C.long(len(piece))))
		}
	})
	total := 0.0
	for _, s := range sums {
		total += s
	}
	return total
}
