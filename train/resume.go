package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/hub"
	"stillhouse/internal/rundir"
	"stillhouse/internal/student"
)

// A Resume is a checkpoint to go on from. It is whole, and of this training.
type Resume struct {
	Dir   string
	Step  int
	state state
}

// Find finds the checkpoint to go on from, as resume_from_checkpoint wants it; nil when the training begins. Of several,
// the newest that is whole counts. A checkpoint of another training, or in another version's format, is an error: it is
// never overwritten unasked.
func (c *Checkpoints) Find(o Options) (*Resume, error) {
	if err := c.sweep(); err != nil {
		return nil, err
	}
	if o.ResumeFromCheckpoint == "false" {
		return nil, os.RemoveAll(c.Dir)
	}
	all, err := c.steps()
	if err != nil {
		return nil, err
	}
	var dirs []string // newest first
	for _, step := range slices.Backward(all) {
		dirs = append(dirs, c.path(step))
	}
	if given := o.ResumeFromCheckpoint; given != "" && given != "true" {
		if _, err := os.Stat(given); err != nil {
			return nil, stillhouse.Invalidf("resume_from_checkpoint: %w: name the directory of a checkpoint, or leave it out", err)
		}
		step, _ := stepOf(filepath.Base(filepath.Clean(given)))
		dirs = slices.DeleteFunc(dirs, func(dir string) bool { at, _ := stepOf(filepath.Base(dir)); return at < step })
		dirs = append(dirs, given)
	}
	if len(dirs) == 0 {
		if o.ResumeFromCheckpoint == "true" {
			return nil, stillhouse.Invalidf("resume_from_checkpoint is true, but there is no checkpoint in %s: leave it out to begin", c.Dir)
		}
		return nil, nil
	}
	var broken []string
	for _, dir := range dirs {
		r, err := c.open(dir)
		var damage *damage
		switch {
		case err == nil:
			for _, b := range broken {
				c.say("%s; going on from %s", b, dir)
			}
			return r, nil
		case errors.As(err, &damage):
			broken = append(broken, damage.Error())
		default:
			return nil, err
		}
	}
	return nil, stillhouse.Invalidf("no checkpoint is whole: %s: set resume_from_checkpoint to false to begin again", strings.Join(broken, "; "))
}

// A damage is what is wrong with a checkpoint that is not whole.
type damage struct {
	dir string
	why error
}

func (d *damage) Error() string { return fmt.Sprintf("the checkpoint %s is damaged: %v", d.dir, d.why) }
func (d *damage) Unwrap() error { return d.why }

// open looks whether a checkpoint is of this training and whole.
func (c *Checkpoints) open(dir string) (*Resume, error) {
	all, err := readState(dir)
	if err != nil {
		return nil, err
	}
	if err := all.Run.differs(c.run); err != nil {
		return nil, stillhouse.Invalidf("the checkpoint %s is of another training: %w: give this run another name, or set resume_from_checkpoint to false to begin again", dir, err)
	}
	for _, name := range []string{weightsFile, optimizerFile, logFile} {
		if err := all.Files[name].check(filepath.Join(dir, name)); err != nil {
			return nil, &damage{dir, err}
		}
	}
	r := &Resume{Dir: dir, Step: all.State.Result.Steps, state: all.State}
	if b := r.state.Best; b != nil && b.Step != r.Step && c.best {
		best := c.path(b.Step)
		if _, err := readState(best); err != nil {
			return nil, &damage{dir, fmt.Errorf("it needs the checkpoint of the best evaluation: %w", err)}
		}
	}
	return r, nil
}

// maxState bounds the size of a trainer_state.json, in bytes.
const maxState = 16 << 20

// readState reads what a checkpoint says of itself.
func readState(dir string) (*stored, error) {
	path := filepath.Join(dir, stateFile)
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxState {
		return nil, &damage{dir, fmt.Errorf("%s cannot be read: %v", stateFile, err)}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &damage{dir, err}
	}
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil || e.Format == nil {
		return nil, &damage{dir, fmt.Errorf("%s is cut short, or no state of a training", stateFile)}
	}
	if *e.Format != checkpointFormat {
		return nil, stillhouse.Invalidf("the checkpoint %s has format %d, this program writes and reads %d: go on with the version that wrote it, or set resume_from_checkpoint to false to begin again",
			dir, *e.Format, checkpointFormat)
	}
	all, err := e.unseal()
	if err != nil {
		return nil, &damage{dir, fmt.Errorf("%s: %w", stateFile, err)}
	}
	return &all, nil
}

// check reads a file through.
func (s sum) check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	name := filepath.Base(path)
	if info, err := f.Stat(); err != nil || info.Size() != s.Bytes {
		return fmt.Errorf("%s has not the %d bytes that were written", name, s.Bytes)
	}
	h := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if h.Sum32() != s.CRC {
		return fmt.Errorf("%s has other bytes than were written", name)
	}
	return nil
}

// resume puts the training where a checkpoint left it.
func (t *trainer) resume(r *Resume) error {
	if r == nil {
		return nil
	}
	if r.Step > t.plan.Updates {
		return stillhouse.Invalidf("train: the checkpoint %s is of step %d, but the training has %d", r.Dir, r.Step, t.plan.Updates)
	}
	if err := readFloats(filepath.Join(r.Dir, weightsFile), weightsOf(t.params)); err != nil {
		return fmt.Errorf("train: resume: %w", err)
	}
	if err := readFloats(filepath.Join(r.Dir, optimizerFile), t.optimiser.tensors()); err != nil {
		return fmt.Errorf("train: resume: %w", err)
	}
	t.optimiser.step = r.Step
	t.restore(r.state)
	return nil
}

func weightsOf(params []*student.Param) (out []hub.FloatTensor) {
	for _, p := range params {
		out = append(out, hub.FloatTensor{Name: p.Name, Shape: p.Shape, Data: p.Data})
	}
	return out
}

// readFloats reads a file that has these tensors, and no others, into their memory.
func readFloats(path string, into []hub.FloatTensor) error {
	f, err := hub.OpenSafetensors(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if n := len(f.Names()); n != len(into) {
		return stillhouse.Invalidf("%s has %d tensors, not %d", path, n, len(into))
	}
	for _, t := range into {
		have := f.Tensor(t.Name)
		if have == nil || have.Dtype != "F32" || !slices.Equal(have.Shape, t.Shape) {
			return stillhouse.Invalidf("%s has no tensor %s of shape %v", path, t.Name, t.Shape)
		}
		if err := have.Floats(t.Data); err != nil {
			return err
		}
	}
	return nil
}

// stopped writes a checkpoint where a training is stopped, and says so.
func (t *trainer) stopped(ctx context.Context) error {
	err := fmt.Errorf("train: stopped before step %d of %d: %w", t.Result.Steps+1, t.plan.Updates, ctx.Err())
	if failed := t.save(); failed != nil {
		t.checkpoints.say("warning: %v; %s", failed, t.older())
		return errors.Join(err, failed)
	}
	return err
}

// asked reports whether somebody wants a checkpoint now.
func (t *trainer) asked() bool {
	if t.checkpoints == nil {
		return false
	}
	select {
	case <-t.checkpoints.Now:
		return true
	default:
		return false
	}
}

// older says which checkpoint there is.
func (t *trainer) older() string {
	if t.saved == 0 {
		return "there is no older one"
	}
	return fmt.Sprintf("that of step %d is whole", t.saved)
}

// takeBest puts the weights of the best evaluation in the place of the last ones, where that is asked for.
func (t *trainer) takeBest() error {
	if !t.options.LoadBestModelAtEnd || t.checkpoints == nil || t.Best == nil || t.Best.Step == t.Result.Steps {
		return nil
	}
	dir := t.checkpoints.path(t.Best.Step)
	all, err := readState(dir)
	if err == nil {
		err = all.Files[weightsFile].check(filepath.Join(dir, weightsFile))
	}
	if err != nil {
		return fmt.Errorf("load_best_model_at_end: the best evaluation was at step %d: %w", t.Best.Step, err)
	}
	if err := readFloats(filepath.Join(dir, weightsFile), weightsOf(t.params)); err != nil {
		return fmt.Errorf("load_best_model_at_end: %w", err)
	}
	t.Result.Best = t.Best.Step
	t.checkpoints.say("the student is that of step %d, whose evaluation was the best (%s %.4f)", t.Best.Step, t.options.MetricForBestModel, t.Best.Metric)
	return nil
}

// restoreLog puts the log of a checkpoint in the place of what was written after it.
func (r *Resume) restoreLog(path string) error {
	text, err := os.ReadFile(filepath.Join(r.Dir, logFile))
	if err != nil {
		return err
	}
	return rundir.WriteFile(path, text)
}
