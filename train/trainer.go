package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"stillhouse"
	"stillhouse/internal/kernel"
	"stillhouse/internal/machine"
	"stillhouse/internal/student"
)

// A Result is what became of a training.
type Result struct {
	Steps         int     `json:"steps"`
	Tokens        int64   `json:"tokens"`         // seen, all epochs together
	TrainedTokens int64   `json:"trained_tokens"` // of them labels
	TokensPerS    float64 `json:"tokens_per_s"`
	Seconds       float64 `json:"seconds"`
	LossFirst     float64 `json:"loss_first"`          // of the first line of the log, of the first update when there is no line
	LossLast      float64 `json:"loss_last"`           // of the last line, or of the last update
	LossMean      float64 `json:"loss_mean"`           // of all updates: what TRL calls train_loss
	Best          int     `json:"best_step,omitempty"` // whose weights the student has, where it is not the last
	Rows          int     `json:"rows"`                // trained on
	Truncated     int     `json:"truncated"`           // rows that were cut to max_length
	Cut           int64   `json:"cut"`                 // tokens that were cut off
	Times         Times   `json:"times,omitzero"`      // of this process; Seconds is that of updates, evaluations and checkpoints
}

// Hooks are called while a training goes on, from its goroutine. All may be nil.
type Hooks struct {
	Plan     func(Plan)           // before the first update
	Forecast func(Forecast)       // before that; it costs a second of measuring, so it is not made when nobody asks
	Step     func(Line) error     // after each update; Loss is that update's own, and the means are its own
	Line     func(Line) error     // every logging_steps
	Eval     func(EvalLine) error // after each evaluation
	Now      func() time.Time     // the clock, by default the machine's

	GEMM   float64                       // the machine's rate of bare products in GFLOP/s, for the log; 0 leaves it out
	Memory func() (resident, peak int64) // what the process holds, in bytes, by default as the kernel says
}

func (h *Hooks) ensureDefaults() {
	if h.Plan == nil {
		h.Plan = func(Plan) {}
	}
	if h.Step == nil {
		h.Step = func(Line) error { return nil }
	}
	if h.Line == nil {
		h.Line = func(Line) error { return nil }
	}
	if h.Eval == nil {
		h.Eval = func(EvalLine) error { return nil }
	}
	if h.Now == nil {
		h.Now = time.Now
	}
	if h.Memory == nil {
		h.Memory = func() (resident, peak int64) { return machine.Resident(), machine.Peak() }
	}
}

// A Training is what [Training.Fit] needs.
type Training struct {
	Options Options
	Model   *student.Model
	Rows    []Example // as they were encoded; they are packed where the options say so
	Eval    []Example // rows to evaluate on, encoded by the options of the evaluation
	Hooks   Hooks

	Checkpoints *Checkpoints // nil writes none
	From        *Resume      // the checkpoint to go on from; nil begins

	dir   string       // that the student is written to; "" is none
	asked int          // questions before and after
	bound bool         // the rows are longer than those that will come: no memory is refused
	size  int          // tokens of a pass at most, which no row exceeds; 0 chooses
	free  func() int64 // memory that may be taken, in bytes; nil asks the machine
}

// Fit trains a model on rows: see [Training.Fit].
func Fit(ctx context.Context, o Options, m *student.Model, examples []Example, hooks Hooks) (Result, error) {
	return Training{Options: o, Model: m, Rows: examples, Hooks: hooks}.Fit(ctx)
}

// Fit is supervised fine-tuning as TRL 1.16's SFTTrainer does it, in float32. The model's parameters change in place.
//
// An update's loss is the sum of the cross-entropies of its window's labels, divided by their number. When the context
// ends, Fit returns its error after the update that was under way, and after a checkpoint. A loss that is not a number
// ends the training with an error that names the rows.
func (g Training) Fit(ctx context.Context) (Result, error) {
	defer kernel.SetDeterministic(kernel.SetDeterministic(g.Options.Deterministic))
	t, err := g.start()
	if err != nil {
		return Result{}, err
	}
	defer t.graph.Close()
	defer tame(t.footprint.Sum())()
	if err := t.resume(g.From); err != nil {
		return Result{}, err
	}
	t.hooks.Plan(t.plan)
	if g.Options.EvalOnStart && t.Result.Steps == 0 {
		if _, _, err := t.evaluate(Window{}); err != nil {
			return t.finish(), fmt.Errorf("train: before step 1: %w", err)
		}
	}
	for w := range t.plan.Windows() {
		if w.Update <= t.Result.Steps {
			continue
		}
		if ctx.Err() != nil {
			return t.finish(), t.stopped(ctx)
		}
		stop, err := t.step(w)
		if err != nil {
			return t.finish(), fmt.Errorf("train: step %d: %w", w.Update, err)
		}
		if stop {
			break
		}
	}
	if err := t.takeBest(); err != nil {
		return t.finish(), fmt.Errorf("train: %w", err)
	}
	return t.finish(), nil
}

// start makes the trainer of a training.
func (g Training) start() (*trainer, error) {
	o := g.Options
	g.Hooks.ensureDefaults()
	rows, eval, plan, size, err := g.layout()
	if err != nil {
		return nil, err
	}
	if o.evaluates() && len(eval) == 0 {
		return nil, stillhouse.Invalidf("train: eval_strategy is %s, but there are no rows to evaluate on: name them with eval_data, or hold out a share with eval_split", o.EvalStrategy)
	}
	if o.evaluates() && o.DataloaderDropLast && len(eval) < o.PerDeviceEvalBatchSize {
		return nil, stillhouse.Invalidf("train: %d rows to evaluate on do not fill one micro-batch of %d and dataloader_drop_last is true: take a smaller per_device_eval_batch_size, or more rows",
			len(eval), o.PerDeviceEvalBatchSize)
	}
	if o.LoadBestModelAtEnd && g.Checkpoints == nil {
		return nil, stillhouse.Invalidf("train: load_best_model_at_end needs a place for checkpoints")
	}
	forecast, err := g.Forecast(true)
	if err != nil {
		return nil, err
	}
	if g.Hooks.Forecast != nil {
		if err := g.Pace(&forecast); err != nil {
			return nil, err
		}
		g.Hooks.Forecast(forecast)
	}
	graph, err := student.NewGraph(g.Model, size)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	graph.UseDFT(o.LossType == "dft")
	params := graph.Trainable()
	t := &trainer{
		options: o, graph: graph, params: params, examples: rows, eval: eval, size: size, hooks: g.Hooks, checkpoints: g.Checkpoints,
		lines: o.lines(plan.Updates), evaluations: o.evaluations(plan.Updates), saves: o.saves(plan.Updates),
		schedule: o.Schedule(plan.Updates), optimiser: NewAdamW(o, params), plan: plan,
		footprint: forecast.footprint, work: newWork(g.Model, params), began: g.Hooks.Now(), state: state{Result: Result{Rows: len(g.Rows)}},
	}
	t.Tally.since = t.began
	for _, e := range rows {
		if e.Cut > 0 {
			t.Result.Truncated++
			t.Result.Cut += int64(e.Cut)
		}
	}
	return t, nil
}

// A trainer is a training at work.
type trainer struct {
	state
	options     Options
	footprint   student.Footprint
	graph       *student.Graph
	params      []*student.Param // that are trained, as the graph's gradients are in order
	optimiser   *AdamW
	schedule    Schedule
	plan        Plan
	examples    []Example
	eval        []Example
	size        int // tokens of a pass at most
	hooks       Hooks
	checkpoints *Checkpoints
	saved       int   // the step of the last checkpoint
	took        Times // evaluations and checkpoints
	lines       interval
	evaluations interval
	saves       interval
	began       time.Time
	work        work
}

// step makes one update, and evaluates and saves when it is time. It says whether the training ends here.
func (t *trainer) step(w Window) (stop bool, err error) {
	if err := t.update(w); err != nil {
		return false, err
	}
	save, needed := t.saves.due(w) || t.asked(), false
	if t.options.evaluatesAfter(t.evaluations, w, t.plan.Updates) {
		better, enough, err := t.evaluate(w)
		if err != nil {
			return false, err
		}
		needed = better && t.options.LoadBestModelAtEnd
		save = save || needed || better && t.saves.strategy == "best"
		if stop = enough; stop {
			t.checkpoints.say("stopped early after step %d: no evaluation since that of step %d was better", w.Update, t.Best.Step)
		}
	}
	if !save || w.Update == t.plan.Updates { // after the last one the student itself is written
		return stop, nil
	}
	// A checkpoint that cannot be written does not end the training, unless its result depends on it: what is in memory
	// is worth more than what would be left, and the next one may find room.
	if err := t.save(); err != nil {
		if needed {
			return false, err
		}
		t.checkpoints.say("warning: %v; %s, and the training goes on", err, t.older())
	}
	return stop, nil
}

// update makes one update and logs it.
func (t *trainer) update(w Window) error {
	labels := w.labels(t.examples)
	own := tally{Updates: 1, since: t.hooks.Now()}
	stats, tokens, loss, err := t.gradients(w)
	if err != nil {
		return err
	}
	own.Tokens, own.Labels, own.Loss = tokens, int64(labels), loss
	for _, s := range stats {
		own.add(s)
	}
	norm := Norm(t.graph.Gradients())
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return stillhouse.Invalidf("the gradients are not finite (norm %v) after the rows %s: lower learning_rate", norm, t.names(w.rows()))
	}
	if err := t.guard(w, norm); err != nil {
		return errors.Join(err, t.save())
	}
	for _, s := range stats {
		t.Tally.add(s)
	}
	line := Line{Step: w.Update, Epoch: w.Epoch, GradNorm: norm, LearningRate: t.schedule.At(w.Update - 1), Steps: t.plan.Updates}
	t.optimiser.Update(t.graph.Gradients(), norm, line.LearningRate)

	t.Tally.Updates++
	t.Tally.Loss += own.Loss
	t.Tally.Tokens += tokens
	t.Tally.Labels += own.Labels
	t.Epoch = w.Epoch
	t.Result.add(w.Update, own.Loss, tokens, labels, t.Logged)
	return t.log(w, line, own)
}

// log reports an update, and writes a line when it is time for one.
func (t *trainer) log(w Window, line Line, own tally) error {
	now := t.hooks.Now()
	line.NumTokens, line.NumTrainedTokens = t.Result.Tokens, t.Result.TrainedTokens
	line.Left = time.Duration(float64(now.Sub(t.began)) / float64(line.Step) * float64(line.Steps-line.Step))
	own.line(&line)
	line.TokensPerS = rate(t.Result.Tokens, now.Sub(t.began))
	if err := t.hooks.Step(line); err != nil {
		return err
	}
	if !t.lines.due(w) && !(t.options.LoggingFirstStep && line.Step == 1) {
		return nil
	}
	t.Tally.line(&line)
	line.Pace = t.pace(t.Tally, now)
	if !t.Logged {
		t.Result.LossFirst = line.Loss
	}
	t.Logged = true
	t.Result.LossLast = line.Loss
	t.Tally = tally{since: now}
	return t.hooks.Line(line)
}

// gradients leaves the gradient of the window's loss in the graph. It returns the sums over each micro-batch, the number
// of tokens, and the loss.
func (t *trainer) gradients(w Window) (stats []student.Stats, tokens int64, loss float64, err error) {
	t.graph.ZeroGradients()
	stats = make([]student.Stats, len(w.Batches))
	n := 0 // passes
	for _, part := range t.options.shares(w, t.examples) {
		scale := 1 / max(1, part.divisor)
		for _, p := range passes(part.Window, t.examples, t.size) {
			t.graph.Seed(uint64(*t.options.Seed)<<32 ^ uint64(w.Update)<<12 ^ uint64(n)) // of dropout: the same however the training got here
			n++
			rows, err := t.graph.AccumulateRows(p.batch, scale)
			if err != nil {
				return nil, 0, 0, fmt.Errorf("rows %s: %w", t.names(p.rows), err)
			}
			var bad []int
			for i, s := range rows {
				if math.IsNaN(s.Loss) || math.IsInf(s.Loss, 0) {
					bad = append(bad, p.rows[i])
				}
				loss += s.Loss * scale
				stats[part.first+p.of[i]].Add(s)
			}
			if bad != nil {
				return nil, 0, 0, stillhouse.Invalidf("the loss of %s is not a number: lower learning_rate, or look at these rows", t.names(bad))
			}
			tokens += int64(len(p.batch.Tokens))
		}
	}
	return stats, tokens, loss, nil
}

// rows are all rows of a window.
func (w Window) rows() (all []int) {
	for _, b := range w.Batches {
		all = append(all, b...)
	}
	return all
}

// names are the names of rows, the first few.
func (t *trainer) names(rows []int) string {
	const most = 8
	var out []string
	for _, r := range rows[:min(most, len(rows))] {
		out = append(out, t.examples[r].Row)
	}
	text := strings.Join(out, ", ")
	if more := len(rows) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// add takes in an update.
func (r *Result) add(step int, loss float64, tokens int64, labels int, logged bool) {
	r.Steps = step
	r.Tokens += tokens
	r.TrainedTokens += int64(labels)
	r.LossMean += (loss - r.LossMean) / float64(step)
	if step == 1 {
		r.LossFirst = loss
	}
	if !logged {
		r.LossLast = loss
	}
}

// finish is the result so far.
func (t *trainer) finish() Result {
	took := t.hooks.Now().Sub(t.began)
	r := t.Result
	r.Seconds = took.Seconds()
	r.Times = t.took
	r.Times.Updates = r.Seconds - t.took.Evaluations - t.took.Checkpoints
	r.TokensPerS = rate(r.Tokens, took)
	return r
}
