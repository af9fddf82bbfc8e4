package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"stillhouse/internal/hub"
	"stillhouse/internal/rundir"
	"stillhouse/internal/student"
)

// A checkpoint is a directory, checkpoint-STEP, with all that a training needs to go on as if it had never stopped:
//
//	trainer_state.json      what [state] holds, the training that it is of, and the size and checksum of the other files
//	model.safetensors       the parameters that are trained, in float32
//	optimizer.safetensors   AdamW's means, m.NAME and v.NAME
//	log.jsonl               the log up to here
//
// It is written under another name, synced and renamed, so that a directory of this name is whole; older ones are
// removed afterwards. What the order of the rows, the learning rate and AdamW's corrections are follows from the number of updates.
const (
	stateFile     = "trainer_state.json"
	weightsFile   = "model.safetensors"
	optimizerFile = "optimizer.safetensors"
	logFile       = "log.jsonl"

	checkpointPrefix = "checkpoint-"
)

// checkpointFormat is the version of what a checkpoint holds. It changes when a training that goes on from an older one
// would not be the training that wrote it.
const checkpointFormat = 1

// Checkpoints are where a training writes its checkpoints. A training with them can be resumed.
type Checkpoints struct {
	Dir  string            // that the checkpoints lie in
	Log  string            // the log file, which is kept with each
	Now  <-chan os.Signal  // a checkpoint is written after the update that is under way; may be nil
	Say  func(text string) // what was written, and what could not be; may be nil
	keep int               // newest ones, the best one apart; 0 keeps all
	best bool              // the training ends with the weights of the best one
	run  fingerprint

	create func(path string) (file, error) // for tests
}

type file interface {
	io.WriteCloser
	Sync() error
}

func createFile(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

// A stored is what a trainer_state.json says.
type stored struct {
	Run   fingerprint    `json:"run"`
	State state          `json:"state"`
	Files map[string]sum `json:"files"`
}

// An envelope is a trainer_state.json: what it says, with the CRC-32C of that without white space.
type envelope struct {
	Format *int            `json:"format"`
	CRC    uint32          `json:"crc32c"`
	Stored json.RawMessage `json:"stored"`
}

// sealed is the text of a trainer_state.json.
func sealed(s stored) ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	text, err = json.MarshalIndent(envelope{new(checkpointFormat), crc32.Checksum(text, castagnoli), text}, "", "  ")
	return append(text, '\n'), err
}

// unseal reads one.
func (e envelope) unseal() (s stored, err error) {
	var text bytes.Buffer
	if err := json.Compact(&text, e.Stored); err != nil {
		return s, err
	}
	if crc32.Checksum(text.Bytes(), castagnoli) != e.CRC {
		return s, errors.New("it has other values than were written")
	}
	if err := json.Unmarshal(text.Bytes(), &s); err != nil {
		return s, err
	}
	if s.State.Result.Steps < 1 {
		return s, fmt.Errorf("it is of step %d", s.State.Result.Steps)
	}
	return s, nil
}

// A sum is the size of a file and the CRC-32C of its bytes.
type sum struct {
	Bytes int64  `json:"bytes"`
	CRC   uint32 `json:"crc32c"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewCheckpoints are the checkpoints of a training in a directory, each with a copy of the log; "" is none.
func NewCheckpoints(g Training, dir, log string) (*Checkpoints, error) {
	run, err := g.fingerprint()
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return &Checkpoints{Dir: dir, Log: log, keep: *g.Options.SaveTotalLimit, best: g.Options.LoadBestModelAtEnd, run: run}, nil
}

func (c *Checkpoints) say(format string, args ...any) {
	if c != nil && c.Say != nil {
		c.Say(fmt.Sprintf(format, args...))
	}
}

// path is the directory of the checkpoint of a step.
func (c *Checkpoints) path(step int) string {
	return filepath.Join(c.Dir, checkpointPrefix+strconv.Itoa(step))
}

// write writes a checkpoint and removes those that are not kept any more. An error leaves the others as they are.
func (c *Checkpoints) write(s state, params []*student.Param, optimiser *AdamW) (err error) {
	dir := c.path(s.Result.Steps)
	defer func() {
		if err != nil {
			err = fmt.Errorf("checkpoint of step %d: %w", s.Result.Steps, err)
		}
	}()
	tmp := filepath.Join(c.Dir, "."+filepath.Base(dir)+".saving")
	if err := c.sweep(); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	if err := c.fill(tmp, s, params, optimiser); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	if err := os.RemoveAll(dir); err != nil { // one that was found broken
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	if err := errors.Join(syncDir(c.Dir), syncDir(filepath.Dir(c.Dir))); err != nil {
		return err
	}
	return c.rotate(s)
}

// fill writes a checkpoint's files.
func (c *Checkpoints) fill(dir string, s state, params []*student.Param, optimiser *AdamW) error {
	all := stored{Run: c.run, State: s, Files: map[string]sum{}}
	weights := make([]hub.FloatTensor, len(params))
	for i, p := range params {
		weights[i] = hub.FloatTensor{Name: p.Name, Shape: p.Shape, Data: p.Data}
	}
	for name, write := range map[string]func(io.Writer) error{
		weightsFile:   func(w io.Writer) error { return hub.WriteSafetensors(w, "F32", weights) },
		optimizerFile: func(w io.Writer) error { return hub.WriteSafetensors(w, "F32", optimiser.tensors()) },
		logFile:       c.copyLog,
	} {
		var err error
		if all.Files[name], err = c.file(filepath.Join(dir, name), write); err != nil {
			return err
		}
	}
	text, err := sealed(all)
	if err != nil {
		return err
	}
	if _, err := c.file(filepath.Join(dir, stateFile), func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
		return err
	}
	return syncDir(dir)
}

// copyLog writes the log as it is; a training without one has an empty one.
func (c *Checkpoints) copyLog(w io.Writer) error {
	if c.Log == "" {
		return nil
	}
	f, err := os.Open(c.Log)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// file writes a file and waits until the disk has it.
func (c *Checkpoints) file(path string, write func(io.Writer) error) (s sum, err error) {
	create := c.create
	if create == nil {
		create = createFile
	}
	f, err := create(path)
	if err != nil {
		return s, err
	}
	counted := &counter{to: f}
	if err := errors.Join(write(counted), f.Sync(), f.Close()); err != nil {
		return s, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return counted.sum, nil
}

// A counter counts and sums up what is written.
type counter struct {
	to io.Writer
	sum
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.Bytes += int64(n)
	c.CRC = crc32.Update(c.CRC, castagnoli, p[:n])
	return n, err
}

// rotate removes the checkpoints that are not kept: as transformers does, the oldest ones, but never the best one nor
// the last.
func (c *Checkpoints) rotate(s state) error {
	if c.keep == 0 {
		return nil
	}
	all, err := c.steps()
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(step int) bool { return s.Best != nil && step == s.Best.Step && step != s.Result.Steps })
	for len(all) > c.keep {
		if err := c.remove(all[0]); err != nil {
			return err
		}
		all = all[1:]
	}
	return nil
}

// remove removes a checkpoint in one step, as seen by who looks for one.
func (c *Checkpoints) remove(step int) error {
	gone := filepath.Join(c.Dir, "."+filepath.Base(c.path(step))+".removing")
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(c.path(step), gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// steps are the steps of the checkpoints that are there, rising.
func (c *Checkpoints) steps() (out []int, err error) {
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if step, ok := stepOf(e.Name()); ok && e.IsDir() {
			out = append(out, step)
		}
	}
	slices.Sort(out)
	return out, err
}

// stepOf reads the step in the name of a checkpoint.
func stepOf(name string) (step int, ok bool) {
	rest, ok := strings.CutPrefix(name, checkpointPrefix)
	step, err := strconv.Atoi(rest)
	return step, ok && err == nil && step > 0 && rest == strconv.Itoa(step)
}

// sweep removes what a process that was killed left.
func (c *Checkpoints) sweep() error {
	for _, end := range []string{".saving", ".removing"} {
		left, err := filepath.Glob(filepath.Join(escapeGlob(c.Dir), "."+checkpointPrefix+"*"+end))
		if err != nil {
			return err
		}
		for _, dir := range left {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// save writes a checkpoint after the last update, unless there is one.
func (t *trainer) save() error {
	if t.checkpoints == nil || t.saved == t.Result.Steps || t.Result.Steps == 0 {
		return nil
	}
	began := t.hooks.Now()
	err := t.checkpoints.write(t.snapshot(), t.params, t.optimiser)
	t.took.Checkpoints += t.hooks.Now().Sub(began).Seconds()
	if err != nil {
		return fmt.Errorf("%w%s", err, rundir.Remedy(err))
	}
	t.saved = t.Result.Steps
	t.checkpoints.say("checkpoint of step %d: %s", t.saved, t.checkpoints.path(t.saved))
	return nil
}
