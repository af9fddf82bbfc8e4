package kernel

/*
#include "kernels.h"

static void sh_cross_entropy(float *logits, const int32_t *labels, long rows, long v, float scale, int gradient,
                             double *loss, double *entropy, int32_t *correct) {
	sh_kernels->cross_entropy(logits, labels, rows, v, scale, gradient, loss, entropy, correct);
}
*/
import "C"

import "unsafe"

// Predictions is what CrossEntropy says of each row.
type Predictions struct {
	Loss    []float64 // −log p(label), nats; NaN when a logit is not finite
	Entropy []float64 // nats
	Correct []int32   // 1 when the first largest logit is the label's
}

// CrossEntropy is the softmax cross-entropy of each row of logits [rows, v], rows being len(labels). With gradient set,
// the logits are replaced by scale · (softmax − one-hot).
func CrossEntropy(logits []float32, labels []int32, v int, scale float32, gradient bool, p Predictions) {
	rows := len(labels)
	need(len(logits), rows*v)
	need(min(len(p.Loss), len(p.Entropy), len(p.Correct)), rows)
	for _, l := range labels {
		need(int(l), 0)
		need(v, int(l)+1)
	}
	Parallel(rows, grain(v), func(from, to int) {
		C.sh_cross_entropy(ptr(logits[from*v:]), ints(labels[from:]), C.long(to-from), C.long(v), C.float(scale), flag(gradient),
			(*C.double)(unsafe.Pointer(&p.Loss[from])), (*C.double)(unsafe.Pointer(&p.Entropy[from])), ints(p.Correct[from:]))
	})
}
