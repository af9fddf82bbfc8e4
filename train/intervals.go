package train

import (
	"math"
	"strings"

	"stillhouse/internal/options"
)

// An interval says after which updates something is done.
type interval struct {
	strategy string // no, steps or epoch
	every    int    // updates, with steps
}

// due reports whether it is time after a window's update. An epoch ends with its last window, or with the training.
func (i interval) due(w Window) bool {
	switch i.strategy {
	case "steps":
		return w.Update%i.every == 0
	case "epoch":
		return w.Last
	}
	return false
}

// steps are a number of updates, given as one or, below 1, as a share of all updates.
func steps(n float64, updates int) int {
	if n < 1 {
		return max(1, int(math.Ceil(float64(updates)*n)))
	}
	return int(n)
}

// lines are the updates after which a line is logged.
func (o Options) lines(updates int) interval {
	return interval{o.LoggingStrategy, steps(o.LoggingSteps, updates)}
}

// evaluations are the updates after which the student is evaluated, before eval_delay is looked at.
func (o Options) evaluations(updates int) interval {
	return interval{o.EvalStrategy, steps(o.EvalSteps, updates)}
}

// saves are the updates after which a checkpoint is written.
func (o Options) saves(updates int) interval {
	return interval{o.SaveStrategy, steps(o.SaveSteps, updates)}
}

// evaluates reports whether there is anything to evaluate.
func (o Options) evaluates() bool { return o.EvalStrategy != "no" || o.EvalOnStart }

// ensureIntervals fills in the defaults of what is done in between, those of TrainingArguments and SFTConfig.
func (o *Options) ensureIntervals() {
	ensure(&o.PackingStrategy, "bfd")
	if o.PackingStrategy == "bfd-requeue" { // its name before TRL 1.0
		o.PackingStrategy = "bfd_split"
	}
	ensure(&o.LossType, "nll")
	ensure(&o.LoggingStrategy, "steps")
	ensure(&o.EvalStrategy, "no")
	if o.EvalStrategy == "steps" {
		ensure(&o.EvalSteps, o.LoggingSteps)
	}
	ensure(&o.PerDeviceEvalBatchSize, 8)
	ensure(&o.SaveStrategy, "steps")
	ensure(&o.SaveSteps, 500)
	point(&o.SaveTotalLimit, 1)
	o.MetricForBestModel = strings.TrimPrefix(o.MetricForBestModel, "eval_")
	ensure(&o.MetricForBestModel, "loss")
	point(&o.GreaterIsBetter, o.MetricForBestModel != "loss")
}

// validateIntervals names the first key whose value does not go with another's.
func (o Options) validateIntervals() error {
	switch {
	case o.Packing && *o.MaxLength == 0:
		return options.Wrongf("packing", "is true, but max_length is null: max_length is the length of a pack, set it")
	case o.evaluates() && o.evaluation().Packing && *o.MaxLength == 0:
		return options.Wrongf("eval_packing", "is true, but max_length is null: max_length is the length of a pack, set it")
	case o.evaluates() && o.EvalData.Path == "" && o.EvalSplit == 0:
		key, value := "eval_strategy", o.EvalStrategy
		if value == "no" {
			key, value = "eval_on_start", "true"
		}
		return options.Wrongf(key, "is %s, but there are no rows to evaluate on: name them with eval_data: {path: rows.jsonl}, or hold out a share with eval_split", value)
	case o.EvalStrategy == "no" && (o.LoadBestModelAtEnd || o.SaveStrategy == "best" || o.EarlyStoppingPatience > 0):
		key := map[bool]string{true: "load_best_model_at_end", false: "early_stopping_patience"}[o.LoadBestModelAtEnd]
		if o.SaveStrategy == "best" {
			key = "save_strategy"
		}
		return options.Wrongf(key, "needs evaluations, but eval_strategy is no: set it to steps or epoch")
	case o.EvalData.Path != "" && o.EvalSplit > 0:
		return options.Wrongf("eval_split", "is %v, but eval_data names the rows to evaluate on: take one of the two out", o.EvalSplit)
	}
	return nil
}

// evaluation are the options by which the rows of evaluation are encoded, packed and put into micro-batches.
func (o Options) evaluation() Options {
	if o.EvalPacking != nil {
		o.Packing = *o.EvalPacking
	}
	o.PerDeviceTrainBatchSize, o.GradientAccumulationSteps = o.PerDeviceEvalBatchSize, 1
	o.TrainSamplingStrategy, o.NumTrainEpochs, o.MaxSteps = "sequential", 1, -1
	return o
}

// packEval packs the rows of evaluation. With eval_packing alone the rows of a pack see each other, as in TRL, whose
// collator looks at packing only.
func (o Options) packEval(rows []Example) []Example {
	packs := o.evaluation().Pack(rows)
	if !o.Packing && !o.PaddingFree {
		for i := range packs {
			packs[i].Documents = nil
		}
	}
	return packs
}
