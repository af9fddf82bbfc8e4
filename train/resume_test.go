package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stillhouse"
	"stillhouse/internal/student"
)

// A trial is a training that is stopped and resumed, with what it logged, in the order of the steps that count.
type trial struct {
	t       *testing.T
	options Options
	dir     string // of the checkpoints
	lines   []Line
	evals   []EvalLine
	said    []string
	student *Student
	result  Result
	change  func(*Training) // before it begins
}

func newTrial(t *testing.T, options string) *trial {
	o := pasted(t, options)
	o.Student = tiny
	return &trial{t: t, options: o, dir: filepath.Join(t.TempDir(), "checkpoints")}
}

// run trains until the end, or until the step stop is made. What was logged after the checkpoint that it goes on from is forgotten.
func (r *trial) run(stop int) error {
	r.t.Helper()
	o := r.options
	r.student = load(r.t, o)
	rows, _ := encodedBy(r.t, r.student, o, readAll(r.t, Data{Path: golden + "sft/data/pc-20.jsonl"}))
	g := Training{Options: o, Model: r.student.Model, Rows: rows}
	var err error
	if o.evaluates() {
		g.Eval, _ = encodedBy(r.t, r.student, o.evaluation(), readAll(r.t, o.EvalData))
	}
	if g.Checkpoints, err = NewCheckpoints(g, r.dir, ""); err != nil {
		r.t.Fatal(err)
	}
	g.Checkpoints.Say = func(text string) { r.said = append(r.said, text) }
	if r.change != nil {
		r.change(&g)
	}
	if g.From, err = g.Checkpoints.Find(o); err != nil {
		return err
	}
	from := 0
	if g.From != nil {
		from = g.From.Step
	}
	r.lines = slices.DeleteFunc(r.lines, func(l Line) bool { return l.Step > from })
	r.evals = slices.DeleteFunc(r.evals, func(l EvalLine) bool { return l.Step > from || from == 0 })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g.Hooks = Hooks{
		Now:  ticking(),
		Line: func(l Line) error { r.lines = append(r.lines, l); return nil },
		Eval: func(l EvalLine) error { r.evals = append(r.evals, l); return nil },
		Step: func(l Line) error {
			if l.Step == stop {
				cancel()
			}
			return nil
		},
	}
	r.result, err = g.Fit(ctx)
	return err
}

// whole trains to the end, whatever happens in between.
func (r *trial) whole() *trial {
	r.t.Helper()
	if err := r.run(0); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// untimed is what was logged but for what the clock says.
func (r *trial) untimed() (out []any) {
	for _, l := range r.lines {
		l.Pace, l.Left = Pace{}, 0
		out = append(out, l)
	}
	for _, l := range r.evals {
		l.Runtime, l.SamplesPerS, l.StepsPerS = 0, 0, 0
		out = append(out, l)
	}
	result := r.result
	result.Seconds, result.TokensPerS, result.Times = 0, 0, Times{}
	return append(out, result)
}

// same compares two trainings: what they logged, their weights to the bit, and the checkpoints that both have.
func (r *trial) same(as *trial) {
	r.t.Helper()
	if d := cmp.Diff(as.untimed(), r.untimed()); d != "" {
		r.t.Errorf("another log: %s", d)
	}
	want := trainable(as.student)
	for i, p := range trainable(r.student) {
		if !slices.Equal(p.Data, want[i].Data) {
			r.t.Errorf("%s differs", p.Name)
		}
	}
	for _, name := range []string{weightsFile, optimizerFile} {
		all, _ := filepath.Glob(filepath.Join(r.dir, "*", name))
		for _, path := range all {
			other := filepath.Join(as.dir, filepath.Base(filepath.Dir(path)), name)
			a, err := os.ReadFile(path)
			b, err2 := os.ReadFile(other)
			if err != nil || err2 == nil && !bytes.Equal(a, b) {
				r.t.Errorf("%s differs: %v", path, err)
			}
		}
	}
}

// trainable are the parameters that a training changes.
func trainable(s *Student) []*student.Param {
	if a := s.Model.Adapter; a != nil {
		return a.Params
	}
	return s.Model.Params
}

const twenty = "per_device_train_batch_size: 1, gradient_accumulation_steps: 4, learning_rate: 1e-3, num_train_epochs: 2"

// A training that is stopped after any step and resumed, several times, is the training that was never stopped: its log,
// its weights and its optimiser to the bit.
func TestResumeIsExact(t *testing.T) {
	eval := ", eval_strategy: steps, eval_steps: 2, eval_on_start: true, eval_data: {path: " + golden + "sft/data/pc-eval.jsonl}"
	for _, options := range []string{
		"save_strategy: no, logging_steps: 3" + eval,
		"save_steps: 2, save_total_limit: 0, logging_steps: 2, lr_scheduler_type: cosine, warmup_steps: 3, weight_decay: 0.1" + eval,
		"save_strategy: epoch, logging_strategy: epoch, packing: true, max_length: 200, loss_type: dft, max_grad_norm_spike: 1000",
		"save_steps: 2, logging_steps: 2, peft: {r: 4, lora_dropout: 0.2, use_dora: true, target_modules: all-linear}" + eval,
		"save_steps: 3, logging_steps: 1, load_best_model_at_end: true, early_stopping_patience: 3" + eval,
	} {
		t.Run(options, func(t *testing.T) {
			options := "{" + twenty + ", " + options + "}"
			alone := newTrial(t, options).whole()
			random := rand.New(rand.NewPCG(1, 2))
			for range 2 {
				r := newTrial(t, options)
				for stop := 1 + random.IntN(3); stop < alone.result.Steps; stop += 1 + random.IntN(4) {
					if err := r.run(stop); !errors.Is(err, context.Canceled) {
						t.Fatalf("stopped after step %d: %v", stop, err)
					}
				}
				r.whole().same(alone)
			}
		})
	}
}

// The golden run that TRL stopped in mid-epoch and resumed; its num_tokens starts anew there, which is not copied.
func TestResumeGolden(t *testing.T) {
	var run goldenRun
	read(t, "sft/"+resumedRun+"/config.json", &run)
	var resume struct {
		At     int `json:"saved_at_update"`
		Fields map[string]bool
	}
	read(t, "sft/"+resumedRun+"/resume.json", &resume)
	r := &trial{t: t, options: run.options(t), dir: filepath.Join(t.TempDir(), "checkpoints")}
	if err := r.run(resume.At); !errors.Is(err, context.Canceled) || len(r.lines) != resume.At {
		t.Fatalf("%d lines: %v", len(r.lines), err)
	}
	r.whole()
	checkLog(t, "log_uninterrupted.jsonl", lines[goldenLine](t, "sft/"+resumedRun+"/log_uninterrupted.jsonl"), r.lines)
	resumed := lines[goldenLine](t, "sft/"+resumedRun+"/log_resumed.jsonl")
	for i := range resumed[:len(resumed)-1] {
		resumed[i].NumTokens = float64(r.lines[i].NumTokens)
	}
	checkLog(t, "log_resumed.jsonl", resumed, r.lines)
}

// A training that is resumed as another one is refused with what differs; keys that change nothing may differ.
func TestResumeOfAnother(t *testing.T) {
	first := newTrial(t, "{"+twenty+", save_steps: 2}")
	if err := first.run(5); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for change, say := range map[*func(*trial)]string{
		new(func(r *trial) { r.options.LearningRate = new(2e-3); r.options.WeightDecay = 0.5 }): "train.learning_rate: it has 0.001, the config has 0.002; train.weight_decay: it has 0, the config has 0.5",
		new(func(r *trial) { r.change = func(g *Training) { g.Rows = g.Rows[1:]; again(g) } }):  "the rows to train on are others",
		new(func(r *trial) {
			r.change = func(g *Training) { g.Rows[0], g.Rows[1] = g.Rows[1], g.Rows[0]; again(g) }
		}): "the rows to train on are others, or in another order",
		new(func(r *trial) { r.change = func(g *Training) { g.Model.Params[3].Data[7] += 1; again(g) } }):              "train.student: the weights that the training begins with are others",
		new(func(r *trial) { r.change = func(g *Training) { g.Model.Config.RopeTheta *= 2; again(g) } }):               "train.student",
		new(func(r *trial) { r.change = func(g *Training) { g.Eval = g.Rows[:2]; again(g) } }):                         "the rows to evaluate on are others",
		new(func(r *trial) { r.options.ResumeFromCheckpoint = filepath.Join(r.dir, "checkpoint-77") }):                 "resume_from_checkpoint: ",
		new(func(r *trial) { edit(t, filepath.Join(r.dir, "checkpoint-5", stateFile), `"format": 1`, `"format": 2`) }): "has format 2, this program writes and reads 1",
	} {
		r := newTrial(t, "{"+twenty+", save_steps: 2}")
		if err := os.CopyFS(r.dir, os.DirFS(first.dir)); err != nil {
			t.Fatal(err)
		}
		(*change)(r)
		if err := r.run(0); err == nil || !strings.Contains(err.Error(), say) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%v, not %q", err, say)
		}
	}
	r := newTrial(t, "{"+twenty+", save_steps: 3, save_total_limit: 2, questions: ['Who?'], max_grad_norm_spike: 500, resume_from_checkpoint: true}")
	if r.dir = first.dir; r.run(7) == nil {
		t.Error("not stopped")
	}
	if steps, _ := (&Checkpoints{Dir: r.dir}).steps(); fmt.Sprint(steps) != "[6 7]" {
		t.Errorf("the checkpoints are %v", steps)
	}
	// false begins again, and true wants a checkpoint.
	r = newTrial(t, "{"+twenty+", weight_decay: 0.3, resume_from_checkpoint: false}")
	if r.dir = first.dir; len(r.whole().lines) != 1 || stepsIn(t, r.dir) != "[]" {
		t.Errorf("false: %+v", r.lines)
	}
	r = newTrial(t, "{"+twenty+", resume_from_checkpoint: true}")
	if err := r.run(0); err == nil || !strings.Contains(err.Error(), "there is no checkpoint in") {
		t.Errorf("true without a checkpoint: %v", err)
	}
}

// again takes the fingerprint of a training that was changed.
func again(g *Training) {
	c, err := NewCheckpoints(*g, g.Checkpoints.Dir, "")
	if err != nil {
		panic(err)
	}
	g.Checkpoints = c
}

func edit(t *testing.T, path, was, is string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), was) {
		t.Fatalf("%s: %q is not there: %v", path, was, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), was, is, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A checkpoint that is cut short or has a flipped bit is passed over for the older one, and named; without an older one
// it is an error.
func TestResumeFromDamaged(t *testing.T) {
	options := "{" + twenty + ", save_steps: 2, save_total_limit: 2}"
	alone := newTrial(t, options).whole()
	first := newTrial(t, options)
	if err := first.run(5); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(text []byte) []byte{
		weightsFile:   func(b []byte) []byte { return b[:len(b)/2] },
		optimizerFile: func(b []byte) []byte { b[len(b)-1] ^= 4; return b },
		stateFile:     func(b []byte) []byte { return b[:len(b)-40] },
		logFile:       func([]byte) []byte { return nil },
		// A digit of a sum, which reads as well as the right one.
		stateFile + " ": func(b []byte) []byte {
			at := bytes.Index(b, []byte(`"loss": `)) + len(`"loss": `)
			b[at] = '0' + (b[at]-'0'+1)%10
			return b
		},
	} {
		r := newTrial(t, options)
		if err := os.CopyFS(r.dir, os.DirFS(first.dir)); err != nil {
			t.Fatal(err)
		}
		r.lines = slices.Clone(first.lines)
		damaged := func(step int) {
			path := filepath.Join(r.dir, fmt.Sprintf("checkpoint-%d", step), strings.TrimSpace(name))
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if text = spoil(text); text == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, text, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		damaged(5)
		r.whole().same(alone)
		if text := strings.Join(r.said, "\n"); !strings.Contains(text, "checkpoint-5 is damaged") || !strings.Contains(text, "going on from "+filepath.Join(r.dir, "checkpoint-4")) {
			t.Errorf("%s: %s", name, text)
		}
	}
	for _, step := range []int{4, 5} {
		if err := os.Truncate(filepath.Join(first.dir, fmt.Sprintf("checkpoint-%d", step), weightsFile), 100); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.run(0); err == nil || !strings.Contains(err.Error(), "no checkpoint is whole") || !strings.Contains(err.Error(), "set resume_from_checkpoint to false") || stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Errorf("all are damaged: %v", err)
	}
}

// Whatever a trainer_state.json holds, it is read or refused.
func FuzzCheckpointState(f *testing.F) {
	good, err := sealed(stored{State: state{Result: Result{Steps: 3}}, Files: map[string]sum{weightsFile: {Bytes: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format": 1, "crc32c": 0, "stored": null}`))
	f.Add([]byte(`{"format": 1e99}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateFile), text, 0o644); err != nil {
			t.Fatal(err)
		}
		all, err := readState(dir)
		if (all == nil) == (err == nil) {
			t.Fatalf("%v and %v", all, err)
		}
		if err == nil && all.State.Result.Steps < 1 {
			t.Errorf("step %d", all.State.Result.Steps)
		}
		if _, err := (&Checkpoints{Dir: dir}).open(dir); err == nil {
			t.Error("a checkpoint without weights is whole")
		}
	})
}
