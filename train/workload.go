package train

import (
	"math"

	"stillhouse/internal/student"
)

// A workload is what a training computes and writes.
type workload struct {
	updates                int
	tokens, labels, passes int64 // of all updates
	evaluations            int
	checkpoints            int
}

// maxCounted is how many rows are counted one by one. Epochs after those are taken to be like them.
const maxCounted = 1 << 24

// workload counts what the updates of a plan take, in passes of at most size tokens. A checkpoint that depends on how
// good an evaluation is counts as one that is written.
func (o Options) workload(plan Plan, rows []Example, size int) (w workload) {
	trained := make([]int64, len(rows))
	for i, e := range rows {
		trained[i] = int64(e.Trained())
	}
	saves, evaluations := o.saves(plan.Updates), o.evaluations(plan.Updates)
	seen := 0
	for window := range plan.Windows() {
		if seen > maxCounted && w.updates%plan.UpdatesPerEpoch == 0 {
			break
		}
		room := 0
		for _, batch := range window.Batches {
			for _, r := range batch {
				n := len(rows[r].Tokens)
				if room -= n; room < 0 {
					w.passes++
					room = size - n
				}
				w.tokens += int64(n)
				w.labels += trained[r]
				seen++
			}
		}
		w.updates++
		evaluated := o.evaluatesAfter(evaluations, window, plan.Updates)
		if evaluated {
			w.evaluations++
		}
		kept := evaluated && (o.LoadBestModelAtEnd || saves.strategy == "best")
		if (saves.due(window) || kept) && window.Update < plan.Updates {
			w.checkpoints++
		}
	}
	if w.updates > 0 && w.updates < plan.Updates {
		scale := func(n *int64) { *n = int64(float64(*n) * float64(plan.Updates) / float64(w.updates)) }
		e, c := int64(w.evaluations), int64(w.checkpoints)
		for _, n := range []*int64{&w.tokens, &w.labels, &w.passes, &e, &c} {
			scale(n)
		}
		w.evaluations, w.checkpoints = int(e), int(c)
	}
	w.updates = plan.Updates
	if o.EvalOnStart {
		w.evaluations++
	}
	return w
}

// usualPass is a pass of a training like most: near the mean in its tokens, and in the lengths of its rows as attention
// sees them.
func (o Options) usualPass(plan Plan, rows []Example, size int) student.Batch {
	const most = 256 // passes that are looked at
	var all []pass
	for w := range plan.Windows() {
		if all = append(all, passes(w, rows, size)...); len(all) >= most {
			break
		}
	}
	square := func(b student.Batch) (sum float64) {
		for _, n := range b.Lengths {
			sum += float64(n) * float64(n)
		}
		return sum
	}
	var tokens, squares float64
	for _, p := range all {
		tokens += float64(len(p.batch.Tokens))
		squares += square(p.batch)
	}
	var usual student.Batch
	least := math.Inf(1)
	for _, p := range all {
		n := float64(len(p.batch.Tokens))
		far := math.Abs(math.Log(n*float64(len(all))/tokens)) + math.Abs(math.Log(square(p.batch)/n*tokens/squares))
		if far < least {
			least, usual = far, p.batch
		}
	}
	return usual
}
