package train

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"stillhouse"
	"stillhouse/internal/hub"
	"stillhouse/internal/machine"
	"stillhouse/internal/options"
	"stillhouse/internal/student"
)

// A Forecast is what a training will do and take, said before it begins.
type Forecast struct {
	Rows          int   `json:"rows"` // trained on, before they are packed
	Updates       int   `json:"steps"`
	Tokens        int64 `json:"tokens"`         // of all updates
	TrainedTokens int64 `json:"trained_tokens"` // of them labels
	Longest       int   `json:"longest_row"`    // tokens
	Truncated     int   `json:"truncated"`      // rows cut to max_length
	Cut           int64 `json:"cut"`            // tokens cut off
	Dropped       int64 `json:"dropped"`        // rows that train nothing
	PassTokens    int   `json:"pass_tokens"`    // computed at once at most

	PeakMiB        int64 `json:"peak_mib"` // of the whole process
	ModelMiB       int64 `json:"model_mib"`
	GradientsMiB   int64 `json:"gradients_mib"`
	OptimiserMiB   int64 `json:"optimiser_mib"`
	ActivationsMiB int64 `json:"activations_mib"`
	AvailableMiB   int64 `json:"available_mib"` // for all of these, 0 when it is not known

	Seconds float64 `json:"seconds"`     // of the updates, 0 when it was not measured
	GEMM    float64 `json:"gemm_gflops"` // of a bare product on this machine

	footprint student.Footprint
	passes    int64
}

// garbage is what a training leaves lying before it is collected, in bytes; see tame.
const garbage = 64 << 20

// tame lets the collector run when about [garbage] lies beside live bytes: as a rule it waits for as much garbage as there
// is live memory, which would double what a training holds. It returns what undoes it.
func tame(live int64) (undo func()) {
	before := debug.SetGCPercent(int(min(100, max(1, 100*garbage/max(1, live)))))
	return func() { debug.SetGCPercent(before) }
}

// layout is what a training computes: its rows as they are packed, the plan of its updates and the size of its passes.
func (g Training) layout() (rows, eval []Example, plan Plan, size int, err error) {
	o := g.Options
	rows, eval = o.Pack(g.Rows), o.evaluation().Pack(g.Eval)
	if plan, err = o.Plan(len(rows)); err != nil {
		return
	}
	size = max(g.size, capacity(o, rows), capacity(o.evaluation(), eval))
	if g.size > 0 {
		size = max(g.size, longest(rows), longest(eval))
	}
	return
}

// Forecast says what a training will do and how much memory it will take. The parameters of its model need no data.
// resident says that the model is in memory already.
func (g Training) Forecast(resident bool) (f Forecast, err error) {
	rows, eval, plan, size, err := g.layout()
	if err != nil {
		return f, err
	}
	f = Forecast{Rows: len(g.Rows), Updates: plan.Updates, Longest: longest(rows), PassTokens: size}
	for _, e := range g.Rows {
		if e.Cut > 0 {
			f.Truncated++
			f.Cut += int64(e.Cut)
		}
	}
	f.count(plan, rows, size)
	if f.footprint, err = student.Measure(g.Model, size, max(f.Longest, longest(eval))); err != nil {
		return f, fmt.Errorf("train: %w", err)
	}
	p := f.footprint
	mib := func(n int64) int64 { return (n + 1<<19) >> 20 }
	f.ModelMiB, f.GradientsMiB, f.OptimiserMiB, f.ActivationsMiB = mib(p.Parameters), mib(p.Gradients), mib(p.Optimiser), mib(p.Activations)
	held, more := machine.Resident(), p.Sum()
	if resident {
		more -= p.Parameters
	}
	f.PeakMiB = mib(held + more + garbage)
	if g.free == nil {
		g.free = machine.Available
	}
	if free := g.free(); free > 0 {
		f.AvailableMiB = mib(free)
		if more > free {
			return f, f.refusal(mib(more))
		}
	}
	return f, nil
}

// count counts the tokens of all updates. Epochs after the first few are taken to be like these.
func (f *Forecast) count(plan Plan, rows []Example, size int) {
	trained := make([]int64, len(rows))
	for i, e := range rows {
		trained[i] = int64(e.Trained())
	}
	const most = 1 << 24 // rows that are looked at
	seen, updates := 0, 0
	for w := range plan.Windows() {
		if seen > most && updates%plan.UpdatesPerEpoch == 0 {
			break
		}
		room := 0
		for _, batch := range w.Batches {
			for _, r := range batch {
				n := len(rows[r].Tokens)
				if room -= n; room < 0 {
					f.passes++
					room = size - n
				}
				f.Tokens += int64(n)
				f.TrainedTokens += trained[r]
				seen++
			}
		}
		updates++
	}
	if updates > 0 && updates < plan.Updates {
		scale := func(n int64) int64 { return int64(float64(n) * float64(plan.Updates) / float64(updates)) }
		f.Tokens, f.TrainedTokens, f.passes = scale(f.Tokens), scale(f.TrainedTokens), scale(f.passes)
	}
}

// refusal says what to do when the memory will not be there.
func (f Forecast) refusal(more int64) error {
	return stillhouse.Invalidf("the training needs %d MiB of memory beside what is held, and %d MiB are there (model %d, gradients %d, optimiser %d, activations of %d tokens at once %d): "+
		"%stake a smaller student, or free memory", more, f.AvailableMiB, f.ModelMiB, f.GradientsMiB, f.OptimiserMiB, f.PassTokens, f.ActivationsMiB, f.smaller())
}

// smaller is what would make a training smaller.
func (f Forecast) smaller() (text string) {
	if f.ActivationsMiB > f.GradientsMiB+f.OptimiserMiB || f.PassTokens > passTokens {
		text = fmt.Sprintf("lower max_length (the longest row has %d tokens) or per_device_train_batch_size × gradient_accumulation_steps, ", f.Longest)
	}
	if f.GradientsMiB*2 > f.ModelMiB {
		text += "train an adapter (train.peft), "
	}
	return text
}

// Pace measures for about a second how fast the machine trains the model, and fills in the time.
func (g Training) Pace(f *Forecast) error {
	rows, _, _, size, err := g.layout()
	if err != nil {
		return err
	}
	// The usual row, as attention sees it: the mean over tokens.
	var squares, tokens float64
	for _, e := range rows {
		for _, n := range e.documents() {
			squares += float64(n) * float64(n)
			tokens += float64(n)
		}
	}
	length := int(squares / max(1, tokens))
	labels := int(float64(length) * float64(f.TrainedTokens) / float64(max(1, f.Tokens)))
	pace, err := student.MeasurePace(g.Model, size, length, labels)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	f.Seconds = pace.Seconds(f.Tokens, f.TrainedTokens, f.passes, int64(f.Updates), f.footprint.Gradients/4)
	f.GEMM = machine.GEMMRate()
	return nil
}

// blank is the adapter of a training, with or without its weights: to measure with.
func (p PEFT) blank(m *student.Model) (*student.Adapter, error) {
	if p.InitAdapter != "" {
		return student.LoadAdapter(p.InitAdapter)
	}
	c, err := p.config(student.AdapterConfig{TargetModules: defaultTargets})
	if err != nil {
		return nil, err
	}
	return student.BlankAdapter(c, m)
}

// PlanTraining says what [Run] would do with these options, without loading the model's weights.
func PlanTraining(ctx context.Context, o Options, progress func(file string, done, total int64)) (f Forecast, err error) {
	o.EnsureDefaults()
	if err := options.Under("train", o.Validate()); err != nil {
		return f, err
	}
	list, err := o.ReadRows(ctx)
	if err != nil {
		return f, err
	}
	dir, err := hub.Resolve(ctx, o.Student, hub.Options{Progress: progress})
	if err != nil {
		return f, fmt.Errorf("student: %w", err)
	}
	c, err := student.ReadConfig(dir)
	if err != nil {
		return f, fmt.Errorf("student: %w", err)
	}
	s := &Student{Dir: dir, Options: o, Model: &student.Model{Config: c, Params: student.Layout(c)}}
	if o.PEFT != nil {
		if s.Model.Adapter, err = o.PEFT.blank(s.Model); err != nil {
			return f, fmt.Errorf("peft: %w", err)
		}
	}
	if s.Tokenizer, err = LoadTokenizer(dir, o); err != nil {
		return f, fmt.Errorf("student: %w", err)
	}
	defer s.Tokenizer.Close()
	enc, err := NewEncoder(o, s.Tokenizer)
	if err != nil {
		return f, err
	}
	examples, account, err := enc.EncodeRows(ctx, list)
	if err != nil {
		return f, err
	}
	rows, eval, err := s.sides(ctx, examples)
	if err != nil {
		return f, err
	}
	g := Training{Options: o, Model: s.Model, Rows: rows, Eval: eval}
	debug.FreeOSMemory()
	if f, err = g.Forecast(false); err != nil {
		return f, err
	}
	for _, n := range account.Dropped {
		f.Dropped += n
	}
	return f, g.Pace(&f)
}

// WriteText writes a forecast for people.
func (f Forecast) WriteText(w io.Writer) error {
	_, err := fmt.Fprintln(w, f.String())
	return err
}

// String is the forecast in one line.
func (f Forecast) String() string {
	text := fmt.Sprintf("%d updates on %d rows: %d tokens, %d of them trained; the longest row has %d", f.Updates, f.Rows, f.Tokens, f.TrainedTokens, f.Longest)
	if f.Truncated > 0 {
		text += fmt.Sprintf("; %d rows cut to max_length, %d tokens in all", f.Truncated, f.Cut)
	}
	if f.Dropped > 0 {
		text += fmt.Sprintf("; %d rows dropped, as nothing of them is trained", f.Dropped)
	}
	text += fmt.Sprintf("; memory %d MiB at most (model %d, gradients %d, optimiser %d, activations %d)", f.PeakMiB, f.ModelMiB, f.GradientsMiB, f.OptimiserMiB, f.ActivationsMiB)
	if f.Seconds > 0 {
		text += fmt.Sprintf("; about %s at %.0f GFLOP/s", time.Duration(f.Seconds*float64(time.Second)).Round(roundTo(f.Seconds)), f.GEMM)
	}
	return text
}

// roundTo is how exact a time is told.
func roundTo(seconds float64) time.Duration {
	switch {
	case seconds > 600:
		return time.Minute
	case seconds > 10:
		return time.Second
	}
	return time.Second / 10
}
