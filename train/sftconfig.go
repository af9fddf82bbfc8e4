package train

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"stillhouse/internal/options"
)

// A foreign key is one of SFTConfig's that [Options] has no field for. It is taken when its value is one of take, which
// changes nothing here, and refused with its reason otherwise. null is always taken: it is "not set".
type foreign struct {
	take []string // as written in YAML; any value when it is empty
	say  string
}

var (
	anything = foreign{}
	off      = func(say string) foreign { return foreign{[]string{"false"}, say} }
	unset    = func(say string) foreign { return foreign{[]string{""}, say} }
	only     = func(say string, values ...string) foreign { return foreign{values, say} }
)

const (
	noEval  = "an evaluation computes the loss, the token accuracy and the entropy"
	oneCPU  = "one process on one machine's processors trains; export the rows for a trainer on many"
	fp32    = "training is in float32"
	hubPush = "nothing is uploaded; the student is a directory that huggingface_hub can upload"
	hfLoad  = "models are loaded by this program, not by transformers"
)

// foreigners are all keys of SFTConfig (TRL 1.16, with TrainingArguments of transformers 5.23) without a field.
var foreigners = map[string]foreign{
	// What is trained.
	"shuffle_dataset":          off("the rows are not shuffled before the first epoch; every epoch visits them in an order of its own"),
	"dataset_kwargs":           unset("rows are always prepared by this program"),
	"label_smoothing_factor":   only("labels are not smoothed", "0", "0.0"),
	"neftune_noise_alpha":      unset("no noise is added to the embeddings"),
	"router_aux_loss_coef":     unset("mixture-of-experts models are not trained"),
	"lr_scheduler_kwargs":      unset("the schedules have no arguments beyond the warm-up"),
	"optim_args":               unset("AdamW is set by adam_beta1, adam_beta2, adam_epsilon and weight_decay"),
	"optim_target_modules":     unset("AdamW trains all parameters"),
	"bf16":                     off(fp32),
	"fp16":                     off(fp32),
	"tf32":                     off(fp32),
	"bf16_full_eval":           off(fp32),
	"fp16_full_eval":           off(fp32),
	"auto_find_batch_size":     off("the batch size is never changed"),
	"activation_offloading":    off("activations stay in memory"),
	"activation_checkpointing": anything, "activation_checkpointing_kwargs": anything, "gradient_checkpointing_kwargs": anything,
	"average_tokens_across_devices": anything,

	// The model.
	"model_init_kwargs": unset(hfLoad),
	"trust_remote_code": off("code that comes with a model is never run"),
	"torch_compile":     off(hfLoad), "torch_compile_backend": unset(hfLoad), "torch_compile_mode": unset(hfLoad),
	"use_liger_kernel": off(hfLoad), "liger_kernel_config": unset(hfLoad),
	"use_cache": anything,

	// Lines.
	"logging_nan_inf_filter":        anything, // a loss that is not a number ends the training
	"include_num_input_tokens_seen": only("num_tokens in the log is the count", "no", "false"),
	"log_level":                     anything,
	"log_level_replica":             anything,
	"log_on_each_node":              anything,
	"disable_tqdm":                  anything,
	"run_name":                      anything,
	"project":                       anything,
	"trackio_space_id":              unset("the log is log.jsonl in the student's directory"),
	"trackio_bucket_id":             unset("the log is log.jsonl in the student's directory"),
	"trackio_static_space_id":       unset("the log is log.jsonl in the student's directory"),
	"skip_memory_metrics":           anything,
	"include_for_metrics":           only(noEval, "[]"),
	"debug":                         only("there is no debugger of that name", "", "[]"),
	"output_dir":                    anything, // the directory is runs/NAME
	"do_train":                      anything,
	"restore_callback_states_from_checkpoint": anything, // they always are

	// Evaluation.
	"eval_accumulation_steps": unset(noEval),
	"eval_do_concat_batches":  anything,
	"eval_use_gather_object":  anything,
	"prediction_loss_only":    anything,
	"batch_eval_metrics":      off(noEval),
	"do_eval":                 anything,
	"do_predict":              off(noEval),

	// Checkpoints.
	"save_only_model":       anything,
	"save_on_each_node":     anything,
	"enable_jit_checkpoint": anything, // SIGTERM always ends with a checkpoint
	"ignore_data_skip":      off("a training that is resumed goes on with the next row"),
	"push_to_hub":           off(hubPush),
	"hub_token":             unset("a token is read from HF_TOKEN, never from a config"),
	"hub_private_repo":      unset(hubPush),
	"hub_model_id":          unset(hubPush),
	"hub_strategy":          anything,
	"hub_always_push":       off(hubPush),
	"hub_revision":          unset(hubPush),

	// Where Python would compute.
	"use_cpu":                    anything,
	"full_determinism":           anything, // results never depend on timing
	"accelerator_config":         unset(oneCPU),
	"parallelism_config":         unset(oneCPU),
	"fsdp":                       only(oneCPU, "", "[]", "false"),
	"fsdp_config":                unset(oneCPU),
	"deepspeed":                  unset(oneCPU),
	"ddp_backend":                unset(oneCPU),
	"ddp_find_unused_parameters": anything, "ddp_bucket_cap_mb": anything, "ddp_broadcast_buffers": anything, "ddp_static_graph": anything, "ddp_timeout": anything,
	"local_rank":              only(oneCPU, "-1", "0"),
	"torch_empty_cache_steps": anything,
	"dataset_num_proc":        anything,
	"dataloader_num_workers":  anything, "dataloader_pin_memory": anything, "dataloader_persistent_workers": anything,
	"dataloader_prefetch_factor": anything, "dataloader_multiprocessing_context": anything,
	"dataloader_in_order":   only("batches are always in order", "true"),
	"remove_unused_columns": anything,
	"label_names":           unset("the labels are made of the rows"),
	"length_column_name":    anything,
}

// positive are the keys whose 0 would be taken for "not set".
var positive = []string{"num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size", "save_steps", "gradient_accumulation_steps", "adam_epsilon", "logging_steps"}

// Known reports whether key may stand under train: as a field of [Options], or as a key of SFTConfig that is taken or
// refused by [Options.UnmarshalYAML] with a reason of its own.
func Known(key string) bool {
	_, ok := foreigners[key]
	return ok || slices.Contains(fields(), key)
}

// fields are the keys of [Options].
func fields() (keys []string) {
	for f := range reflect.TypeFor[Options]().Fields() {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}

// UnmarshalYAML reads the block under train. Errors name the line, the key and what would be right.
func (o *Options) UnmarshalYAML(block *yaml.Node) error {
	var problems options.Problems
	ours, noLimit := *block, false
	ours.Content = nil
	for i := 0; block.Kind == yaml.MappingNode && i+1 < len(block.Content); i += 2 {
		key, value := block.Content[i], block.Content[i+1]
		switch {
		case key.Value == "max_length" && value.Tag == "!!null":
			noLimit = true
		case key.Value == "peft" && value.ShortTag() == "!!null" && value.Value != "": // null is no adapter, nothing is one with the defaults
			continue
		case key.Value == "pad_to_multiple_of" && slices.Contains([]string{"auto", "none", "None"}, value.Value):
			continue
		case strings.HasSuffix(key.Value, "_strategy") && value.ShortTag() == "!!bool" && !strings.EqualFold(value.Value, "true"): // YAML's no, as some write it
			no := *value
			no.Tag, no.Value = "!!str", "no"
			value = &no
		case key.Value == "resume_from_checkpoint" && value.ShortTag() == "!!bool":
			text := *value
			text.Tag, text.Value = "!!str", strings.ToLower(value.Value)
			value = &text
		case slices.Contains(positive, key.Value):
			var v float64
			if value.Decode(&v) == nil && v == 0 && value.Tag != "!!null" {
				problems = append(problems, options.Problem{Line: key.Line, Key: key.Value, Text: "is 0: it must be above 0"})
			}
		}
		ours.Content = append(ours.Content, key, value)
	}
	others := options.Fields{}
	for key, f := range foreigners {
		others[key] = &f
	}
	type plain Options
	problems = append(problems, options.ProblemsOf(options.Decode(&ours, (*plain)(o), others))...)
	if len(problems) > 0 {
		return problems
	}
	if noLimit {
		o.MaxLength = new(int)
	}
	return nil
}

// UnmarshalYAML takes or refuses a value.
func (f *foreign) UnmarshalYAML(value *yaml.Node) error {
	if len(f.take) == 0 || value.Tag == "!!null" {
		return nil
	}
	text := value.Value
	if value.Kind == yaml.SequenceNode && len(value.Content) == 0 {
		text = "[]"
	}
	if value.Kind == yaml.ScalarNode || text == "[]" {
		if slices.ContainsFunc(f.take, func(t string) bool { return strings.EqualFold(t, text) }) {
			return nil
		}
	}
	if text == "" {
		text = "set"
	}
	leave := "leave it out"
	if f.take[0] != "" {
		leave += fmt.Sprintf(" or write %s", f.take[0])
	}
	return options.Wrongf("", "is %s, which is not done here: %s; %s", text, f.say, leave)
}
