package train

import (
	"math"
	"slices"
	"strings"

	"stillhouse/internal/options"
)

// Options say what is trained and how. The keys are those of TRL 1.16's SFTConfig, with its meaning and its defaults;
// the first nine are this program's own. What SFTConfig has and this struct has not is in sftconfig.go: taken with the
// one value that means nothing here, else refused by name.
type Options struct {
	Student     string         `yaml:"student" json:"student" doc:"The model to train: a directory, or a name on the Hub."`
	FromScratch bool           `yaml:"from_scratch" json:"from_scratch" doc:"Draw the weights anew with seed and the config's initializer_range instead of loading them: the directory needs config.json and the tokenizer only."`
	Data        Data           `yaml:"data" json:"data" doc:"The rows of stillhouse train. stillhouse run trains on the rows that it has kept."`
	Questions   []string       `yaml:"questions" json:"questions" doc:"Questions that the student is asked before and after the training."`
	AskKwargs   map[string]any `yaml:"ask_kwargs" json:"ask_kwargs" doc:"Variables of the chat template when the student is asked: by the questions, and in the evaluation. Rows must be trained with the same context."`
	Compat      string         `yaml:"compat" json:"compat" doc:"Whose meaning the keys have: trl-1; or that of an older release, trl-0.17, trl-0.16, trl-0.13 or trl-0.9, which decides the next three keys where they are left out."`

	NumItemsInBatch string `yaml:"num_items_in_batch" json:"num_items_in_batch" doc:"What an update's losses are divided by: shifted, the labels that are predicted; unshifted, also those of rows' first tokens; micro_batch, the mean of the micro-batches' means."`
	MaskPadToken    *bool  `yaml:"mask_pad_token" json:"mask_pad_token" doc:"Never train the padding token, so not the end of a turn where it is the same token."`
	AppendEOS       string `yaml:"append_eos" json:"append_eos" doc:"Where the end-of-sequence token is appended unless it is there: text, to rows of plain strings; ids, to the ids of every row; none."`

	PEFT        *PEFT  `yaml:"peft" json:"peft" doc:"Train an adapter in place of the model's weights; written with nothing under it, LoRA with PEFT's defaults."`
	InitAdapter string `yaml:"init_adapter" json:"init_adapter" doc:"The same as peft.init_adapter."`

	LearningRate              *float64 `yaml:"learning_rate" json:"learning_rate" doc:"The highest learning rate of the schedule."`
	NumTrainEpochs            float64  `yaml:"num_train_epochs" json:"num_train_epochs" doc:"How often all rows are visited; a fraction ends within an epoch."`
	MaxSteps                  int      `yaml:"max_steps" json:"max_steps" doc:"Number of updates, in place of num_train_epochs when it is above 0."`
	PerDeviceTrainBatchSize   int      `yaml:"per_device_train_batch_size" json:"per_device_train_batch_size" doc:"Rows of a micro-batch."`
	GradientAccumulationSteps int      `yaml:"gradient_accumulation_steps" json:"gradient_accumulation_steps" doc:"Micro-batches of an update."`
	LRSchedulerType           string   `yaml:"lr_scheduler_type" json:"lr_scheduler_type" doc:"linear, cosine, constant or constant_with_warmup."`
	WarmupSteps               float64  `yaml:"warmup_steps" json:"warmup_steps" doc:"Updates over which the learning rate rises from 0; below 1 a share of all updates."`
	WarmupRatio               float64  `yaml:"warmup_ratio" json:"warmup_ratio" doc:"The older name of a warmup_steps below 1; counts when that is 0."`
	Optim                     string   `yaml:"optim" json:"optim" doc:"adamw_torch_fused or adamw_torch, which are one optimiser here."`
	WeightDecay               float64  `yaml:"weight_decay" json:"weight_decay" doc:"AdamW's decoupled weight decay; biases and the weights of norms are left out."`
	AdamBeta1                 *float64 `yaml:"adam_beta1" json:"adam_beta1" doc:"Decay of AdamW's mean of the gradients."`
	AdamBeta2                 *float64 `yaml:"adam_beta2" json:"adam_beta2" doc:"Decay of AdamW's mean of the squared gradients."`
	AdamEpsilon               float64  `yaml:"adam_epsilon" json:"adam_epsilon" doc:"Added to the root of the squared gradients' mean."`
	MaxGradNorm               *float64 `yaml:"max_grad_norm" json:"max_grad_norm" doc:"The norm that gradients are clipped to; 0 does not clip."`

	MaxLength          *int   `yaml:"max_length" json:"max_length" doc:"Longer rows are cut to so many tokens; null or 0 cuts none."`
	TruncationMode     string `yaml:"truncation_mode" json:"truncation_mode" doc:"What is kept of a row that is cut: keep_start or keep_end."`
	AssistantOnlyLoss  bool   `yaml:"assistant_only_loss" json:"assistant_only_loss" doc:"Train the assistant's turns alone, all of them: what the chat template's generation marks enclose."`
	LossType           string `yaml:"loss_type" json:"loss_type" doc:"nll, the negative log-likelihood, or dft: each token's, times its probability, taken as a constant."`
	CompletionOnlyLoss *bool  `yaml:"completion_only_loss" json:"completion_only_loss" doc:"Train the completion alone; by default so for rows with a prompt and a completion."`
	DatasetTextField   string `yaml:"dataset_text_field" json:"dataset_text_field" doc:"The column of plain text rows."`
	EOSToken           string `yaml:"eos_token" json:"eos_token" doc:"The token that ends a turn, in place of the tokenizer's."`
	PadToken           string `yaml:"pad_token" json:"pad_token" doc:"The padding token to be written to the student's configuration, in place of the tokenizer's."`
	ChatTemplatePath   string `yaml:"chat_template_path" json:"chat_template_path" doc:"A Jinja file, or a directory with a tokenizer, whose chat template is used in place of the student's."`
	PadToMultipleOf    *int   `yaml:"pad_to_multiple_of" json:"pad_to_multiple_of" doc:"Changes nothing: rows are never padded here."`

	Packing         bool   `yaml:"packing" json:"packing" doc:"Join rows into packs of max_length tokens, which then count as rows."`
	PackingStrategy string `yaml:"packing_strategy" json:"packing_strategy" doc:"bfd: best fit decreasing, longer rows are cut; bfd_split: longer rows are split; wrapped: one stream, cut every max_length tokens, whose tokens see across rows."`
	PaddingFree     bool   `yaml:"padding_free" json:"padding_free" doc:"Changes nothing: rows are never padded here."`

	EvalData               Data    `yaml:"eval_data" json:"eval_data" doc:"Rows of the same kind to evaluate on."`
	EvalSplit              float64 `yaml:"eval_split" json:"eval_split" doc:"Without eval_data: the share of the prompts whose rows are held out to evaluate on."`
	EvalStrategy           string  `yaml:"eval_strategy" json:"eval_strategy" doc:"When to evaluate: no, steps or epoch; with steps also after the last update."`
	EvalSteps              float64 `yaml:"eval_steps" json:"eval_steps" doc:"Updates from one evaluation to the next; below 1 a share of all updates; 0 takes logging_steps."`
	EvalDelay              float64 `yaml:"eval_delay" json:"eval_delay" doc:"No evaluation before this update, or with eval_strategy epoch this epoch."`
	EvalOnStart            bool    `yaml:"eval_on_start" json:"eval_on_start" doc:"Evaluate before the first update too."`
	EvalPacking            *bool   `yaml:"eval_packing" json:"eval_packing" doc:"Pack the rows of evaluation; as packing when it is left out."`
	PerDeviceEvalBatchSize int     `yaml:"per_device_eval_batch_size" json:"per_device_eval_batch_size" doc:"Rows of a micro-batch of evaluation, over which its means are taken."`

	LoggingStrategy    string  `yaml:"logging_strategy" json:"logging_strategy" doc:"When to log: steps, epoch or no."`
	LoggingSteps       float64 `yaml:"logging_steps" json:"logging_steps" doc:"Updates from one log line to the next; below 1 a share of all updates."`
	LoggingFirstStep   bool    `yaml:"logging_first_step" json:"logging_first_step" doc:"Log the first update too."`
	ReportTo           Reports `yaml:"report_to" json:"report_to" doc:"What is told of the training beside log.jsonl: tensorboard, prometheus, a list of them, or none."`
	LoggingDir         string  `yaml:"logging_dir" json:"logging_dir" doc:"Where TensorBoard's event files go; by default the folder tensorboard beside the student."`
	MetricsAddress     string  `yaml:"metrics_address" json:"metrics_address" doc:"Where Prometheus reads /metrics while the student is trained."`
	MetricsAllowRemote bool    `yaml:"metrics_allow_remote" json:"metrics_allow_remote" doc:"Let metrics_address be one that other machines reach; the endpoint asks for no key."`

	SaveStrategy           string  `yaml:"save_strategy" json:"save_strategy" doc:"When to write a checkpoint by itself: steps, epoch, best (after an evaluation that is the best so far) or no. Ctrl-C and SIGUSR1 write one in any case."`
	SaveSteps              float64 `yaml:"save_steps" json:"save_steps" doc:"Updates from one checkpoint to the next; below 1 a share of all updates."`
	SaveTotalLimit         *int    `yaml:"save_total_limit" json:"save_total_limit" doc:"How many checkpoints are kept, the best one apart; 0 keeps all. SFTConfig keeps all by default."`
	ResumeFromCheckpoint   string  `yaml:"resume_from_checkpoint" json:"resume_from_checkpoint" doc:"Left out: go on from the run's last checkpoint where there is one. false: begin again. true: it is an error when there is none. Else the directory of a checkpoint."`
	LoadBestModelAtEnd     bool    `yaml:"load_best_model_at_end" json:"load_best_model_at_end" doc:"The student is the one of the best evaluation, not the last one."`
	MetricForBestModel     string  `yaml:"metric_for_best_model" json:"metric_for_best_model" doc:"What the best evaluation is known by: loss, mean_token_accuracy or entropy."`
	GreaterIsBetter        *bool   `yaml:"greater_is_better" json:"greater_is_better" doc:"Whether more of that is better; by default so unless it is a loss."`
	EarlyStoppingPatience  int     `yaml:"early_stopping_patience" json:"early_stopping_patience" doc:"Stop after so many evaluations in a row that were not better than the best; 0 never stops."`
	EarlyStoppingThreshold float64 `yaml:"early_stopping_threshold" json:"early_stopping_threshold" doc:"By how much more than this an evaluation must be better to count as one."`
	MaxGradNormSpike       float64 `yaml:"max_grad_norm_spike" json:"max_grad_norm_spike" doc:"Stop, and name the rows, when a gradient norm is more than so many times the median of the last 64; 0 never stops."`

	Seed                  *int64 `yaml:"seed" json:"seed" doc:"Seed of the order of the rows, of the weights with from_scratch, and of an adapter and its dropout."`
	DataSeed              *int64 `yaml:"data_seed" json:"data_seed" doc:"Seed of the order of the rows, in place of seed."`
	TrainSamplingStrategy string `yaml:"train_sampling_strategy" json:"train_sampling_strategy" doc:"random shuffles the rows of each epoch, sequential keeps their order."`
	DataloaderDropLast    bool   `yaml:"dataloader_drop_last" json:"dataloader_drop_last" doc:"Leave out an epoch's last micro-batch when it is not full, and an evaluation's."`
	Deterministic         bool   `yaml:"deterministic" json:"deterministic" doc:"Give the same weights and log to the last bit on any number of threads."`
	GradientCheckpointing *bool  `yaml:"gradient_checkpointing" json:"gradient_checkpointing" doc:"Changes nothing: what is cheap is computed again in the backward pass, everything else is kept."`
}

// Data are rows in a file.
type Data struct {
	Path  string `yaml:"path" json:"path" doc:"A JSONL or Parquet file with the columns messages, or prompt and completion, or text."`
	Limit int    `yaml:"limit" json:"limit" doc:"Take only so many rows, the first ones; 0 takes all."`
}

// EnsureDefaults fills in what is not set, with the defaults of SFTConfig.
func (o *Options) EnsureDefaults() {
	o.ensureMeaning()
	if o.AskKwargs == nil {
		o.AskKwargs = map[string]any{"enable_thinking": false}
	}
	point(&o.LearningRate, 2e-5)
	ensure(&o.NumTrainEpochs, 3)
	ensure(&o.MaxSteps, -1)
	ensure(&o.PerDeviceTrainBatchSize, 8)
	ensure(&o.GradientAccumulationSteps, 1)
	ensure(&o.LRSchedulerType, "linear")
	ensure(&o.Optim, "adamw_torch_fused")
	point(&o.AdamBeta1, 0.9)
	point(&o.AdamBeta2, 0.999)
	ensure(&o.AdamEpsilon, 1e-8)
	point(&o.MaxGradNorm, 1)
	point(&o.MaxLength, 1024)
	ensure(&o.TruncationMode, "keep_start")
	ensure(&o.DatasetTextField, "text")
	ensure(&o.LoggingSteps, 10)
	ensure(&o.MetricsAddress, "127.0.0.1:9464")
	point(&o.Seed, 42)
	ensure(&o.TrainSamplingStrategy, "random")
	point(&o.GradientCheckpointing, true)
	o.ensureIntervals()
	o.ensureAdapter()
}

func ensure[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

func point[T any](v **T, otherwise T) {
	if *v == nil {
		*v = &otherwise
	}
}

// Validate names the first key whose value cannot be used. It expects that the defaults are filled in.
func (o Options) Validate() error {
	if o.Student == "" {
		return options.Wrongf("student", "is missing: name the model to train, a directory or a name on the Hub")
	}
	if err := o.checkAdapter(); err != nil {
		return err
	}
	for _, c := range []struct {
		key   string
		value string
		right []string
	}{
		{"packing_strategy", o.PackingStrategy, []string{"bfd", "bfd_split", "wrapped"}},
		{"loss_type", o.LossType, []string{"nll", "dft", "chunked_nll"}},
		{"eval_strategy", o.EvalStrategy, []string{"no", "steps", "epoch"}},
		{"save_strategy", o.SaveStrategy, []string{"no", "steps", "epoch", "best"}},
		{"metric_for_best_model", o.MetricForBestModel, []string{"loss", "mean_token_accuracy", "entropy"}},
		{"logging_strategy", o.LoggingStrategy, []string{"steps", "epoch", "no"}},
		{"compat", o.Compat, compats},
		{"num_items_in_batch", o.NumItemsInBatch, []string{shifted, unshifted, microBatch}},
		{"append_eos", o.AppendEOS, []string{eosText, eosIDs, eosNone}},
		{"lr_scheduler_type", o.LRSchedulerType, []string{"linear", "cosine", "constant", "constant_with_warmup"}},
		{"optim", o.Optim, []string{"adamw_torch_fused", "adamw_torch"}},
		{"truncation_mode", o.TruncationMode, []string{"keep_start", "keep_end"}},
		{"train_sampling_strategy", o.TrainSamplingStrategy, []string{"random", "sequential"}},
	} {
		if !slices.Contains(c.right, c.value) {
			return options.Wrongf(c.key, "is %q: it must be %s", c.value, strings.Join(c.right, " or "))
		}
	}
	for _, c := range []struct {
		key    string
		value  float64
		right  bool
		range_ string
	}{
		{"learning_rate", *o.LearningRate, *o.LearningRate >= 0, "0 or above"},
		{"num_train_epochs", o.NumTrainEpochs, o.NumTrainEpochs > 0 && o.NumTrainEpochs <= 1e6, "above 0, at most 1e6"},
		{"per_device_train_batch_size", float64(o.PerDeviceTrainBatchSize), o.PerDeviceTrainBatchSize > 0, "1 or above"},
		{"gradient_accumulation_steps", float64(o.GradientAccumulationSteps), o.GradientAccumulationSteps > 0, "1 or above"},
		{"warmup_steps", o.WarmupSteps, o.WarmupSteps >= 0, "0 or above"},
		{"warmup_ratio", o.WarmupRatio, o.WarmupRatio >= 0 && o.WarmupRatio <= 1, "from 0 to 1"},
		{"weight_decay", o.WeightDecay, o.WeightDecay >= 0, "0 or above"},
		{"adam_beta1", *o.AdamBeta1, *o.AdamBeta1 >= 0 && *o.AdamBeta1 < 1, "from 0 to below 1"},
		{"adam_beta2", *o.AdamBeta2, *o.AdamBeta2 >= 0 && *o.AdamBeta2 < 1, "from 0 to below 1"},
		{"adam_epsilon", o.AdamEpsilon, o.AdamEpsilon > 0, "above 0"},
		{"max_grad_norm", *o.MaxGradNorm, *o.MaxGradNorm >= 0, "0 or above"},
		{"max_length", float64(*o.MaxLength), *o.MaxLength == 0 || *o.MaxLength >= 2, "2 or above, or null for no limit"},
		{"logging_steps", o.LoggingSteps, o.LoggingSteps > 0, "above 0"},
		{"data.limit", float64(o.Data.Limit), o.Data.Limit >= 0, "0 or above"},
		{"eval_data.limit", float64(o.EvalData.Limit), o.EvalData.Limit >= 0, "0 or above"},
		{"eval_split", o.EvalSplit, o.EvalSplit >= 0 && o.EvalSplit < 1, "from 0 to below 1"},
		{"eval_steps", o.EvalSteps, o.EvalSteps >= 0, "0 or above"},
		{"eval_delay", o.EvalDelay, o.EvalDelay >= 0, "0 or above"},
		{"save_steps", o.SaveSteps, o.SaveSteps > 0, "above 0"},
		{"save_total_limit", float64(*o.SaveTotalLimit), *o.SaveTotalLimit >= 0, "1 or above, or 0 to keep all"},
		{"early_stopping_patience", float64(o.EarlyStoppingPatience), o.EarlyStoppingPatience >= 0, "1 or above, or 0 for none"},
		{"early_stopping_threshold", o.EarlyStoppingThreshold, o.EarlyStoppingThreshold >= 0, "0 or above"},
		{"max_grad_norm_spike", o.MaxGradNormSpike, o.MaxGradNormSpike == 0 || o.MaxGradNormSpike > 1, "above 1, or 0 for none"},
		{"per_device_eval_batch_size", float64(o.PerDeviceEvalBatchSize), o.PerDeviceEvalBatchSize > 0, "1 or above"},
	} {
		if !c.right || math.IsInf(c.value, 0) {
			return options.Wrongf(c.key, "is %v: it must be %s", c.value, c.range_)
		}
	}
	if err := o.validateMeaning(); err != nil {
		return err
	}
	if err := o.validateReports(); err != nil {
		return err
	}
	return o.validateIntervals()
}

// dataSeed is the seed of the order of the rows.
func (o Options) dataSeed() int64 {
	if o.DataSeed != nil {
		return *o.DataSeed
	}
	return *o.Seed
}

// order is the order in which an epoch visits n rows.
func (o Options) order(n, epoch int) []int {
	if o.TrainSamplingStrategy == "sequential" {
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		return order
	}
	return Order(n, o.dataSeed(), epoch)
}
