package distill

import (
	"slices"

	"stillhouse/internal/options"
)

// AnswerOptions are the keys of the block `distill:` that say what is asked of an answer beside its text, and how it is
// written into rows.
type AnswerOptions struct {
	Systems           []string          `yaml:"systems,omitempty" json:"systems,omitempty" doc:"Several system prompts, or personas, instead of one: which is asked with is drawn by the seed, told in the column system, and the same in every run."`
	SystemBy          string            `yaml:"system_by" json:"system_by" doc:"prompt asks all samples of a prompt with one of systems, so that servers can share work among them; sample has the samples of a prompt take them by turns."`
	KeepSystem        bool              `yaml:"keep_system" json:"keep_system" doc:"Puts the system prompt that was sent into the row's prompt, so that the student is trained with it, instead of into the column system."`
	Tools             *options.Document `yaml:"tools,omitempty" json:"tools,omitempty" doc:"The tools that the teacher may call where a prompt brings none of its own: a list as in OpenAI's API, or the path of a JSON file that holds it. They are in the column tools."`
	ToolChoice        any               `yaml:"tool_choice,omitempty" json:"tool_choice,omitempty" doc:"auto, none, required, or {type: function, function: {name: NAME}}; sent with tools only."`
	ParallelToolCalls *bool             `yaml:"parallel_tool_calls,omitempty" json:"parallel_tool_calls,omitempty" doc:"Whether an answer may hold several calls; sent with tools only."`
	ResponseFormat    *ResponseFormat   `yaml:"response_format,omitempty" json:"response_format,omitempty" doc:"Makes the teacher answer in JSON, where the server knows how."`
	LogProbs          bool              `yaml:"logprobs" json:"logprobs" doc:"Asks for the log-probability of every token of an answer, which go into the column logprobs."`
	TopLogProbs       int               `yaml:"top_logprobs" json:"top_logprobs" doc:"And for those of so many of the likeliest tokens at each place, 0 to 20; needs logprobs."`
	ReasoningEffort   string            `yaml:"reasoning_effort" json:"reasoning_effort" doc:"How much a reasoning model thinks, in the endpoint's words, such as low, medium or high."`
	PresencePenalty   *float64          `yaml:"presence_penalty" json:"presence_penalty" doc:"-2 to 2, above 0 for new subjects; sent only when set."`
	FrequencyPenalty  *float64          `yaml:"frequency_penalty" json:"frequency_penalty" doc:"-2 to 2, above 0 against repetition; sent only when set."`
	ReasoningTags     []string          `yaml:"reasoning_tags,omitempty" json:"reasoning_tags,omitempty" doc:"Two texts, such as <think> and </think>, between which an answer has its reasoning where the endpoint leaves it in the text: it goes into the column reasoning."`
	Stream            bool              `yaml:"stream" json:"stream" doc:"Has answers come piece by piece, for endpoints that cut a connection on which long nothing comes; timeout then is how long nothing of an answer may come. The rows are the same."`
	StreamUsage       *bool             `yaml:"stream_usage" json:"stream_usage" doc:"Asks for the token counts at a stream's end; false is for endpoints that refuse stream_options."`
}

func (o *AnswerOptions) ensureDefaults() {
	if o.SystemBy == "" {
		o.SystemBy = SystemByPrompt
	}
	if o.StreamUsage == nil {
		o.StreamUsage = new(true)
	}
}

// validate checks what is asked of an answer beside its text.
func (o *AnswerOptions) validate() error {
	penalty := func(v *float64) bool { return v == nil || *v >= -2 && *v <= 2 }
	switch {
	case o.TopLogProbs < 0 || o.TopLogProbs > 20:
		return options.Wrongf("top_logprobs", "is %d: it must be 0 to 20", o.TopLogProbs)
	case o.TopLogProbs > 0 && !o.LogProbs:
		return options.Wrongf("top_logprobs", "is %d, and logprobs is false: write logprobs: true", o.TopLogProbs)
	case !penalty(o.PresencePenalty):
		return options.Wrongf("presence_penalty", "is %v: it must be -2 to 2", *o.PresencePenalty)
	case !penalty(o.FrequencyPenalty):
		return options.Wrongf("frequency_penalty", "is %v: it must be -2 to 2", *o.FrequencyPenalty)
	case len(o.ReasoningTags) != 0 && (len(o.ReasoningTags) != 2 || slices.Contains(o.ReasoningTags, "") || o.ReasoningTags[0] == o.ReasoningTags[1]):
		return options.Wrongf("reasoning_tags", `is %q: it must be two texts that differ, such as ["<think>", "</think>"]`, o.ReasoningTags)
	}
	return nil
}
