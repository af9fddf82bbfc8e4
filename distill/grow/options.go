package grow

import (
	"fmt"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/chat/jinja"
	"stillhouse/internal/options"
)

// Options are the block `prompts.grow` of a config.
type Options struct {
	Method      string         `yaml:"method" json:"method" doc:"self-instruct has the teacher write tasks like those it is shown; magpie has it write what a user would say, from nothing but its own chat template."`
	Target      int            `yaml:"target" json:"target" default:"-" doc:"Prompts to grow, those of prompts.path not counted."`
	MaxRequests int            `yaml:"max_requests" json:"max_requests" default:"-" doc:"The most requests that growth may cost; by default ten times those that the target takes when nothing is dropped."`
	Round       int            `yaml:"round" json:"round" doc:"Requests at a time. What a round brings is shown in later ones only, so this is part of what comes out."`
	KeepSeeds   *bool          `yaml:"keep_seeds" json:"keep_seeds" doc:"Whether the prompts of prompts.path are prompts of the run as well."`
	Seed        int64          `yaml:"seed" json:"seed" doc:"The seed of the draws, and of the requests."`
	Temperature *float64       `yaml:"temperature" json:"temperature" doc:"Sampling temperature of the requests that grow prompts."`
	TopP        *float64       `yaml:"top_p" json:"top_p" doc:"Nucleus sampling of these requests; sent only when set."`
	MaxTokens   int            `yaml:"max_tokens" json:"max_tokens" doc:"The most tokens of an answer; 1024 by default, 512 with magpie."`
	ExtraBody   map[string]any `yaml:"extra_body" json:"extra_body" doc:"Fields of these requests that this program does not know; by default those of distill.extra_body, with via completions none."`

	Near      string    `yaml:"near" json:"near" doc:"What keeps prompts apart: rouge-l, or minhash (the Jaccard similarity of runs of 3 words)."`
	Threshold float64   `yaml:"threshold" json:"threshold" doc:"The similarity to any prompt kept before, from which a new one is dropped; 0.7 by default, 0.8 with minhash."`
	MinWords  int       `yaml:"min_words" json:"min_words" doc:"The fewest words of a prompt."`
	MaxWords  int       `yaml:"max_words" json:"max_words" doc:"The most words of a prompt."`
	Forbidden *[]string `yaml:"forbidden" json:"forbidden" doc:"Words and phrases that no prompt may hold, in any case; one that begins with ^ counts at the start only. By default those of Self-Instruct: what a model without eyes and hands cannot do."`

	Demonstrations int    `yaml:"demonstrations" json:"demonstrations" doc:"self-instruct: tasks shown in a request."`
	Bootstrapped   *int   `yaml:"bootstrapped" json:"bootstrapped" doc:"self-instruct: how many of them are grown ones, once there are any."`
	Tasks          int    `yaml:"tasks" json:"tasks" doc:"self-instruct: tasks asked for in a request."`
	Instruction    string `yaml:"instruction" json:"instruction" doc:"self-instruct: a Jinja template of the request in place of the built-in one. It sees demonstrations (a list of texts), first and last (the numbers of the first and the last new task)."`

	Via       string   `yaml:"via" json:"via" doc:"magpie: completions goes on from the chat template up to the user's turn, by /completions, as the method wants; chat asks for a user's message in words, where there is only /chat/completions."`
	Tokenizer string   `yaml:"tokenizer" json:"tokenizer" doc:"magpie: the model whose chat template the teacher has, a directory or a name on the Hub, of which only the tokenizer is read."`
	PreQuery  string   `yaml:"pre_query" json:"pre_query" doc:"magpie: the text up to the user's turn, in place of the one that the tokenizer's template gives."`
	System    string   `yaml:"system" json:"system" doc:"magpie: a system prompt before the user's turn, which steers what users ask about."`
	Stop      []string `yaml:"stop" json:"stop" doc:"magpie: texts at which a user's turn ends, beside the one that the template gives. Magpie's own code adds a line break."`
}

// What method, near and via may be.
const (
	SelfInstruct = "self-instruct"
	Magpie       = "magpie"

	RougeL  = "rouge-l"
	MinHash = "minhash"

	ViaCompletions = "completions"
	ViaChat        = "chat"
)

// forbidden is the default: the words that Self-Instruct's code leaves out.
var forbidden = []string{"image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to", "^write a program"}

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	set := func(to *int, v int) {
		if *to == 0 {
			*to = v
		}
	}
	if o.Method == "" {
		o.Method = SelfInstruct
	}
	set(&o.Round, 16)
	set(&o.MinWords, 4)
	set(&o.MaxWords, 150)
	if o.KeepSeeds == nil {
		o.KeepSeeds = new(true)
	}
	if o.Temperature == nil {
		o.Temperature = new(1.0)
	}
	if o.Near == "" {
		o.Near = RougeL
	}
	if o.Threshold == 0 {
		o.Threshold = 0.7
		if o.Near == MinHash {
			o.Threshold = 0.8
		}
	}
	if o.Forbidden == nil {
		list := slices.Clone(forbidden)
		o.Forbidden = &list
	}
	if o.Method == Magpie {
		set(&o.MaxTokens, 512)
		if o.Via == "" {
			o.Via = ViaCompletions
		}
	} else {
		set(&o.MaxTokens, 1024)
		set(&o.Demonstrations, 8)
		set(&o.Tasks, 8)
		if o.Bootstrapped == nil {
			o.Bootstrapped = new(min(2, o.Demonstrations-1))
		}
	}
	if o.MaxRequests == 0 && o.Target > 0 {
		o.MaxRequests = 10 * o.needed()
	}
}

// needed is how many requests the target takes when nothing is dropped.
func (o *Options) needed() int {
	if o.Method == SelfInstruct && o.Tasks > 0 {
		return (o.Target + o.Tasks - 1) / o.Tasks
	}
	return o.Target
}

// Validate says which key of the block has a value that cannot be, and what would be right.
func (o *Options) Validate() error {
	between := func(key string, v, low, high int) error {
		if v < low || v > high {
			return options.Wrongf(key, "is %d: it must be %d to %d", v, low, high)
		}
		return nil
	}
	oneOf := func(key, v string, all ...string) error {
		if !slices.Contains(all, v) {
			return options.Wrongf(key, "is %q: it must be %s", v, strings.Join(all, " or "))
		}
		return nil
	}
	if o.Target < 1 {
		return options.Wrongf("target", "is %d: say how many prompts to grow, such as target: 1000", o.Target)
	}
	checks := []error{
		oneOf("method", o.Method, SelfInstruct, Magpie),
		between("target", o.Target, 1, 10_000_000), between("max_requests", o.MaxRequests, 1, 100_000_000), between("round", o.Round, 1, 4096),
		between("max_tokens", o.MaxTokens, 1, 1<<20), oneOf("near", o.Near, RougeL, MinHash),
		between("min_words", o.MinWords, 1, 10_000), between("max_words", o.MaxWords, o.MinWords, 100_000),
	}
	if o.Method == SelfInstruct {
		checks = append(checks, between("demonstrations", o.Demonstrations, 1, 100), between("tasks", o.Tasks, 1, 100),
			between("bootstrapped", *o.Bootstrapped, 0, o.Demonstrations-1))
	} else {
		checks = append(checks, oneOf("via", o.Via, ViaCompletions, ViaChat))
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	switch {
	case o.Threshold <= 0 || o.Threshold > 1:
		return options.Wrongf("threshold", "is %v: it must be above 0 and at most 1", o.Threshold)
	case !(*o.Temperature >= 0 && *o.Temperature <= 5):
		return options.Wrongf("temperature", "is %v: it must be 0 to 5", *o.Temperature)
	case *o.Temperature == 0:
		return options.Wrongf("temperature", "is 0: one request would bring the same as the next")
	case o.TopP != nil && !(*o.TopP > 0 && *o.TopP <= 1):
		return options.Wrongf("top_p", "is %v: it must be above 0 and at most 1", *o.TopP)
	}
	for i, word := range *o.Forbidden {
		if strings.TrimSpace(strings.TrimPrefix(word, "^")) == "" {
			return options.Wrongf(fmt.Sprintf("forbidden[%d]", i), "is %q, which is in every prompt: take it out", word)
		}
	}
	return o.validateMethod()
}

// CheckSeeds says whether so many seed prompts are enough.
func (o *Options) CheckSeeds(n int) error {
	if need := o.Demonstrations; o.Method == SelfInstruct && n < need-*o.Bootstrapped {
		return stillhouse.Invalidf("grow prompts: there are %d seed tasks in prompts.path, and a request shows %d: add some, or lower prompts.grow.demonstrations", n, need-*o.Bootstrapped)
	}
	return nil
}

// validateMethod checks the keys that belong to one of the methods.
func (o *Options) validateMethod() error {
	if o.Method == SelfInstruct {
		for key, v := range map[string]string{"via": o.Via, "tokenizer": o.Tokenizer, "pre_query": o.PreQuery, "system": o.System} {
			if v != "" {
				return options.Wrongf(key, "is for method: magpie: take it out")
			}
		}
		if _, err := jinja.Parse(o.Instruction); err != nil {
			return options.Wrongf("instruction", "is no Jinja template: %v", err)
		}
		return nil
	}
	switch {
	case o.Demonstrations != 0 || o.Tasks != 0 || o.Bootstrapped != nil || o.Instruction != "":
		return options.Wrongf("method", "is magpie, which shows nothing: take out demonstrations, bootstrapped, tasks and instruction")
	case o.Via == ViaCompletions && o.Tokenizer == "" && o.PreQuery == "":
		return options.Wrongf("tokenizer", "is missing: name the model whose chat template the teacher has, or give pre_query, such as %q; or write via: chat", "<|im_start|>user\n")
	case o.Via == ViaChat && (o.Tokenizer != "" || o.PreQuery != ""):
		return options.Wrongf("via", "is chat, where the server puts the template around messages: take out tokenizer and pre_query")
	case o.PreQuery != "" && (o.System != "" || o.Tokenizer != ""):
		return options.Wrongf("pre_query", "is the whole text up to the user's turn: take out system and tokenizer, or pre_query")
	}
	return nil
}
