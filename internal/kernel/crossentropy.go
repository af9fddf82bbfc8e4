package kernel

/*
#include "kernels.h"

static void sh_cross_entropy(float *logits, const int32_t *labels, long rows, long v, float scale, int gradient, int dft,
                             double *loss, double *entropy, int32_t *correct) {
	sh_kernels->cross_entropy(logits, labels, rows, v, scale, gradient, dft, loss, entropy, correct);
}
*/
import "C"

import "unsafe"

// Predictions is what CrossEntropy says of each row.
type Predictions struct {
	Loss    []float64 // −log p(label), nats, times p(label) with DFT; NaN when a logit is not finite
	Entropy []float64 // nats
	Correct []int32   // 1 when the first largest logit is the label's
}

// CrossEntropyOptions say what is made of the logits.
type CrossEntropyOptions struct {
	Scale    float32 // of the gradient
	Gradient bool    // replace the logits by it: Scale · (softmax − one-hot)
	DFT      bool    // multiply loss and gradient by the label's probability, taken as a constant (Wu et al., 2025, arXiv 2508.05629)
}

// CrossEntropy is the softmax cross-entropy of each row of logits [rows, v], rows being len(labels).
func CrossEntropy(logits []float32, labels []int32, v int, o CrossEntropyOptions, p Predictions) {
	rows := len(labels)
	need(len(logits), rows*v)
	need(min(len(p.Loss), len(p.Entropy), len(p.Correct)), rows)
	for _, l := range labels {
		need(int(l), 0)
		need(v, int(l)+1)
	}
	Parallel(rows, grain(v), func(from, to int) {
		C.sh_cross_entropy(ptr(logits[from*v:]), ints(labels[from:]), C.long(to-from), C.long(v), C.float(o.Scale), flag(o.Gradient), flag(o.DFT),
			(*C.double)(unsafe.Pointer(&p.Loss[from])), (*C.double)(unsafe.Pointer(&p.Entropy[from])), ints(p.Correct[from:]))
	})
}
