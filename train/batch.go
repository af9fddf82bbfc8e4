package train

import (
	"iter"
	"math"
	"sort"

	"stillhouse"
	"stillhouse/internal/student"
)

// A Plan says how many updates a training makes of so many rows. It counts as transformers' Trainer does.
type Plan struct {
	Rows            int
	BatchesPerEpoch int // micro-batches
	UpdatesPerEpoch int
	Updates         int
	options         Options
}

// Plan plans a training on n rows.
func (o Options) Plan(n int) (Plan, error) {
	p := Plan{Rows: n, options: o}
	p.BatchesPerEpoch = (n + o.PerDeviceTrainBatchSize - 1) / o.PerDeviceTrainBatchSize
	if o.DataloaderDropLast {
		p.BatchesPerEpoch = n / o.PerDeviceTrainBatchSize
	}
	if p.BatchesPerEpoch == 0 {
		return p, stillhouse.Invalidf("%d rows do not fill one micro-batch of %d and dataloader_drop_last is true: take a smaller per_device_train_batch_size, or more rows",
			n, o.PerDeviceTrainBatchSize)
	}
	p.UpdatesPerEpoch = (p.BatchesPerEpoch + o.GradientAccumulationSteps - 1) / o.GradientAccumulationSteps
	if p.Updates = o.MaxSteps; p.Updates <= 0 {
		p.Updates = int(math.Ceil(o.NumTrainEpochs * float64(p.UpdatesPerEpoch)))
	}
	return p, nil
}

// A Window is what one update sees: micro-batches of rows, given by their places. The last window of an epoch may have
// fewer micro-batches, and its last micro-batch fewer rows.
type Window struct {
	Update  int     // counted from 1
	Epoch   float64 // that have been visited once the update is made
	Last    bool    // of its epoch, or of the training
	Batches [][]int
}

// Windows are the windows of the training in order. A window never joins rows of two epochs.
func (p Plan) Windows() iter.Seq[Window] {
	size, steps := p.options.PerDeviceTrainBatchSize, p.options.GradientAccumulationSteps
	return func(yield func(Window) bool) {
		update := 0
		for epoch := 0; ; epoch++ {
			order := p.options.order(p.Rows, epoch)
			for from := 0; from < p.BatchesPerEpoch; from += steps {
				if update++; update > p.Updates {
					return
				}
				to := min(from+steps, p.BatchesPerEpoch)
				w := Window{Update: update, Epoch: float64(epoch) + float64(to)/float64(p.BatchesPerEpoch), Last: to == p.BatchesPerEpoch || update == p.Updates}
				for b := from; b < to; b++ {
					w.Batches = append(w.Batches, order[b*size:min((b+1)*size, len(order))])
				}
				if !yield(w) {
					return
				}
			}
		}
	}
}

// A pass is what is computed at once: rows of one window, whatever their micro-batch. The gradients of rows add up, so
// how a window is cut into passes does not change them beyond rounding; many short rows at once are faster than one
// after another.
type pass struct {
	batch student.Batch
	rows  []int // by document: the place of its row in the training
	of    []int // by document: the micro-batch that it belongs to
}

// passTokens is how many tokens are computed at once, unless a single row is longer: enough for the usual window to be one
// pass, which reads all weights and gradients once, and few enough for the activations of SmolLM2-135M to take no more memory than
// its parameters, gradients and optimiser state do.
const passTokens = 2048

// evenly is the least number of tokens, at most size, that passes can be bounded by without there being more of them. A small last
// pass would read as much memory as a large one.
func evenly(w Window, examples []Example, size int) int {
	count := func(bound int) (passes int) {
		held := 0
		for _, batch := range w.Batches {
			for _, r := range batch {
				n := len(examples[r].Tokens)
				if n > bound {
					return math.MaxInt
				}
				if held += n; passes == 0 || held > bound {
					passes, held = passes+1, n
				}
			}
		}
		return passes
	}
	fewest := count(size)
	return sort.Search(size, func(bound int) bool { return count(bound) <= fewest })
}

// passes cuts a window into the fewest passes of at most size tokens, which no row is longer than, of about the same length;
// rows in order.
func passes(w Window, examples []Example, size int) (out []pass) {
	bound := evenly(w, examples, size)
	for b, batch := range w.Batches {
		for _, r := range batch {
			e := examples[r]
			n := len(e.Tokens)
			if len(out) == 0 || len(out[len(out)-1].batch.Tokens)+n > bound {
				out = append(out, pass{})
			}
			p := &out[len(out)-1]
			p.batch.Tokens = append(p.batch.Tokens, e.Tokens...)
			p.batch.Labels = append(p.batch.Labels, e.Labels...)
			for _, d := range e.documents() {
				p.batch.Lengths = append(p.batch.Lengths, d)
				p.rows = append(p.rows, r)
				p.of = append(p.of, b)
			}
		}
	}
	return out
}

// labels is the number of trained tokens of a window: those that are predicted, so never a row's first token. TRL calls
// it num_items_in_batch.
func (w Window) labels(examples []Example) (n int) {
	for _, batch := range w.Batches {
		for _, r := range batch {
			n += examples[r].Trained()
		}
	}
	return n
}

// capacity is the size of the largest pass of a training on these rows.
func capacity(o Options, examples []Example) int {
	sum := 0
	for _, e := range examples {
		sum += len(e.Tokens)
	}
	window := o.PerDeviceTrainBatchSize * o.GradientAccumulationSteps
	return max(longest(examples), min(passTokens, sum, longest(examples)*window))
}

// longest is the number of tokens of the longest row.
func longest(examples []Example) (n int) {
	for _, e := range examples {
		n = max(n, len(e.Tokens))
	}
	return n
}
