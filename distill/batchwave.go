package distill

import "stillhouse"

// A wave is how far the prompts of a run are asked by batches. Without a target that is to their end. With one nobody knows
// before the answers are there which prompt reaches it, so the prompts are asked wave by wave, in their order: as many as one
// expects to need.
//
// The first wave has as many prompts as reach the target if all their answers are accepted. After that the rate of acceptance
// is taken to be (accepted+1)/(decided+2), Laplace's rule of succession, and what is missing is divided by it, but a wave has
// never more prompts than were decided before. What it has too many is paid for and in no row: to ask only prompts of which
// it is certain that those before them do not suffice, as is done without batches, takes many times as many waves, and each
// of them may take a day. TestWavesAreFew prints the figures.
type wave struct {
	target, most int // accepted rows wanted, 0 for those of all prompts; those that one prompt can bring

	decided  int // prompts that have all the answers they will get
	accepted int // rows that they brought
	open     int // prompts in the batches to come, or in those on their way
}

// ends reports whether no further prompt is to be asked now.
func (w *wave) ends() bool {
	return w.target > 0 && (w.accepted >= w.target || w.open >= w.size())
}

// size is how many prompts one expects to need.
func (w *wave) size() int {
	missing := w.target - w.accepted
	least := (missing + w.most - 1) / w.most
	expected := least
	if w.decided > 0 {
		rate := float64(w.accepted+w.most) / float64(w.decided+2) // rows of a prompt
		expected = int(min(float64(missing)/rate+1, float64(w.decided)))
	}
	return max(least, expected)
}

// decide counts a prompt that has all its answers.
func (w *wave) decide(accepted int) {
	w.decided++
	w.accepted += min(accepted, w.most)
}

// made counts the prompts of a shard that is there.
func (w *wave) made(a stillhouse.Account, fanout int) {
	w.decided += int(a.In-a.Unasked[TargetReached]-a.Unasked[BudgetSpent]) / fanout
	w.accepted += int(a.Accepted)
}

// wave is one that begins.
func (b *batcher) wave() *wave {
	w := &wave{target: b.a.opts.Target.Accepted}
	if w.target > 0 {
		w.most = max(1, min(b.a.accept.Most(), b.a.opts.Samples.Max))
	}
	return w
}
