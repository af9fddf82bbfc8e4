package train

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"stillhouse"
	"stillhouse/internal/student"
)

// An EvalLine is the line of log.jsonl that an evaluation writes, with transformers' names. The loss is the mean over the
// rows of the mean loss of the micro-batch that a row is in (Trainer.evaluation_loop); the other means are over the
// micro-batches, whatever their size.
type EvalLine struct {
	Step              int     `json:"step"`
	Epoch             float64 `json:"epoch"`
	Loss              float64 `json:"eval_loss"`
	MeanTokenAccuracy float64 `json:"eval_mean_token_accuracy"`
	Entropy           float64 `json:"eval_entropy"`
	NumTokens         int64   `json:"eval_num_tokens"` // that the student was trained on so far
	Runtime           float64 `json:"eval_runtime"`    // seconds
	SamplesPerS       float64 `json:"eval_samples_per_second"`
	StepsPerS         float64 `json:"eval_steps_per_second"`
}

// String is the line for people.
func (l EvalLine) String() string {
	return fmt.Sprintf("evaluation at step %d  loss %.4f  accuracy %.1f %%  entropy %.3f  %.1f s", l.Step, l.Loss, 100*l.MeanTokenAccuracy, l.Entropy, l.Runtime)
}

// evaluatesAfter reports whether the student is evaluated after a window's update: with steps also after the last one,
// as in transformers (DefaultFlowCallback).
func (o Options) evaluatesAfter(evaluations interval, w Window, updates int) bool {
	at := float64(w.Update)
	if evaluations.strategy == "epoch" {
		at = w.Epoch
	}
	last := evaluations.strategy == "steps" && w.Update == updates
	return (evaluations.due(w) || last) && o.EvalDelay <= at
}

// evaluatedTogether is how many micro-batches of evaluation are computed together where they are short.
const evaluatedTogether = 64

// evaluate computes the student's loss on the rows of evaluation, and reports and judges it. Its time counts for no
// line's pace.
func (t *trainer) evaluate(w Window) (better, stop bool, err error) {
	began := t.hooks.Now()
	line := EvalLine{Step: w.Update, Epoch: w.Epoch, NumTokens: t.Result.Tokens}
	o := t.options.evaluation()
	o.GradientAccumulationSteps = evaluatedTogether
	plan, err := o.Plan(len(t.eval))
	if err != nil {
		return false, false, err
	}
	var found tally
	rows := 0
	for window := range plan.Windows() {
		stats, err := t.measure(window)
		if err != nil {
			return false, false, fmt.Errorf("evaluation: %w", err)
		}
		for i, s := range stats {
			n := len(window.Batches[i])
			rows += n
			found.Loss += float64(n) * s.Loss / float64(max(1, s.Labels))
			found.add(s)
		}
	}
	now := t.hooks.Now()
	took := now.Sub(began)
	line.Loss, line.MeanTokenAccuracy, line.Entropy = found.Loss/float64(rows), found.Accuracies/float64(found.Batches), found.Entropies/float64(found.Batches)
	line.Runtime = took.Seconds()
	line.SamplesPerS, line.StepsPerS = perSecond(len(t.eval), took), perSecond(found.Batches, took)
	t.Tally.since = t.Tally.since.Add(took)
	t.took.Evaluations += took.Seconds()
	better, stop = t.judge(line)
	return better, stop, t.hooks.Eval(line)
}

// measure gives the sums over each micro-batch of a window, without gradients.
func (t *trainer) measure(w Window) ([]student.Stats, error) {
	stats := make([]student.Stats, len(w.Batches))
	for _, p := range passes(w, t.eval, t.size) {
		found, err := t.graph.EvaluateRows(p.batch)
		if err != nil {
			return nil, err
		}
		for i, s := range found {
			if math.IsNaN(s.Loss) || math.IsInf(s.Loss, 0) {
				return nil, stillhouse.Invalidf("the loss of %s is not a number: lower learning_rate, or look at this row", t.eval[p.rows[i]].Row)
			}
			stats[p.of[i]].Add(s)
		}
	}
	return stats, nil
}

func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return math.Round(1000*float64(n)/d.Seconds()) / 1000
}

// HoldOut takes a share of the rows out to evaluate on: whole prompts, so that the student is never trained on another
// answer to a prompt that it is measured by, at least one and never all. A prompt is what stands before a row's first
// trained token, a row without such a part is its own. seed draws them.
func HoldOut(rows []Example, share float64, seed int64) (train, eval []Example, err error) {
	place := map[string]int{} // of each prompt, in the order in which they come
	of := make([]int, len(rows))
	for i, r := range rows {
		head := r.Tokens
		if n := slices.IndexFunc(r.Labels, func(l int32) bool { return l != student.Ignored }); n > 0 {
			head = r.Tokens[:n]
		}
		key := fmt.Sprint(head)
		if _, ok := place[key]; !ok {
			place[key] = len(place)
		}
		of[i] = place[key]
	}
	if len(place) < 2 {
		return nil, nil, stillhouse.Invalidf("train: eval_split: the rows are of %d prompt: none can be held out; take more rows, or leave eval_split out", len(place))
	}
	n := min(len(place)-1, max(1, int(math.Round(share*float64(len(place))))))
	held := make([]bool, len(place))
	for _, p := range Order(len(place), seed, 0)[:n] {
		held[p] = true
	}
	for i, r := range rows {
		if held[of[i]] {
			eval = append(eval, r)
		} else {
			train = append(train, r)
		}
	}
	return train, eval, nil
}

// sides are the rows to train on and those to evaluate on: of eval_data, or held out.
func (s *Student) sides(ctx context.Context, rows []Example) (train, eval []Example, err error) {
	o := s.Options
	switch {
	case !o.evaluates():
		return rows, nil, nil
	case o.EvalSplit > 0:
		return HoldOut(rows, o.EvalSplit, o.dataSeed())
	}
	list, err := o.ReadEval(ctx)
	if err != nil {
		return nil, nil, err
	}
	enc, err := NewEncoder(o.evaluation(), s.Tokenizer)
	if err != nil {
		return nil, nil, err
	}
	if eval, _, err = enc.EncodeRows(ctx, list); err != nil {
		return nil, nil, fmt.Errorf("train.eval_data.path: %w", err)
	}
	return rows, eval, nil
}

// ReadEval reads the rows of eval_data; none when there are none.
func (o Options) ReadEval(ctx context.Context) ([]Row, error) {
	if o.EvalData.Path == "" {
		return nil, nil
	}
	list, err := ReadRows(ctx, o.EvalData, o.DatasetTextField)
	if err != nil {
		return nil, fmt.Errorf("train.eval_data.path: %w", err)
	}
	return list, nil
}
