package train

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"stillhouse"
	"stillhouse/internal/machine"
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
	Evaluations   int   `json:"evaluations"`
	Checkpoints   int   `json:"checkpoints"` // written before the last update

	PeakMiB        int64 `json:"peak_mib"` // of the whole process
	ModelMiB       int64 `json:"model_mib"`
	GradientsMiB   int64 `json:"gradients_mib"`
	OptimiserMiB   int64 `json:"optimiser_mib"`
	ActivationsMiB int64 `json:"activations_mib"`
	MergingMiB     int64 `json:"merging_mib"`   // beside the model, once it is trained: copies with the adapter merged
	AskingMiB      int64 `json:"asking_mib"`    // beside the model, while it is asked questions
	AvailableMiB   int64 `json:"available_mib"` // for all of these, 0 when it is not known
	CheckpointMiB  int64 `json:"checkpoint_mib"`
	StudentMiB     int64 `json:"student_mib"` // on the disk

	Seconds float64 `json:"seconds"` // of all of it, 0 when it was not measured
	Times   Times   `json:"times"`
	GEMM    float64 `json:"gemm_gflops"` // of a bare product on this machine
	Varied  float64 `json:"varied"`      // the share by which the machine's speed varied while it was measured

	footprint student.Footprint
	work      workload
}

// garbage is what a training leaves lying before it is collected, in bytes; see tame.
const garbage = 16 << 20

// tame lets the collector run when about [garbage] lies beside live bytes: as a rule it waits for as much garbage as there
// is live memory, which would double what a training holds. It returns what undoes it.
func tame(live int64) (undo func()) {
	before := debug.SetGCPercent(int(min(100, max(1, 100*garbage/max(1, live)))))
	return func() { debug.SetGCPercent(before) }
}

// layout is what a training computes: its rows as they are packed, the plan of its updates and the size of its passes.
func (g Training) layout() (rows, eval []Example, plan Plan, size int, err error) {
	o := g.Options
	rows, eval = o.Pack(g.Rows), o.packEval(g.Eval)
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
	f.work = g.Options.workload(plan, rows, size)
	f.Tokens, f.TrainedTokens, f.Evaluations, f.Checkpoints = f.work.tokens, f.work.labels, f.work.evaluations, f.work.checkpoints
	if f.footprint, err = student.Measure(g.Model, size, max(f.Longest, longest(eval))); err != nil {
		return f, fmt.Errorf("train: %w", err)
	}
	return f, g.remember(&f, resident)
}

// remember fills in the memory: that of whichever takes most, training, merging or asking. What is there besides, in this
// process as it is, comes to it.
func (g Training) remember(f *Forecast, resident bool) (err error) {
	p, merging, asking := f.footprint, int64(0), int64(0)
	if a := g.Model.Adapter; a != nil && (g.asked > 0 || g.Options.PEFT != nil && g.Options.PEFT.Merge) {
		if merging, err = a.MergingBytes(g.Model); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	if g.asked > 0 {
		asking = g.Model.GeneratorBytes() + merging
	}
	f.ModelMiB, f.GradientsMiB, f.OptimiserMiB, f.ActivationsMiB = mebi(p.Parameters), mebi(p.Gradients), mebi(p.Optimiser), mebi(p.Activations)
	f.MergingMiB, f.AskingMiB = mebi(merging), mebi(asking)
	f.CheckpointMiB, f.StudentMiB = mebi(g.checkpointBytes(p)), mebi(g.studentBytes(p))
	held, more := machine.Resident(), max(p.Sum(), p.Parameters+merging, p.Parameters+asking)
	if resident {
		more -= p.Parameters
	}
	f.PeakMiB = mebi(held + more + garbage)
	if g.free == nil {
		g.free = machine.Available
	}
	if free := g.free(); free > 0 {
		f.AvailableMiB = mebi(free)
		if more > free && !g.bound {
			return f.refusal(mebi(more))
		}
	}
	return nil
}

func mebi(n int64) int64 { return (n + 1<<19) >> 20 }

// checkpointBytes is the size of a checkpoint: what is trained, and its two means.
func (g Training) checkpointBytes(p student.Footprint) int64 { return p.Gradients + p.Optimiser }

// studentBytes is the size of the student's weights on the disk.
func (g Training) studentBytes(p student.Footprint) int64 {
	switch {
	case g.Model.Adapter == nil, g.Options.PEFT == nil:
		return p.Parameters
	case g.Options.PEFT.Merge:
		return p.Parameters // the base merged, and the adapter beside it
	}
	return p.Gradients
}

// refusal says what to do when the memory will not be there.
func (f Forecast) refusal(more int64) error {
	then := ""
	if f.MergingMiB > 0 {
		then = fmt.Sprintf("; then, while the adapter is merged, %d beside the model", f.MergingMiB)
	}
	if f.AskingMiB > 0 {
		then += fmt.Sprintf("; while it is asked questions, %d beside it", f.AskingMiB)
	}
	return stillhouse.Invalidf("the training needs %d MiB of memory beside what is held, and %d MiB are there (model %d, gradients %d, optimiser %d, activations of %d tokens at once %d%s): "+
		"%stake a smaller student, or free memory", more, f.AvailableMiB, f.ModelMiB, f.GradientsMiB, f.OptimiserMiB, f.PassTokens, f.ActivationsMiB, then, f.smaller())
}

// smaller is what would make a training smaller.
func (f Forecast) smaller() (text string) {
	training := f.GradientsMiB + f.OptimiserMiB + f.ActivationsMiB
	if f.AskingMiB > max(training, f.MergingMiB) {
		return "leave the questions out, "
	}
	if f.MergingMiB > training {
		return "leave out merge and merge the adapter afterwards, on a machine with more memory, "
	}
	if f.ActivationsMiB > f.GradientsMiB+f.OptimiserMiB || f.PassTokens > passTokens {
		text = fmt.Sprintf("lower max_length (the longest row has %d tokens) or per_device_train_batch_size × gradient_accumulation_steps, ", f.Longest)
	}
	if f.GradientsMiB*2 > f.ModelMiB {
		text += "train an adapter (train.peft), "
	}
	return text
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
	text += fmt.Sprintf("; memory %d MiB at most (%s)", f.PeakMiB, f.Memory())
	if f.Seconds > 0 {
		text += fmt.Sprintf("; about %s at %.0f GFLOP/s (%s)%s", Duration(f.Seconds), f.GEMM, f.Parts(), f.Unsteady())
	}
	return text
}

// Unsteady warns of a machine that does other work.
func (f Forecast) Unsteady() string {
	if f.Varied < 0.2 {
		return ""
	}
	return fmt.Sprintf("; its speed varied by %.0f %% while it was measured, as where other programs run: the time may be as wrong", 100*f.Varied)
}

// Memory is the memory by parts, in MiB.
func (f Forecast) Memory() string {
	text := fmt.Sprintf("model %d, gradients %d, optimiser %d, activations of %d tokens at once %d", f.ModelMiB, f.GradientsMiB, f.OptimiserMiB, f.PassTokens, f.ActivationsMiB)
	if f.MergingMiB > 0 {
		text += fmt.Sprintf("; then to merge the adapter, beside the model, %d", f.MergingMiB)
	}
	if f.AskingMiB > 0 {
		text += fmt.Sprintf("; for the questions, beside the model, %d", f.AskingMiB)
	}
	return text
}

// Parts is the time by parts.
func (f Forecast) Parts() string {
	var out []string
	for _, p := range []struct {
		name string
		s    float64
	}{
		{"reading, loading and measuring", f.Times.Start}, {fmt.Sprintf("updates (%d)", f.Updates), f.Times.Updates},
		{fmt.Sprintf("evaluations (%d)", f.Evaluations), f.Times.Evaluations}, {fmt.Sprintf("checkpoints (%d of %d MiB)", f.Checkpoints, f.CheckpointMiB), f.Times.Checkpoints},
		{fmt.Sprintf("writing the student (%d MiB)", f.StudentMiB), f.Times.Saving}, {"questions, if every answer is as long as may be,", f.Times.Questions},
	} {
		if p.s > 0 {
			out = append(out, p.name+" "+Duration(p.s).String())
		}
	}
	return strings.Join(out, ", ")
}

// Duration is a time in seconds, no more exact than a forecast is.
func Duration(seconds float64) time.Duration {
	to := time.Second / 10
	switch {
	case seconds > 600:
		to = time.Minute
	case seconds > 10:
		to = time.Second
	}
	return time.Duration(seconds * float64(time.Second)).Round(to)
}
