package train

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stillhouse"
	"stillhouse/internal/student"
)

// A goldenRun is a run of TRL 1.16: see testdata/parity/train/sft/README.md for its files and the tolerances.
type goldenRun struct {
	Name, Model, Data string
	EvalData          string `json:"eval_data"`
	Effective         map[string]any
	LoRA              map[string]any `json:"lora"`
	batches           []goldenBatch
	log               []goldenLine
	final             goldenFinal
}

type goldenBatch struct {
	Update int
	Rows   []int
	IDs    [][]int32 `json:"input_ids"`
	Labels [][]int32
	Mask   [][]int `json:"attention_mask"`
	Places [][]int `json:"position_ids"`
	Items  float64 `json:"num_items_in_batch"`
	Loss   float64
}

type goldenLine struct {
	Line
	NumTokens     float64  `json:"num_tokens"`
	TrainLoss     *float64 `json:"train_loss"`
	EvalLoss      *float64 `json:"eval_loss"`
	EvalEntropy   float64  `json:"eval_entropy"`
	EvalAccuracy  float64  `json:"eval_mean_token_accuracy"`
	EvalNumTokens float64  `json:"eval_num_tokens"`
}

type goldenFinal struct {
	Updates     int
	TrainLoss   float64 `json:"train_loss"`
	RowsIn      int     `json:"rows_in"`
	RowsTrained int     `json:"rows_trained"`
	Params      map[string]struct {
		L2            float64
		First4, Last4 []float64
	}
}

func lines[T any](t *testing.T, name string) (out []T) {
	t.Helper()
	f, err := os.Open(golden + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return out
}

func openRun(t *testing.T, name string) goldenRun {
	var r goldenRun
	read(t, "sft/"+name+"/config.json", &r)
	read(t, "sft/"+name+"/final.json", &r.final)
	r.batches = lines[goldenBatch](t, "sft/"+name+"/batches.jsonl")
	r.log = lines[goldenLine](t, "sft/"+name+"/log.jsonl")
	return r
}

// options are the run's arguments, the ones that its maker set included.
func (r goldenRun) options(t *testing.T) Options {
	set := map[string]any{"student": golden + "models/" + r.Model}
	for key, v := range r.Effective {
		if Known(key) && key != "eos_token" && key != "pad_token" {
			set[key] = v
		}
	}
	if r.LoRA != nil {
		peft := maps.Clone(r.LoRA)
		peft["init_adapter"] = golden + "sft/" + r.Name + "/adapter_init"
		set["peft"] = peft
	}
	if r.EvalData != "" {
		set["eval_data"] = map[string]any{"path": golden + "sft/data/" + r.EvalData + ".jsonl"}
	}
	if template := golden + "sft/" + r.Name + "/chat_template.jinja"; exists(template) {
		set["chat_template_path"] = template
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return pasted(t, string(text))
}

// encoded are the rows of the run, as this program encodes them.
func (r goldenRun) encoded(t *testing.T, s *Student) []Example {
	t.Helper()
	list := readAll(t, Data{Path: golden + "sft/data/" + r.Data + ".jsonl"})
	if len(list) != r.final.RowsIn {
		t.Fatalf("%d rows, not %d", len(list), r.final.RowsIn)
	}
	examples, account := encodedBy(t, s, s.Options, list)
	kept := len(s.Options.Pack(examples))
	if kept != r.final.RowsTrained || !account.Balanced() || !s.Options.Packing && account.Dropped[NoTrainedToken] != int64(r.final.RowsIn-kept) {
		t.Errorf("%d rows of %+v: %d of %d rows are trained in TRL", kept, account, r.final.RowsTrained, r.final.RowsIn)
	}
	return examples
}

// eval are the rows that the run evaluates on.
func (r goldenRun) eval(t *testing.T, s *Student) []Example {
	if r.EvalData == "" {
		return nil
	}
	examples, _ := encodedBy(t, s, s.Options.evaluation(), readAll(t, s.Options.EvalData))
	return examples
}

func encodedBy(t *testing.T, s *Student, o Options, list []Row) ([]Example, stillhouse.Account) {
	t.Helper()
	enc, err := NewEncoder(o, s.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	examples, account, err := enc.EncodeRows(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	if err := enc.CheckEnds(examples, s.Model.Config.EOSTokenIDs); err != nil {
		t.Error(err)
	}
	return examples, account
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// resumedRun is the run that is stopped and resumed.
const resumedRun = "j-resume"

var goldenRuns = []string{
	"a-course-messages", "a-course-completion", "a-course-pc-full", "b-bs4", "b-bs8-as-course", "b-pad-to-multiple", "c-packing-bfd", "c-packing-bfd-bs2", "c-packing-bfd-split",
	"c-packing-wrapped", "d-truncate", "d-truncate-keep-end", "f-assistant-only", "l-dft", "e-cosine-warmup-wd", "e-constant-warmup-ratio", "h-partial-window", "i-two-epochs", "k-text", "k-pc-text", "m-qwen2", "m-qwen3",
	"g-lora", "g-rslora", "g-dora", "m-qwen3-lora",
}

// Every run is TRL's: the order of the rows, their ids and labels, each line of the log, and the weights at the end.
func TestGoldenRuns(t *testing.T) {
	for _, name := range goldenRuns {
		t.Run(name, func(t *testing.T) {
			r := openRun(t, name)
			s := load(t, r.options(t))
			examples := r.encoded(t, s)
			r.checkBatches(t, s.Options, s.Options.Pack(examples))
			r.checkTraining(t, s, examples)
		})
	}
}

func load(t *testing.T, o Options) *Student {
	t.Helper()
	s, err := Load(context.Background(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Tokenizer.Close() })
	return s
}

func (r goldenRun) checkBatches(t *testing.T, o Options, examples []Example) {
	plan, err := o.Plan(len(examples))
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for w := range plan.Windows() {
		for _, rows := range w.Batches {
			if at == len(r.batches) {
				t.Fatalf("update %d: TRL has no more micro-batches", w.Update)
			}
			b := r.batches[at]
			at++
			if b.Update != w.Update || b.Mask != nil && !slices.Equal(rows, b.Rows) {
				t.Fatalf("micro-batch %d: update %d of rows %v, in TRL %d of %v", at, w.Update, rows, b.Update, b.Rows)
			}
			if n := w.labels(examples); float64(n) != b.Items {
				t.Errorf("update %d: %d labels, in TRL %v", w.Update, n, b.Items)
			}
			if b.Places != nil {
				checkJoined(t, b, rows, examples)
				continue
			}
			for i, row := range rows {
				n := 0
				for _, m := range b.Mask[i] {
					n += m
				}
				e := examples[row]
				if !slices.Equal(e.Tokens, b.IDs[i][:n]) || !slices.Equal(e.Labels, b.Labels[i][:n]) {
					t.Errorf("row %d: ids %v\nlabels %v\nin TRL %v\n%v", row, e.Tokens, e.Labels, b.IDs[i][:n], b.Labels[i][:n])
				}
			}
		}
	}
	if at != len(r.batches) {
		t.Errorf("%d micro-batches, in TRL %d", at, len(r.batches))
	}
}

// checkJoined looks at a micro-batch whose rows TRL has joined.
func checkJoined(t *testing.T, b goldenBatch, rows []int, examples []Example) {
	var ids, labels []int32
	var places []int
	for _, row := range rows {
		e := examples[row]
		ids, labels = append(ids, e.Tokens...), append(labels, e.Labels...)
		for _, n := range e.documents() {
			labels[len(places)] = student.Ignored // what nothing predicts, and TRL takes out
			for p := range n {
				places = append(places, p)
			}
		}
	}
	if len(b.IDs) != 1 || !slices.Equal(ids, b.IDs[0]) || !slices.Equal(labels, b.Labels[0]) || !slices.Equal(places, b.Places[0]) {
		t.Errorf("rows %v: ids %v\nlabels %v\npositions %v\nin TRL %v\n%v\n%v", rows, ids, labels, places, b.IDs, b.Labels, b.Places)
	}
}

func (r goldenRun) checkTraining(t *testing.T, s *Student, examples []Example) {
	var log, every []Line
	var evals []EvalLine
	result, err := Training{Options: s.Options, Model: s.Model, Rows: examples, Eval: r.eval(t, s), Hooks: Hooks{
		Line: func(l Line) error { log = append(log, l); return nil },
		Step: func(l Line) error { every = append(every, l); return nil },
		Eval: func(l EvalLine) error { evals = append(evals, l); return nil },
		Now:  ticking(),
	}}.Fit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	checkLog(t, "log.jsonl", r.log, log)
	checkEvals(t, r.log, evals)
	name := "sft/" + r.Name + "/log_every_update.jsonl"
	if _, err := os.Stat(golden + name); err == nil {
		checkLog(t, "log_every_update.jsonl", lines[goldenLine](t, name), every)
	}
	if result.Steps != r.final.Updates || math.Abs(result.LossMean-r.final.TrainLoss) > 1e-5 || result.Tokens != every[len(every)-1].NumTokens {
		t.Errorf("%+v: TRL made %d updates with the mean loss %v", result, r.final.Updates, r.final.TrainLoss)
	}
	params, adapter := s.Model.Params, s.Model.Adapter
	if adapter != nil {
		params = adapter.Params
		if len(params) != len(r.final.Params) {
			t.Errorf("%d parameters are trained, in TRL %d", len(params), len(r.final.Params))
		}
	}
	for _, p := range params {
		name := p.Name
		if adapter != nil { // as the modules are called while PEFT trains them
			name = strings.NewReplacer(".weight", ".default.weight", "magnitude_vector", "magnitude_vector.default.weight").Replace(name)
		}
		want, ok := r.final.Params[name]
		if !ok {
			t.Errorf("%s is not in TRL's model", p.Name)
			continue
		}
		sum := 0.0
		for _, v := range p.Data {
			sum += float64(v) * float64(v)
		}
		if l2 := math.Sqrt(sum); far(l2, want.L2, 1e-6*want.L2) {
			t.Errorf("%s: l2 %v, in TRL %v", p.Name, l2, want.L2)
		}
		for i, v := range slices.Concat(want.First4, want.Last4) {
			at := i
			if i >= 4 {
				at = len(p.Data) - 8 + i
			}
			if far(float64(p.Data[at]), v, 1e-5) {
				t.Errorf("%s[%d]: %v, in TRL %v", p.Name, at, p.Data[at], v)
			}
		}
	}
}

func far(got, want, tolerance float64) bool { return !(math.Abs(got-want) <= tolerance) }

func checkLog(t *testing.T, name string, want []goldenLine, got []Line) {
	t.Helper()
	dft := strings.Contains(t.Name(), "dft") // its loss is small, and compared to its size
	want = slices.DeleteFunc(slices.Clone(want), func(l goldenLine) bool { return l.TrainLoss != nil || l.EvalLoss != nil })
	if len(got) != len(want) {
		t.Fatalf("%s: %d lines, in TRL %d", name, len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Step != w.Step || float64(g.NumTokens) != w.NumTokens || far(g.Epoch, w.Epoch, 1e-12) || far(g.Loss, w.Loss, 1e-5) || dft && far(g.Loss, w.Loss, 1e-4*w.Loss) || far(g.GradNorm, w.GradNorm, 1e-5*w.GradNorm) ||
			far(g.LearningRate, w.LearningRate, 1e-12*w.LearningRate) || far(g.MeanTokenAccuracy, w.MeanTokenAccuracy, 1e-6) || far(g.Entropy, w.Entropy, 1e-5) {
			t.Errorf("%s: %+v\nin TRL %+v", name, g, w.Line)
		}
		if g.TokensPerS <= 0 || g.Left < 0 || g.Steps < g.Step {
			t.Errorf("%s: the pace of %+v is wrong", name, g)
		}
	}
}

// checkEvals compares the lines of the evaluations.
func checkEvals(t *testing.T, want []goldenLine, got []EvalLine) {
	t.Helper()
	want = slices.DeleteFunc(slices.Clone(want), func(l goldenLine) bool { return l.EvalLoss == nil })
	if len(got) != len(want) {
		t.Fatalf("%d evaluations, in TRL %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Step != w.Step || far(g.Epoch, w.Epoch, 1e-12) || far(g.Loss, *w.EvalLoss, 1e-5) || far(g.Entropy, w.EvalEntropy, 1e-5) || far(g.MeanTokenAccuracy, w.EvalAccuracy, 1e-6) ||
			float64(g.NumTokens) != w.EvalNumTokens || g.Runtime <= 0 || g.SamplesPerS <= 0 || g.StepsPerS <= 0 {
			t.Errorf("%+v\nin TRL %+v, loss %v", g, w, *w.EvalLoss)
		}
	}
}

// The decay applies to exactly the parameters of torch's first group.
func TestDecays(t *testing.T) {
	var run struct {
		Groups []struct {
			WeightDecay float64 `json:"weight_decay"`
			Params      []string
		} `json:"optimizer_groups"`
	}
	read(t, "sft/e-cosine-warmup-wd/config.json", &run)
	seen := 0
	for _, g := range run.Groups {
		for _, p := range g.Params {
			seen++
			if Decays(p) != (g.WeightDecay > 0) {
				t.Errorf("%s: decays %v, in TRL %v", p, Decays(p), g.WeightDecay)
			}
		}
	}
	if seen == 0 {
		t.Error("no parameters were looked at")
	}
	for name, want := range map[string]bool{
		"model.layers.0.self_attn.q_proj.bias": false, "model.layers.0.self_attn.q_norm.weight": false, "lm_head.weight": true, "model.embed_tokens.weight": true,
	} {
		if Decays(name) != want {
			t.Errorf("%s: decays %v", name, !want)
		}
	}
}

// What is tested against the goldens is all of them: a run that is copied here is also run.
func TestAllGoldenRunsAreTested(t *testing.T) {
	dirs, err := filepath.Glob(golden + "sft/*/config.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if name := filepath.Base(filepath.Dir(d)); !slices.Contains(goldenRuns, name) && name != resumedRun {
			t.Errorf("%s is not run", name)
		}
	}
	if len(dirs) != len(goldenRuns)+1 {
		t.Errorf("%d runs, not %d", len(dirs), len(goldenRuns)+1)
	}
	if student.Ignored != -100 {
		t.Error("the goldens' labels that are not trained are -100")
	}
}
