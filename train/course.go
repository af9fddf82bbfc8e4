package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/machine"
	"stillhouse/internal/options"
	"stillhouse/internal/rundir"
)

// An Answer is what the student said to a question before and after its training.
type Answer struct {
	Question string `json:"question"`
	Before   string `json:"before"`
	After    string `json:"after"`
}

// A Report is what became of [Run].
type Report struct {
	Result
	Account stillhouse.Account `json:"account"` // of the rows
	Student string             `json:"student"` // the directory
	Answers []Answer           `json:"answers,omitempty"`
}

// Run does what the course does, in its order: it loads the student, shows the first three rows, asks the questions,
// trains on o.Data, asks again, and shows both answers side by side. The student is written to dir/student, with its
// log.jsonl; until it is whole, it is dir/student.partial.
func Run(ctx context.Context, o Options, dir string, ui UI) (*Report, error) {
	ui.ensureDefaults()
	o.EnsureDefaults()
	began := ui.Now()
	if err := options.Under("train", o.Validate()); err != nil {
		return nil, err
	}
	if o.Data.Path == "" {
		return nil, options.Wrongf("train.data.path", "is missing: name the rows to train on, a JSONL or Parquet file")
	}
	list, err := o.ReadRows(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := o.ReadEval(ctx); err != nil {
		return nil, err
	}
	s, err := Load(ctx, o, ui.download())
	if err != nil {
		return nil, err
	}
	defer s.Tokenizer.Close()
	ui.say("student %s: %s", o.Student, s.size())
	ui.show(list[:min(3, len(list))])
	enc, err := NewEncoder(o, s.Tokenizer)
	if err != nil {
		return nil, err
	}
	examples, account, err := enc.EncodeRows(ctx, list)
	if err != nil {
		return nil, err
	}
	lock, err := rundir.Lock(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	report := &Report{Account: account, Student: filepath.Join(dir, "student")}
	asking := ui.Now()
	before, err := s.Ask(ctx, o.Questions)
	if err != nil {
		return nil, err
	}
	ui.answers("Before the training", o.Questions, before)
	training := ui.Now()
	if report.Result, err = s.Train(ctx, examples, report.Student, ui); err != nil {
		return report, err
	}
	trained := ui.Now()
	after, err := s.Ask(ctx, o.Questions)
	if err != nil {
		return report, err
	}
	t := &report.Times
	t.Questions = (training.Sub(asking) + ui.Now().Sub(trained)).Seconds()
	t.Start = (asking.Sub(began) + trained.Sub(training)).Seconds() - report.Seconds - t.Saving
	for i, q := range o.Questions {
		report.Answers = append(report.Answers, Answer{q, before[i], after[i]})
	}
	ui.compare(report.Answers)
	ui.summary(report)
	return report, nil
}

// ResultFile is the name of the [Result] in a student's directory.
const ResultFile = "training.json"

// Train trains the student on examples and writes it to dir: a Hugging Face directory with the training's log.jsonl
// and its [Result].
// It is written to dir.partial first, where the log can be read meanwhile, and renamed when it is whole; a student that
// is in dir already is replaced then. Checkpoints lie in dir.checkpoints until then: a training that was stopped goes on
// from the last one.
func (s *Student) Train(ctx context.Context, examples []Example, dir string, ui UI) (result Result, err error) {
	ui.ensureDefaults()
	if err := s.gate(examples, ui); err != nil {
		return Result{}, err
	}
	m := &meter{ui: ui}
	defer m.close()
	g := Training{Options: s.Options, Model: s.Model, dir: dir}
	if g.Rows, g.Eval, err = s.sides(ctx, examples); err != nil {
		return Result{}, err
	}
	debug.FreeOSMemory() // what reading and encoding left lying
	partial := dir + ".partial"
	log, err := g.prepare(dir, partial, m)
	if err != nil {
		return Result{}, fmt.Errorf("train: %w%s", err, rundir.Remedy(err))
	}
	defer log.Close()
	r, err := newReport(g, dir, ui.Now, m.say)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	g.Hooks = Hooks{
		Now:      ui.Now,
		Plan:     m.plan,
		Forecast: ui.forecast(),
		Step:     func(l Line) error { m.step(l); return nil },
		Line:     func(l Line) error { m.line(l); r.line(l.Step, l); return writeLine(log, l.Step, l) },
		Eval:     func(l EvalLine) error { m.line(l); r.line(l.Step, l); return writeLine(log, l.Step, l) },
		GEMM:     machine.GEMMRate(),
	}
	if result, err = g.Fit(ctx); err != nil {
		return result, err
	}
	m.close()
	saving := ui.Now()
	debug.FreeOSMemory() // what it was trained with: merging an adapter takes memory too
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return result, fmt.Errorf("train: %w", err)
	}
	if err := errors.Join(log.Sync(), s.Save(partial), rundir.WriteFile(filepath.Join(partial, ResultFile), append(text, '\n'))); err != nil {
		return result, fmt.Errorf("train: %w%s", err, rundir.Remedy(err))
	}
	if err := replace(partial, dir); err != nil {
		return result, err
	}
	if err := DropCheckpoints(dir); err != nil {
		return result, err
	}
	debug.FreeOSMemory() // the weights with the adapter merged
	result.Times.Saving = ui.Now().Sub(saving).Seconds()
	return result, nil
}

// CheckpointsOf is where the checkpoints of a student lie while it is trained.
func CheckpointsOf(dir string) string { return filepath.Clean(dir) + ".checkpoints" }

// DropCheckpoints removes the checkpoints of a student that is whole.
func DropCheckpoints(dir string) error {
	if err := os.RemoveAll(CheckpointsOf(dir)); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// prepare looks for a checkpoint to go on from, makes the directory that the student will be written to, and opens the
// log there, as far as it is written.
func (g *Training) prepare(dir, partial string, m *meter) (log *os.File, err error) {
	path := filepath.Join(partial, logFile)
	if g.Checkpoints, err = NewCheckpoints(*g, CheckpointsOf(dir), path); err != nil {
		return nil, err
	}
	g.Checkpoints.Now, g.Checkpoints.Say = m.ui.Checkpoint, m.say
	if g.From, err = g.Checkpoints.Find(g.Options); err != nil {
		return nil, err
	}
	if err := sweep(partial, g.From == nil); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return nil, err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if g.From == nil {
		return os.OpenFile(path, flags|os.O_TRUNC, 0o644)
	}
	if err := g.From.restoreLog(path); err != nil {
		return nil, err
	}
	m.say(fmt.Sprintf("going on after step %d, from %s", g.From.Step, g.From.Dir))
	return os.OpenFile(path, flags, 0o644)
}

// sweep removes what a killed training left: the folders that its student was being saved from and, unless it goes on,
// its partial directory.
func sweep(partial string, all bool) error {
	left, err := filepath.Glob(filepath.Join(escapeGlob(filepath.Dir(partial)), "."+escapeGlob(filepath.Base(partial))+".saving-*"))
	if err != nil {
		return err
	}
	if all {
		left = append(left, partial)
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// replace puts a directory in the place of another.
func replace(from, to string) error {
	old := to + ".old"
	if err := os.RemoveAll(old); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if err := os.Rename(to, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("train: %w", err)
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if err := os.RemoveAll(old); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// size describes the model.
func (s *Student) size() string {
	n := 0
	for _, p := range s.Model.Params {
		n += len(p.Data)
	}
	text := fmt.Sprintf("%s, %.1f million parameters", s.Model.Config.Architecture, float64(n)/1e6)
	if a := s.Model.Adapter; a != nil {
		text += "; " + describeAdapter(a)
	}
	return text
}

// show prints rows as a table.
func (ui UI) show(list []Row) {
	var cells [][]string
	header := []string{"text"}
	for _, r := range list {
		switch r.kind() {
		case pair:
			header = []string{"prompt", "completion"}
			cells = append(cells, []string{plainly(r.Prompt), plainly(r.Completion)})
		case conversation:
			header = []string{"messages"}
			cells = append(cells, []string{plainly(r.Messages)})
		default:
			cells = append(cells, []string{*r.Text})
		}
	}
	ui.table(fmt.Sprintf("The first %d rows", len(list)), header, cells, 0)
}

// plainly is a string, or a conversation as lines of role: content.
func plainly(v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text
	}
	var list []chat.Message
	if json.Unmarshal(v, &list) != nil {
		return string(v)
	}
	var lines []string
	for _, m := range list {
		lines = append(lines, m.Role+": "+m.Content)
	}
	return strings.Join(lines, "\n")
}

func (ui UI) answers(title string, questions, answers []string) {
	if len(questions) == 0 {
		return
	}
	var cells [][]string
	for i, q := range questions {
		cells = append(cells, []string{q, answers[i]})
	}
	ui.table(title, []string{"question", "answer"}, cells, 30)
}

func (ui UI) compare(answers []Answer) {
	if len(answers) == 0 {
		return
	}
	var cells [][]string
	for _, a := range answers {
		cells = append(cells, []string{a.Question, a.Before, a.After})
	}
	ui.table("Before and after the training", []string{"question", "before", "after"}, cells, 30)
}

func (ui UI) summary(r *Report) {
	ui.say("%d updates on %d rows in %.1f s: loss %.4f → %.4f, %d tokens (%d trained), %.0f tokens/s", r.Steps, r.Rows, r.Seconds, r.LossFirst, r.LossLast,
		r.Tokens, r.TrainedTokens, r.TokensPerS)
	if r.Truncated > 0 {
		ui.say("%d rows were cut to max_length, %d tokens in all", r.Truncated, r.Cut)
	}
	for reason, n := range r.Account.Dropped {
		ui.say("%d rows were dropped: %s", n, reason)
	}
	for kind, n := range r.Account.Failed {
		ui.say("%d rows failed: %s", n, kind)
	}
	ui.say("the student is in %s", r.Student)
}
