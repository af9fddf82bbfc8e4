package train

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/options"
)

// pasted reads options from YAML, or the JSON of a golden run.
func pasted(t *testing.T, text string) Options {
	t.Helper()
	var o Options
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if o.Student == "" {
		o.Student = "a-model"
	}
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

// The arguments of every golden run can be pasted, and what is not passed has TRL's value.
func TestGoldenArguments(t *testing.T) {
	runs, err := filepath.Glob(golden + "sft/*/config.json")
	if err != nil || len(runs) < 13 {
		t.Fatalf("%d runs: %v", len(runs), err)
	}
	for _, path := range runs {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var run struct {
			Name      string
			Set       map[string]any
			Effective map[string]any
		}
		if err := json.Unmarshal(data, &run); err != nil {
			t.Fatal(err)
		}
		if run.Set["eval_strategy"] != nil {
			run.Set["eval_data"] = map[string]any{"path": "rows.jsonl"} // TRL gets it as an argument of the trainer
		}
		set, err := json.Marshal(run.Set)
		if err != nil {
			t.Fatal(err)
		}
		o := reflect.ValueOf(pasted(t, string(set)))
		for f := range reflect.TypeFor[Options]().Fields() {
			key := f.Tag.Get("json")
			want, ok := run.Effective[key]
			if !ok || key == "gradient_checkpointing" || key == "logging_steps" || key == "eval_steps" && want == nil || key == "eos_token" || key == "pad_token" { // set by the maker of the goldens
				continue
			}
			got := o.FieldByIndex(f.Index)
			if got.Kind() == reflect.Pointer && !got.IsNil() {
				got = got.Elem()
			}
			v, _ := json.Marshal(got.Interface())
			w, _ := json.Marshal(want)
			if string(v) != string(w) {
				t.Errorf("%s: %s is %s, in TRL %s", run.Name, key, v, w)
			}
		}
	}
}

func TestOptionsTaken(t *testing.T) {
	for _, text := range []string{
		"{packing: false, report_to: none, bf16: false, fp16: false, save_strategy: 'no', eval_strategy: 'no', output_dir: ./out}",
		"{report_to: [], loss_type: nll, optim: adamw_torch, dataloader_num_workers: 4, disable_tqdm: true}",
		"{neftune_noise_alpha: null, label_smoothing_factor: 0.0}", "{eval_strategy: no, save_strategy: false, logging_strategy: False}",
		"{pad_to_multiple_of: auto, gradient_checkpointing: false, use_cpu: true, bf16: null, packing_strategy: null}",
		"{report_to: prometheus, metrics_address: '[::1]:0'}", "{metrics_address: '0.0.0.0:9464'}", "{report_to: prometheus, metrics_address: '0.0.0.0:9464', metrics_allow_remote: true}",
	} {
		pasted(t, text)
	}
	if o := pasted(t, "{max_length: null, pad_to_multiple_of: 16, learning_rate: 0, max_grad_norm: 0.0}"); *o.MaxLength != 0 || *o.PadToMultipleOf != 16 || *o.LearningRate != 0 || *o.MaxGradNorm != 0 {
		t.Errorf("a value was replaced by its default: %+v", o)
	}
	for key := range foreigners {
		if !Known(key) {
			t.Errorf("%s is not known", key)
		}
	}
	if Known("learning_rat") || !Known("learning_rate") {
		t.Error("Known is wrong")
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, c := range []struct{ text, say string }{
		{"packing: true\nmax_length: null", "packing: is true, but max_length is null"},
		{"eval_packing: true\nmax_length: null\neval_strategy: epoch\neval_split: 0.1", "eval_packing: is true, but max_length is null"},
		{"lr_scheduler_type: linear\ntorch_compile: true", "line 2: torch_compile: is true"},
		{"packing_strategy: ffd", `packing_strategy: is "ffd": it must be bfd or bfd_split or wrapped`},
		{"eval_strategy: true", `eval_strategy: wants text, not "true"`},
		{"eval_strategy: epoch", "eval_strategy: is epoch, but there are no rows to evaluate on"},
		{"eval_on_start: true", "eval_on_start: is true, but there are no rows"},
		{"{eval_split: 0.1, eval_data: {path: rows.jsonl}}", "eval_split: is 0.1, but eval_data names the rows"},
		{"per_device_eval_batch_size: 0", "per_device_eval_batch_size: is 0"},
		{"neftune_noise_alpha: 5", "neftune_noise_alpha: is 5, which is not done here: no noise is added to the embeddings; leave it out"},
		{"label_smoothing_factor: 0.1", "label_smoothing_factor: is 0.1, which is not done here: labels are not smoothed; leave it out or write 0"},
		{"deepspeed: {stage: 3}", "deepspeed: is set"},
		{"bf16: true", "bf16: is true, which is not done here: training is in float32; leave it out or write false"},
		{"eval_strategy: steps", "eval_strategy: is steps"},
		{"loss_type: focal", `loss_type: is "focal"`},
		{"report_to: [wandb]", `report_to: is "wandb", which is not told of a training here: tensorboard, prometheus; log.jsonl`},
		{"report_to: mlflow", `report_to: is "mlflow"`},
		{"report_to: all", "report_to: is all: name what you read, tensorboard or prometheus"},
		{"report_to: {a: 1}", "report_to: wants tensorboard or prometheus, or a list of them, or none"},
		{"{report_to: prometheus, metrics_address: '0.0.0.0:9464'}", `metrics_address: is "0.0.0.0:9464", which can be reached from other machines, and the endpoint asks for no key: use 127.0.0.1, or allow them with metrics_allow_remote: true`},
		{"{report_to: prometheus, metrics_address: ':9464'}", `metrics_address: is ":9464", which can be reached`},
		{"metrics_address: 9464", `metrics_address: is "9464": it must be HOST:PORT`},
		{"learning_rte: 1", `line 1: learning_rte: is not a key: did you mean "learning_rate"?`},
		{"pakcing: false", `did you mean "packing"`},
		{"num_train_epochs: 0", "line 1: num_train_epochs: is 0: it must be above 0"},
		{"num_train_epochs: -1", "num_train_epochs: is -1: it must be above 0"},
		{"per_device_train_batch_size: two", `line 1: per_device_train_batch_size: wants a whole number, not "two"`},
		{"learning_rate: -1e-4", "learning_rate: is -0.0001: it must be 0 or above"},
		{"learning_rate: .inf", "learning_rate: is +Inf"},
		{"learning_rate: .nan", "learning_rate: is NaN"},
		{"lr_scheduler_type: polynomial", `lr_scheduler_type: is "polynomial": it must be linear or cosine or constant or constant_with_warmup`},
		{"max_length: 1", "max_length: is 1: it must be 2 or above"},
		{"adam_beta2: 1", "adam_beta2: is 1: it must be from 0 to below 1"},
		{"data: {limit: -1}", "data.limit: is -1"},
		{"compat: trl-0", `compat: is "trl-0"`},
		{"[1, 2]", "line 1: wants keys and values"},
	} {
		var o Options
		err := yaml.Unmarshal([]byte(c.text), &o)
		if err == nil {
			o.Student = "a-model"
			o.EnsureDefaults()
			err = o.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, not %q", c.text, err, c.say)
		} else if !problem(err) && stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: the error is %v", c.text, stillhouse.KindOf(err))
		}
	}
	var o Options
	o.EnsureDefaults()
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "student: is missing") {
		t.Errorf("without a student: %v", err)
	}
}

// problem reports whether an error is one that a config's reader tells with its file.
func problem(err error) bool {
	var one options.Problem
	var all options.Problems
	return errors.As(err, &one) || errors.As(err, &all)
}

// Options survive YAML and JSON both ways, before and after the defaults are filled in.
func TestOptionsRoundTrip(t *testing.T) {
	o := pasted(t, "{student: m, completion_only_loss: false, max_length: null, data_seed: 7, data: {path: rows.jsonl, limit: 100}, questions: ['Who?']}")
	y, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var fromYAML, fromJSON Options
	if err := yaml.Unmarshal(y, &fromYAML); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(j, &fromJSON); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]Options{"YAML": fromYAML, "JSON": fromJSON} {
		if d := cmp.Diff(o, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	for f := range reflect.TypeFor[Options]().Fields() {
		if strings.TrimSuffix(f.Tag.Get("yaml"), ",omitempty") != f.Tag.Get("json") || f.Tag.Get("doc") == "" {
			t.Errorf("%s has no key or no doc: %s", f.Name, f.Tag)
		}
	}
}

// The example is the course's config, and is read.
func TestCourseExample(t *testing.T) {
	text, err := os.ReadFile("../examples/course.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Name  string
		Train Options
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	o := config.Train
	o.EnsureDefaults()
	if err := o.Validate(); err != nil || config.Name != "course" || *o.LearningRate != 8e-5 || o.GradientAccumulationSteps != 8 || len(o.Questions) != 3 || o.Data.Limit != 100 {
		t.Errorf("%+v: %v", config, err)
	}
}
