package train

import (
	"slices"

	"stillhouse/internal/chat"
	"stillhouse/internal/options"
	"stillhouse/internal/student"
)

// What an update's sum of losses is divided by.
const (
	shifted    = "shifted"     // the labels of the window that are predicted: transformers from 5.10 on
	unshifted  = "unshifted"   // also the labels of rows' first tokens, which nothing predicts: transformers 4.46 to 5.9
	microBatch = "micro_batch" // the mean of the micro-batches' means: transformers before 4.46
)

// Where the end-of-sequence token is appended.
const (
	eosText = "text" // to rows of plain strings, unless they end with it: TRL from 0.17 on
	eosIDs  = "ids"  // to the ids of every row, conversations too, unless they end with it: TRL 0.16
	eosNone = "none" // nowhere: TRL before
)

// A meaning is what the keys that have changed from one release of TRL to another are by default.
type meaning struct {
	count     string
	maskPad   bool
	appendEOS string
	whole     bool // rows with a prompt are trained whole: there was no completion_only_loss
}

// meanings are those of compat: by the first release of TRL with it, and the transformers of its time. The goldens of
// testdata/parity/compat hold each.
var meanings = map[string]meaning{
	"trl-1":    {shifted, false, eosText, false},
	"trl-0.17": {unshifted, false, eosText, false}, // 0.17 and on, with transformers up to 5.9
	"trl-0.16": {unshifted, false, eosIDs, true},   // 0.16
	"trl-0.13": {unshifted, true, eosNone, true},   // 0.13 to 0.15, with transformers from 4.46 on
	"trl-0.9":  {microBatch, true, eosNone, true},  // 0.9 to 0.11, with transformers up to 4.45
}

var compats = []string{"trl-1", "trl-0.17", "trl-0.16", "trl-0.13", "trl-0.9"}

// ensureMeaning fills in what compat decides.
func (o *Options) ensureMeaning() {
	ensure(&o.Compat, "trl-1")
	m := meanings[o.Compat]
	ensure(&o.NumItemsInBatch, m.count)
	point(&o.MaskPadToken, m.maskPad)
	ensure(&o.AppendEOS, m.appendEOS)
	if m.whole {
		point(&o.CompletionOnlyLoss, false)
	}
}

// validateMeaning names a switch whose value cannot be used with the others.
func (o Options) validateMeaning() error {
	if o.NumItemsInBatch == microBatch && o.Packing {
		return options.Wrongf("num_items_in_batch", "is %s with packing, which the releases that divided so did otherwise: leave packing out", microBatch)
	}
	return nil
}

// maskPadding takes the padding token out of the labels, wherever it stands: DataCollatorForLanguageModeling, which TRL
// used before 0.16, knew padding by its id. Where the end-of-sequence token is the padding token too, the end of a turn
// is not trained.
func (o Options) maskPadding(labels []int32, tok *chat.Tokenizer) {
	if !*o.MaskPadToken {
		return
	}
	pad := tok.PAD()
	if id, ok := tok.ID(o.PadToken); ok && o.PadToken != "" {
		pad = id
	}
	for i, l := range labels {
		if l == pad {
			labels[i] = student.Ignored
		}
	}
}

// end is ids with the end-of-sequence token behind them where that is appended to ids.
func (e *Encoder) end(ids []int32) []int32 {
	if e.o.AppendEOS == eosIDs && (len(ids) == 0 || ids[len(ids)-1] != e.eosID) {
		return append(slices.Clone(ids), e.eosID)
	}
	return ids
}

// leavesEndsOut reports whether a switch may have taken the ends of turns out of what is trained.
func (o Options) leavesEndsOut() bool { return *o.MaskPadToken || o.AppendEOS == eosNone }

// A share is a part of a window whose losses are divided by the same number.
type share struct {
	Window
	first   int     // the place of its first micro-batch in the window
	divisor float64 // 0 where nothing is trained
}

// shares are the parts of a window: one, or one for each micro-batch where every one has a mean of its own.
func (o Options) shares(w Window, examples []Example) (out []share) {
	if o.NumItemsInBatch != microBatch {
		n := w.labels(examples)
		if o.NumItemsInBatch == unshifted {
			for _, r := range w.rows() {
				if l := examples[r].Labels; len(l) > 0 && l[0] != student.Ignored {
					n++
				}
			}
		}
		return []share{{w, 0, float64(n)}}
	}
	for b := range w.Batches {
		one := w
		one.Batches = slices.Clone(w.Batches[b : b+1])
		out = append(out, share{one, b, float64(one.labels(examples) * o.GradientAccumulationSteps)})
	}
	return out
}
