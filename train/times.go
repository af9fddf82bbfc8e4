package train

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"stillhouse"
	"stillhouse/internal/hub"
	"stillhouse/internal/kernel"
	"stillhouse/internal/machine"
	"stillhouse/internal/student"
)

// Times are how long the parts of a training take, in seconds.
type Times struct {
	Start       float64 `json:"start_s"` // reading the rows, measuring, loading the student; 0 once that is done
	Updates     float64 `json:"updates_s"`
	Evaluations float64 `json:"evaluations_s"`
	Checkpoints float64 `json:"checkpoints_s"`
	Saving      float64 `json:"saving_s"`              // the student, with the adapter merged where it is to be
	Questions   float64 `json:"questions_s,omitempty"` // before and after, when every answer is as long as may be
}

// Sum is all of it.
func (t Times) Sum() float64 {
	return t.Start + t.Updates + t.Evaluations + t.Checkpoints + t.Saving + t.Questions
}

// Pace measures for a few seconds how fast the machine trains the model and writes to its disk, and fills in the time.
func (g Training) Pace(f *Forecast) error {
	defer kernel.SetDeterministic(kernel.SetDeterministic(g.Options.Deterministic))
	defer debug.FreeOSMemory() // what was measured with
	rows, eval, plan, size, err := g.layout()
	if err != nil {
		return err
	}
	pace, err := student.MeasurePace(g.Model, g.Options.usualPass(plan, rows, size), len(eval) > 0)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	w, p := f.work, f.footprint
	f.Times.Updates = pace.Train.Seconds(w.tokens, w.labels, w.passes) + float64(w.updates)*float64(p.Gradients/4)*pace.Parameter
	if len(eval) > 0 {
		once, err := g.Options.evaluationWork(eval, size)
		if err != nil {
			return err
		}
		f.Times.Evaluations = float64(w.evaluations) * pace.Evaluate.Seconds(once.tokens, once.labels, once.passes)
	}
	byWriting := 0.0
	if g.dir != "" {
		if byWriting, err = timeWriting(g.dir, g.studentBytes(p)); err != nil {
			return err
		}
	}
	f.Times.Checkpoints = float64(w.checkpoints) * float64(g.checkpointBytes(p)) * byWriting
	if g.From != nil { // what is left of it
		left := float64(plan.Updates-g.From.Step) / float64(plan.Updates)
		f.Times.Updates, f.Times.Evaluations, f.Times.Checkpoints = f.Times.Updates*left, f.Times.Evaluations*left, f.Times.Checkpoints*left
	}
	f.Times.Updates += pace.Fresh * float64(p.Gradients+p.Optimiser+p.Activations)
	f.Times.Saving = float64(g.studentBytes(p)) * byWriting
	if a := g.Model.Adapter; a != nil && g.Options.PEFT != nil && g.Options.PEFT.Merge {
		merging, err := student.MeasureMerging(g.Model)
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
		f.Times.Saving += merging
	}
	if g.asked > 0 {
		ask, err := student.MeasureAsking(g.Model)
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
		f.Times.Questions = 2 * (ask.Ready + float64(g.asked*answerTokens)*ask.Token)
	}
	f.Seconds, f.GEMM, f.Varied = f.Times.Sum(), machine.GEMMRate(), pace.Unlike
	return nil
}

// evaluationWork is what one evaluation computes.
func (o Options) evaluationWork(rows []Example, size int) (workload, error) {
	o = o.evaluation()
	o.GradientAccumulationSteps = evaluatedTogether
	o.EvalStrategy, o.EvalOnStart, o.SaveStrategy = "no", false, "no"
	plan, err := o.Plan(len(rows))
	if err != nil {
		return workload{}, err
	}
	return o.workload(plan, rows, size), nil
}

// timeWriting is the time, in seconds, of writing a byte of weights to where dir is or will be, until the disk has it.
// At most so many bytes are written, and removed again.
func timeWriting(dir string, most int64) (float64, error) {
	at := filepath.Clean(dir)
	for {
		info, err := os.Stat(at)
		if err == nil && info.IsDir() {
			break
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return 0, fmt.Errorf("train: measuring how fast the disk is: %w", err)
		}
		at = filepath.Dir(at)
	}
	tmp, err := os.MkdirTemp(at, ".stillhouse-measure-")
	if err != nil {
		return 0, stillhouse.Invalidf("train: the student is to lie in %s, which cannot be written to: %w", dir, err)
	}
	data := make([]float32, max(1<<10, min(most/4, 1<<24)))
	for i := range data {
		data[i] = float32(i)
	}
	began := time.Now()
	_, err = new(Checkpoints).file(filepath.Join(tmp, "weights"), func(w io.Writer) error {
		return hub.WriteSafetensors(w, "F32", []hub.FloatTensor{{Name: "w", Shape: []int{len(data)}, Data: data}})
	})
	took := time.Since(began).Seconds()
	if err := errors.Join(err, os.RemoveAll(tmp)); err != nil {
		return 0, fmt.Errorf("train: measuring how fast the disk of %s is: %w", dir, err)
	}
	return took / float64(4*len(data)), nil
}
