// Softmax cross-entropy of rows of v logits: loss, entropy of the prediction (both nats, in fp64) and whether the first
// largest logit is the label's. With `gradient`, the logits become scale · (softmax − one-hot). With `dft`, loss and
// gradient are multiplied by the label's probability, which counts as a constant.

// The partial sums of `block` vectors are fp32, those of all blocks fp64: a vocabulary may have 10⁵ entries.
enum { block = 64 };

FN void cross_entropy(float *logits, const int32_t *labels, long rows, long v, float scale, int gradient, int dft, double *loss,
                      double *entropy, int32_t *correct) {
	for (long t = 0; t < rows; t++, logits += v) {
		float at = logits[labels[t]];
		vf m = set1(logits[0]);
		long i = 0;
		for (; i + VL <= v; i += VL)
			m = max_v(load(logits + i), m);
		float most = max_of(m);
		for (; i < v; i++)
			most = logits[i] > most ? logits[i] : most;

		correct[t] = 0;
		if (at == most) {
			long first = 0;
			while (first < labels[t] && logits[first] != most)
				first++;
			correct[t] = first == labels[t];
		}

		double sum = 0, dot = 0; // Σ e and Σ e·(x − most), e = exp(x − most)
		i = 0;
		while (i + VL <= v) {
			long end = v - i < block * VL ? i + (v - i) / VL * VL : i + block * VL;
			vf s = {0}, d = {0};
			for (; i < end; i += VL) {
				vf x = load(logits + i) - most, e = exp_v(x);
				s += e;
				d += e * x;
				if (gradient)
					store(logits + i, e);
			}
			sum += sum_v(s);
			dot += sum_v(d);
		}
		if (i < v) {
			vf x = load_n(logits + i, v - i) - most, e = exp_v(x);
			for (long k = 0; k < v - i; k++) {
				sum += e[k];
				dot += e[k] * x[k];
			}
			if (gradient)
				store_n(logits + i, e, v - i);
		}
		if (isnan(dot)) // a logit that is NaN or infinite: exp_v hides it, the loss must not
			sum = NAN;
		loss[t] = log(sum) - ((double)at - most);
		double weight = dft ? exp(-loss[t]) : 1;
		loss[t] *= weight;
		entropy[t] = log(sum) - dot / sum;

		if (gradient) {
			float by = (float)(scale * weight / sum);
			for (i = 0; i < v; i += VL)
				store_n(logits + i, load_n(logits + i, v - i) * by, v - i);
			logits[labels[t]] -= (float)(scale * weight);
		}
	}
}
