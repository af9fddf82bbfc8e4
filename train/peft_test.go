package train

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/student"
)

// The adapter at the end of a run is PEFT's, weight by weight, and its parameters are in AdamW's groups as TRL has them.
func TestGoldenAdapters(t *testing.T) {
	for _, name := range []string{"g-lora", "g-rslora", "g-dora", "m-qwen3-lora"} {
		t.Run(name, func(t *testing.T) {
			r := openRun(t, name)
			s := load(t, r.options(t))
			examples := r.encoded(t, s)
			if _, err := (Training{Options: s.Options, Model: s.Model, Rows: examples}).Fit(context.Background()); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := s.Save(dir); err != nil {
				t.Fatal(err)
			}
			got, want := adapterOf(t, dir), adapterOf(t, golden+"sft/"+name+"/adapter_final")
			if len(got) != len(want) {
				t.Errorf("%d tensors, in PEFT %d", len(got), len(want))
			}
			worst := 0.0
			for name, w := range want {
				for i := range w {
					if d := float64(got[name][i]) - float64(w[i]); far(d, 0, 1e-5) {
						t.Fatalf("%s[%d]: %v, in PEFT %v", name, i, got[name][i], w[i])
					} else {
						worst = max(worst, d, -d)
					}
				}
			}
			t.Logf("largest difference of a weight: %.2g", worst)
			var groups struct {
				Groups []struct{ Params []string } `json:"optimizer_groups"`
			}
			read(t, "sft/"+name+"/config.json", &groups)
			for i, g := range groups.Groups {
				for _, p := range g.Params {
					if Decays(p) != (i == 0) || got[strings.NewReplacer(".default", "", "magnitude_vector.default.weight", "magnitude_vector").Replace(p)] == nil {
						t.Errorf("%s is in group %d of TRL's optimiser", p, i+1)
					}
				}
			}
		})
	}
}

func adapterOf(t *testing.T, dir string) map[string][]float32 {
	t.Helper()
	a, err := student.LoadAdapter(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]float32{}
	for _, p := range a.Params {
		out[p.Name] = p.Data
	}
	return out
}

const adapterConfig = courseConfig + `
peft: {r: 4, lora_alpha: 8, lora_dropout: 0.1, target_modules: all-linear, use_dora: true, bias: none, task_type: CAUSAL_LM, MERGE}
`

func course(t *testing.T, config string) (*Report, string, string) {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	report, err := Run(context.Background(), pasted(t, config), dir, UI{Out: &out, Width: 100, Now: ticking()})
	if err != nil {
		t.Fatal(err)
	}
	return report, report.Student, out.String()
}

// A student with an adapter is written as an adapter directory, or merged with the adapter beside it; both answer alike.
func TestCourseOfAnAdapter(t *testing.T) {
	report, dir, text := course(t, strings.Replace(adapterConfig, ", MERGE", "", 1))
	if !strings.Contains(text, "0.2 million parameters; DoRA of rank 4 on 21 projections, 0.02 million parameters trained") {
		t.Errorf("what is trained is not said:\n%s", text)
	}
	for name, want := range map[string]bool{
		"adapter_config.json": true, "adapter_model.safetensors": true, "tokenizer.json": true, "tokenizer_config.json": true, "log.jsonl": true, "training.json": true,
		"config.json": false, "model.safetensors": false,
	} {
		if exists(filepath.Join(dir, name)) != want {
			t.Errorf("%s: in the student's directory: %v", name, !want)
		}
	}
	again, dir2, _ := course(t, strings.Replace(adapterConfig, ", MERGE", "", 1))
	if fmt.Sprint(adapterOf(t, dir)) != fmt.Sprint(adapterOf(t, dir2)) || !slices.Equal(report.Answers, again.Answers) {
		t.Error("a second training gave another adapter")
	}
	merged, dir3, _ := course(t, strings.Replace(adapterConfig, "MERGE", "merge: true", 1))
	if !slices.Equal(report.Answers, merged.Answers) {
		t.Errorf("%v, merged %v", report.Answers, merged.Answers)
	}
	if fmt.Sprint(adapterOf(t, dir)) != fmt.Sprint(adapterOf(t, filepath.Join(dir3, "adapter"))) {
		t.Error("the adapter beside the merged student is another")
	}
	here := func(base string) (string, error) { return base, nil }
	a, _, err := student.OpenStudent(dir, here)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := student.OpenStudent(dir3, here)
	if err != nil || b.Adapter != nil {
		t.Fatalf("the merged student: %v", err)
	}
	whole, err := a.Merged()
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range whole.Params {
		if !slices.Equal(p.Data, b.Params[i].Data) {
			t.Errorf("%s is another once it is merged", p.Name)
		}
	}
	// It can be gone on from, and is no base by itself.
	next := load(t, pasted(t, courseConfig+"peft: {init_adapter: "+dir+"}\n"))
	if fmt.Sprint(next.Model.Adapter.Config) != fmt.Sprint(a.Adapter.Config) {
		t.Errorf("%+v, not %+v", next.Model.Adapter.Config, a.Adapter.Config)
	}
	_, err = Load(context.Background(), pasted(t, "student: "+dir), nil)
	if err == nil || !strings.Contains(err.Error(), "name its base as student, and this directory as peft.init_adapter") || stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Errorf("an adapter as student: %v", err)
	}
}

// An adapter's directory has no config.json to say that its tokenizer splits text as those of qwen2 do.
func TestAdapterKeepsTheTokenizersClass(t *testing.T) {
	s := load(t, pasted(t, "{student: "+golden+"models/tiny-qwen2, peft: {r: 2}}"))
	dir := t.TempDir()
	if err := s.Save(dir); err != nil {
		t.Fatal(err)
	}
	tok, err := chat.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	const text = "e\u0301"
	if got, want := tok.Encode(text), s.Tokenizer.Encode(text); !slices.Equal(got, want) || tok.Class() != "Qwen2Tokenizer" {
		t.Errorf("%v of %s, not %v", got, tok.Class(), want)
	}
}

// A training of an adapter that is stopped and resumed is the one that was not, dropout included.
func TestResumeAdapter(t *testing.T) {
	const options = `{max_steps: 6, per_device_train_batch_size: 2, gradient_accumulation_steps: 2, learning_rate: 1e-2, logging_steps: 1, save_steps: 2,
peft: {r: 4, lora_dropout: 0.3, target_modules: [q_proj, up_proj], use_dora: true}}`
	whole := newTrial(t, options)
	if err := whole.run(0); err != nil {
		t.Fatal(err)
	}
	cut := newTrial(t, options)
	for _, stop := range []int{1, 3, 5} {
		if err := cut.run(stop); err == nil {
			t.Fatalf("it was not stopped after step %d", stop)
		}
	}
	if err := cut.run(0); err != nil {
		t.Fatal(err)
	}
	for i, p := range whole.student.Model.Adapter.Params {
		if !slices.Equal(p.Data, cut.student.Model.Adapter.Params[i].Data) {
			t.Errorf("%s is another after the resume", p.Name)
		}
	}
	for i := range whole.lines {
		if a, b := whole.lines[i], cut.lines[i]; a.Loss != b.Loss || a.GradNorm != b.GradNorm {
			t.Errorf("step %d: %v and %v, resumed %v and %v", a.Step, a.Loss, a.GradNorm, b.Loss, b.GradNorm)
		}
	}
}

func TestPEFTOptions(t *testing.T) {
	o := pasted(t, "peft:")
	want := PEFT{R: new(int), LoraAlpha: new(float64), LoraDropout: new(float64), UseRSLoRA: new(bool), UseDoRA: new(bool), InitLoraWeights: true}
	*want.R, *want.LoraAlpha = 8, 8
	if got, _ := json.Marshal(o.PEFT); string(got) != func() string { b, _ := json.Marshal(want); return string(b) }() {
		t.Errorf("the defaults are %s", got)
	}
	for _, text := range []string{"learning_rate: 1", "peft: null", "peft: ~"} {
		if o := pasted(t, text); o.PEFT != nil {
			t.Errorf("%s: an adapter is trained unasked", text)
		}
	}
	if o := pasted(t, "init_adapter: a/b"); o.PEFT == nil || o.PEFT.InitAdapter != "a/b" || o.PEFT.R != nil {
		t.Errorf("%+v", o.PEFT)
	}
	// What is written out is read back as it was.
	full := pasted(t, `peft: {r: 16, lora_alpha: 32, lora_dropout: 0.05, target_modules: ".*proj", exclude_modules: [k_proj], use_rslora: true, use_dora: true, init_lora_weights: gaussian,
layers_to_transform: 1, rank_pattern: {q_proj: 4}, alpha_pattern: {v_proj: 2.5}, merge: true}`)
	text, err := yaml.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	back := pasted(t, string(text))
	a, _ := json.Marshal(full)
	b, _ := json.Marshal(back)
	var decoded Options
	if err := json.Unmarshal(a, &decoded); err != nil {
		t.Fatal(err)
	}
	c, _ := json.Marshal(decoded)
	if string(a) != string(b) || string(a) != string(c) {
		t.Errorf("%s\n%s\n%s", a, b, c)
	}
	config, err := decoded.PEFT.config(student.AdapterConfig{})
	if err != nil || !slices.Equal(config.LayersToTransform, []int{1}) || config.TargetModules.Pattern != ".*proj" || !slices.Equal(config.ExcludeModules.Names, []string{"k_proj"}) {
		t.Errorf("%+v, %v", config, err)
	}
}

func TestPEFTRefused(t *testing.T) {
	for block, want := range map[string]string{
		"{r: 0}":                               "peft.r: is 0",
		"{r: -3}":                              "peft.r: is -3",
		"{lora_alpha: 0}":                      "peft.lora_alpha: is 0",
		"{lora_dropout: 1}":                    "peft.lora_dropout: is 1",
		"{lora_dropout: half}":                 "peft.lora_dropout: wants a number",
		"{target_modules: {a: b}}":             "peft.target_modules: is map[a:b]",
		"{target_modules: [1]}":                "1 is not the name of a module",
		"{layers_to_transform: first}":         "first is not the number of a layer",
		"{layers_to_transform: [-1]}":          "-1 is not the number of a layer",
		"{init_lora_weights: pissa}":           "peft.init_lora_weights: is pissa, which is not done here",
		"{rank_pattern: {q_proj: 0}}":          "peft.rank_pattern: is 0 for q_proj",
		"{bias: all}":                          "peft.bias: is all, which is not done here: the base's biases stay as they are; leave it out or write none",
		"{modules_to_save: [lm_head]}":         "peft.modules_to_save: is set, which is not done here: beside an adapter the base stays as it is, embedding and output head too; without peft all of it is trained; leave it out",
		"{target_modules: [q_proj, lm_head]}":  "peft.target_modules: names lm_head: the projections of the layers can have adapters, the embedding and the output head cannot; take it out",
		"{target_modules: [a.embed_tokens]}":   "peft.target_modules: names a.embed_tokens: the projections",
		"{task_type: SEQ_CLS}":                 "peft.task_type: is SEQ_CLS",
		"{use_qalora: true}":                   "peft.use_qalora: is true",
		"{arrow_config: {top_k: 2}}":           "peft.arrow_config: is set",
		"{lora_rank: 8}":                       "peft.lora_rank: is not a key",
		"{peft_type: IA3}":                     "peft.peft_type: is IA3",
		"{r: 4}\nfrom_scratch: true":           "peft: is set together with from_scratch",
		"{init_adapter: a}\ninit_adapter: b":   "init_adapter: is b, and peft.init_adapter is a",
		"{trainable_token_indices: [1, 2, 3]}": "peft.trainable_token_indices: is set",
	} {
		var o Options
		err := yaml.Unmarshal([]byte("student: a\npeft: "+block), &o)
		if err == nil {
			o.EnsureDefaults()
			err = o.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", block, err)
		}
	}
}

func TestInitAdapterRefused(t *testing.T) {
	const dir = golden + "sft/g-lora/adapter_init"
	for _, tc := range []struct{ student, peft, want string }{
		{"tiny-llama", "r: 4", "train.peft.r: is 4, but the adapter in " + dir + " has 8"},
		{"tiny-llama", "lora_alpha: 8", "train.peft.lora_alpha: is 8, but the adapter in " + dir + " has 16"},
		{"tiny-llama", "use_dora: true", "train.peft.use_dora: is true"},
		{"tiny-llama", "use_rslora: true", "train.peft.use_rslora: is true"},
		{"tiny-llama", "alpha_pattern: {q_proj: 1}", "train.peft.alpha_pattern"},
		{"tiny-llama", "target_modules: [q_proj]", "is not among those that its configuration asks for"},
		{"tiny-llama", "rank_pattern: {q_proj: 2}", "has shape [8 64], its configuration asks for [2 64]"},
		{"tiny-qwen3", "", "is it an adapter of this base?"},
		{"tiny-llama-other", "", "adapter_config.json"},
	} {
		from := dir
		if tc.student == "tiny-llama-other" {
			tc.student, from = "tiny-llama", t.TempDir()
		}
		o := pasted(t, "student: "+golden+"models/"+tc.student+"\npeft: {init_adapter: "+from+", "+tc.peft+"}")
		_, err := Load(context.Background(), o, nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", tc.peft, err)
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
}
