package train

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"stillhouse"
	"stillhouse/internal/student"
)

// courseConfig is the course's block, on the tiny model.
const courseConfig = `
student: ` + tiny + `
data: {path: ` + golden + `sft/data/pc.jsonl, limit: 24}
learning_rate: 8e-5
num_train_epochs: 1
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
gradient_checkpointing: false
logging_steps: 2
questions: ["Give me an 1-sentence introduction of LLM.", "Calculate 1+1-1"]
`

// ticking is a clock that goes on by a second at each look.
func ticking() func() time.Time {
	clock := time.Unix(0, 0)
	return func() time.Time { clock = clock.Add(time.Second); return clock }
}

func TestCourse(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	report, err := Run(context.Background(), pasted(t, courseConfig), dir, UI{Out: &out, Width: 100, Now: ticking()})
	if err != nil {
		t.Fatal(err)
	}
	if report.Steps != 3 || report.Rows != 24 || report.Account.Kept != 24 || report.LossFirst <= 0 || len(report.Answers) != 2 || report.TokensPerS <= 0 {
		t.Errorf("%+v", report)
	}
	// What is said, in the order of the course.
	text := out.String()
	for _, want := range []string{"student " + tiny + ": LlamaForCausalLM, 0.2 million parameters", "The first 3 rows", "prompt", "completion", "user: ",
		"Before the training", "Calculate 1+1-1", "training: 24 rows, 3 updates", "step 2/3", "Before and after the training", "before", "after", "3 updates on 24 rows", "the student is in " + report.Student} {
		at := strings.Index(text, want)
		if at < 0 {
			t.Fatalf("%q is not said, or too early:\n%s", want, out.String())
		}
		text = text[at:]
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if len([]rune(line)) > 130 && strings.Contains(line, "│") {
			t.Errorf("a table of width 100 has a line of %d: %s", len([]rune(line)), line)
		}
	}
	// The log: one object a logged step, with these keys.
	log, err := os.ReadFile(filepath.Join(report.Student, "log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(log))
	n := 0
	for ; lines.Scan(); n++ {
		var line map[string]float64
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"step", "epoch", "loss", "grad_norm", "learning_rate", "num_tokens", "mean_token_accuracy", "entropy", "tokens_per_s"} {
			if _, ok := line[key]; !ok {
				t.Errorf("%s is not in the log: %s", key, lines.Text())
			}
		}
	}
	if n != 1 {
		t.Errorf("%d lines, not 1", n)
	}
	// The student is one that can be loaded, asked and trained again, and says the same.
	if left, _ := filepath.Glob(filepath.Join(dir, "[^.]*")); len(left) != 1 {
		t.Errorf("beside the student there is %v", left)
	}
	o := pasted(t, courseConfig)
	o.Student = report.Student
	again, err := load(t, o).Ask(context.Background(), o.Questions)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range again {
		if a != report.Answers[i].After {
			t.Errorf("the saved student says %q, not %q", a, report.Answers[i].After)
		}
	}
}

// A terminal gets a bar; what was in the student's place is replaced; text cannot move the cursor.
func TestCourseOnTerminal(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "student"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "student", "old"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o := pasted(t, courseConfig)
	o.Data.Path = write(t, "rows.jsonl", []byte(`{"text": "a \u001b[2J b"}`+"\n"+`{"text": "c"}`+"\n"))
	o.Questions = nil
	o.LoggingFirstStep = true
	var out bytes.Buffer
	report, err := Run(context.Background(), o, dir, UI{Out: &out, Terminal: true})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "updates") || strings.Contains(out.String(), "\x1b[2J b") || !strings.Contains(out.String(), "step 1/1") {
		t.Errorf("%q", out.String())
	}
	if _, err := os.Stat(filepath.Join(report.Student, "old")); err == nil {
		t.Error("the old student's files are still there")
	}
}

// A model without a chat template and a padding token gets both.
func TestFallbacks(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"config.json", "tokenizer.json", "model.safetensors"} {
		data, err := os.ReadFile(filepath.Join(tiny, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "config.json" {
			data = bytes.Replace(data, []byte(`"pad_token_id": 2`), []byte(`"pad_token_id": null`), 1)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(`{"eos_token": "<|endoftext|>"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	o := pasted(t, courseConfig)
	o.Student = dir
	s := load(t, o)
	if s.Model.Config.PadTokenID != -1 {
		t.Errorf("while it is trained, the padding token is %d", s.Model.Config.PadTokenID)
	}
	to := filepath.Join(t.TempDir(), "student")
	if err := s.Save(to); err != nil {
		t.Fatal(err)
	}
	o.Student = to
	saved := load(t, o)
	if !saved.Tokenizer.HasTemplate() || saved.Tokenizer.Template() != s.Tokenizer.Template() || saved.Model.Config.PadTokenID != 0 {
		t.Errorf("saved: template %v, padding token %d", saved.Tokenizer.HasTemplate(), saved.Model.Config.PadTokenID)
	}
}

// Tokens that the options set are in the files that transformers reads.
func TestTokensOfOptions(t *testing.T) {
	o := pasted(t, courseConfig)
	o.EOSToken, o.PadToken = "<|endoftext|>", "<|im_start|>"
	s := load(t, o)
	to := filepath.Join(t.TempDir(), "student")
	if err := s.Save(to); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]map[string]any{
		"config.json":            {"eos_token_id": 0.0, "pad_token_id": 1.0},
		"generation_config.json": {"eos_token_id": []any{0.0, 2.0}},
		"tokenizer_config.json":  {"eos_token": "<|endoftext|>", "pad_token": "<|im_start|>"},
	} {
		data, err := os.ReadFile(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		for key, v := range want {
			if fmt.Sprint(got[key]) != fmt.Sprint(v) {
				t.Errorf("%s: %s is %v, not %v", name, key, got[key], v)
			}
		}
	}
	for options, say := range map[string]string{"{pad_token: nobody}": `pad_token "nobody"`, "{eos_token: nobody}": `eos_token "nobody"`, "{student: no/such/place/}": "student: "} {
		o := pasted(t, options)
		if o.Student == "a-model" {
			o.Student = tiny
		}
		if _, err := Load(context.Background(), o, nil); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// From nothing: a directory with a configuration and a tokenizer is enough, and the same seed gives the same student.
func TestFromScratch(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join(tiny, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	train := func(seed int64) (Result, *student.Model) {
		o := pasted(t, "{from_scratch: true, learning_rate: 2e-3, lr_scheduler_type: cosine, per_device_train_batch_size: 12, max_steps: 12, logging_steps: 3}")
		o.Student, o.Seed = dir, &seed
		s := load(t, o)
		list := readAll(t, Data{Path: golden + "sft/data/text.jsonl"})
		enc, err := NewEncoder(o, s.Tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		examples, _, err := enc.EncodeRows(context.Background(), list)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Fit(context.Background(), o, s.Model, examples, Hooks{Now: ticking()})
		if err != nil {
			t.Fatal(err)
		}
		return r, s.Model
	}
	a, one := train(1)
	b, two := train(1)
	c, _ := train(2)
	if a != b || a.LossFirst == c.LossFirst {
		t.Errorf("seed 1: %+v and %+v, seed 2: %+v", a, b, c)
	}
	for i, p := range one.Params {
		if !slices.Equal(p.Data, two.Params[i].Data) {
			t.Errorf("%s differs from one training to the next", p.Name)
		}
	}
	if start := math.Log(384); math.Abs(a.LossFirst-start) > 1 || a.LossLast > a.LossFirst-0.5 {
		t.Errorf("the loss goes from %v to %v; at first it should be about %v", a.LossFirst, a.LossLast, start)
	}
	o := pasted(t, "{}")
	o.Student = dir
	if _, err := Load(context.Background(), o, nil); err == nil {
		t.Error("a directory without weights is loaded")
	}
	if err := setKeys(filepath.Join(dir, "config.json"), map[string]any{"initializer_range": -1}); err != nil {
		t.Fatal(err)
	}
	o.FromScratch = true
	if _, err := Load(context.Background(), o, nil); err == nil || !strings.Contains(err.Error(), "initializer_range is -1") {
		t.Errorf("%v", err)
	}
}

func fitted(t *testing.T, ctx context.Context, options string, spoil func(*Student, []Example), h Hooks) (Result, error) {
	t.Helper()
	r := openRun(t, "i-two-epochs")
	o := pasted(t, options)
	o.Student = tiny
	s := load(t, o)
	examples := r.encoded(t, s)
	if spoil != nil {
		spoil(s, examples)
	}
	return Fit(ctx, o, s.Model, examples, h)
}

func TestTrainingFails(t *testing.T) {
	background := context.Background()
	// A loss that is not a number names the rows.
	_, err := fitted(t, background, "{per_device_train_batch_size: 2}", func(s *Student, _ []Example) { s.Model.Params[0].Data[0] = float32(math.NaN()) }, Hooks{})
	if err == nil || !strings.Contains(err.Error(), "train: step 1: the loss of pc-10.jsonl line") || !strings.Contains(err.Error(), "is not a number") || stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Errorf("NaN: %v", err)
	}
	// So does a token that the model does not have.
	_, err = fitted(t, background, "{}", func(_ *Student, x []Example) { x[4].Tokens[0] = 9999 }, Hooks{})
	if err == nil || !strings.Contains(err.Error(), "pc-10.jsonl line 5") {
		t.Errorf("a token too high: %v", err)
	}
	// A learning rate that is far too high ends, rather than writing a student of NaNs.
	_, err = fitted(t, background, "{learning_rate: 1e30, max_grad_norm: 0, lr_scheduler_type: constant, max_steps: 20}", nil, Hooks{})
	if err == nil || !strings.Contains(err.Error(), "lower learning_rate") {
		t.Errorf("diverged: %v", err)
	}
	// A cancelled context ends at the next update, with what was done until then.
	ctx, cancel := context.WithCancel(background)
	result, err := fitted(t, ctx, "{per_device_train_batch_size: 1}", nil, Hooks{Step: func(l Line) error {
		if l.Step == 3 {
			cancel()
		}
		return nil
	}})
	if !errors.Is(err, context.Canceled) || result.Steps != 3 || !strings.Contains(err.Error(), "stopped before step 4 of 30") {
		t.Errorf("cancelled: %v after %d steps", err, result.Steps)
	}
	// A log that cannot be written ends it.
	full := errors.New("no space left")
	for _, h := range []Hooks{{Line: func(Line) error { return full }}, {Step: func(Line) error { return full }}} {
		if _, err := fitted(t, background, "{logging_steps: 1}", nil, h); !errors.Is(err, full) {
			t.Errorf("a full disk: %v", err)
		}
	}
	// A micro-batch that is never full.
	if _, err := fitted(t, background, "{dataloader_drop_last: true, per_device_train_batch_size: 11}", nil, Hooks{}); err == nil || !strings.Contains(err.Error(), "dataloader_drop_last is true") {
		t.Errorf("drop_last: %v", err)
	}
}

func TestRunRefuses(t *testing.T) {
	for change, say := range map[*func(*Options)]string{
		new(func(o *Options) { o.Data.Path = "" }):        "train.data.path: is missing",
		new(func(o *Options) { o.Data.Path = "nowhere" }): "train.data.path: ",
		new(func(o *Options) { o.Student = "" }):          "train.student: is missing",
		new(func(o *Options) { o.MaxLength = new(2) }):    "raise max_length",
		new(func(o *Options) { o.WeightDecay = -1 }):      "train.weight_decay: is -1",
	} {
		dir := t.TempDir()
		o := pasted(t, courseConfig)
		(*change)(&o)
		if _, err := Run(context.Background(), o, dir, UI{}); err == nil || !strings.Contains(err.Error(), say) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%v, not %q", err, say)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
			t.Errorf("%s: %v was written", say, left)
		}
	}
}
