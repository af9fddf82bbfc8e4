// Package prompts reads the prompts of a run: rows of files or of datasets of the Hugging Face Hub, one by one, made into
// conversations, drawn and put in order.
//
//	files ──▶ rows ──▶ conversation ──▶ no duplicates ──▶ drawn ──▶ examples before it ──▶ in order
//	files.go           row.go, template.go                draw.go   examples.go            internal/spool
//
// What comes out is a function of the files and the options alone, and of the memory only what is said in each file is
// held: never all prompts.
package prompts

import (
	"slices"

	"stillhouse/internal/options"
)

// Rows say which files, and which of their columns mean what.
type Rows struct {
	Path      Paths    `yaml:"path" json:"path" doc:"A file of prompts, or a list of them, read as one: JSONL (one object a line), a JSON array, either of them packed by gzip, or Parquet; a glob such as data/*.parquet; or a dataset of the Hub: hf://datasets/OWNER/NAME/CONFIG/SPLIT, or hf://datasets/OWNER/NAME@REVISION/FILE-OR-GLOB."`
	Prompt    string   `yaml:"prompt" json:"prompt" doc:"The column of the prompt: a text, or a conversation as a list of messages with role and content. prompt by default, where there is no template."`
	Template  Template `yaml:"template" json:"template" doc:"Builds the conversation from columns, in place of prompt: a Jinja template of the user's message; or {system: …, user: …}, or a list of {role: …, content: …}, each with a template. A last message of the assistant is the answer of few-shot examples."`
	FewShot   *FewShot `yaml:"few_shot,omitempty" json:"few_shot,omitempty" doc:"Examples, as turns before each prompt."`
	Reference string   `yaml:"reference" json:"reference" doc:"The column of the right answer, where there is one."`
	ID        string   `yaml:"id" json:"id" doc:"The column of the prompt's id; by default the id is a hash of the conversation and its tools."`
	System    string   `yaml:"system" json:"system" doc:"The column of a system prompt for the row; it becomes the conversation's first message."`
	Tools     string   `yaml:"tools" json:"tools" doc:"The column of the tools that the teacher may call: a list, or its JSON text."`
	Meta      []string `yaml:"meta" json:"meta" doc:"Columns that are carried along as they are."`
	Limit     int      `yaml:"limit" json:"limit" doc:"The most prompts to take, from the start of the files; 0 takes all."`
	OnBadRow  string   `yaml:"on_bad_row" json:"on_bad_row" doc:"error stops at the first row that cannot be used; skip leaves such rows out and counts them."`
	Source    string   `yaml:"source" json:"source" doc:"What the rows are called in the column source; by default the name of the file that each is from."`

	Section  string                               `yaml:"-" json:"-"` // the block's own key, which errors name; prompts by default
	Progress func(file string, done, total int64) `yaml:"-" json:"-"` // of downloads; may be nil
}

// Options are Rows, and which of them are taken in which order.
type Options struct {
	Rows `yaml:",inline"`

	Sample  int   `yaml:"sample" json:"sample" doc:"So many prompts drawn from all of them; 0 takes all."`
	Shuffle bool  `yaml:"shuffle" json:"shuffle" doc:"Whether prompts come in an order of their own, that follows from the seed, rather than that of the files."`
	Seed    int64 `yaml:"seed" json:"seed" doc:"The seed of sample and shuffle."`
}

// FewShot are examples that stand as turns before each prompt.
type FewShot struct {
	Path   Paths  `yaml:"path" json:"path" doc:"The files of the examples, whose columns are named as those of the prompts; by default the prompts' own files. A row is never an example for itself."`
	Count  int    `yaml:"count" json:"count" doc:"Examples before each prompt."`
	Answer string `yaml:"answer" json:"answer" doc:"The column of an example's answer; by default the template's last message, if it is the assistant's, else the reference."`
	Fixed  bool   `yaml:"fixed" json:"fixed" doc:"Whether all prompts have the same examples, as suits endpoints that cache the beginning of requests; otherwise each has its own."`
	Pool   int    `yaml:"pool" json:"pool" doc:"How many rows are drawn to choose examples from; they are held in memory."`
	Seed   int64  `yaml:"seed" json:"seed" doc:"The seed that the examples are drawn with."`
}

// What on_bad_row may be.
const (
	OnBadRowError = "error"
	OnBadRowSkip  = "skip"
)

// exampleKey is the key of meta that lists a prompt's examples.
const exampleKey = "few_shot"

// EnsureDefaults fills in what was left out.
func (o *Rows) EnsureDefaults() {
	if o.Section == "" {
		o.Section = "prompts"
	}
	if o.Prompt == "" && len(o.Template) == 0 {
		o.Prompt = "prompt"
	}
	if o.OnBadRow == "" {
		o.OnBadRow = OnBadRowError
	}
	if o.FewShot != nil {
		o.FewShot.EnsureDefaults()
	}
}

// EnsureDefaults fills in what was left out.
func (o *FewShot) EnsureDefaults() {
	if o.Count == 0 {
		o.Count = 3
	}
	if o.Pool == 0 {
		o.Pool = 1000
	}
}

// Validate says which key of the block has a value that cannot be, and what would be right.
func (o *Rows) Validate() error {
	switch {
	case len(o.Path) == 0:
		return options.Wrongf("path", "is missing: name a JSONL or Parquet file, or a dataset of the Hub as hf://datasets/OWNER/NAME")
	case len(o.Template) > 0 && o.Prompt != "":
		return options.Wrongf("template", "cannot be beside prompt, which names the column of a whole prompt: take one of them out")
	case o.Limit < 0:
		return options.Wrongf("limit", "is %d: it must be a positive number, or 0 for all", o.Limit)
	case o.OnBadRow != "" && o.OnBadRow != OnBadRowError && o.OnBadRow != OnBadRowSkip:
		return options.Wrongf("on_bad_row", "is %q: it must be %s or %s", o.OnBadRow, OnBadRowError, OnBadRowSkip)
	}
	if err := options.Under("path", o.Path.Validate()); err != nil {
		return err
	}
	if err := options.Under("template", o.Template.validate(o.FewShot != nil)); err != nil {
		return err
	}
	if o.FewShot == nil {
		return nil
	}
	if slices.Contains(o.Meta, exampleKey) {
		return options.Wrongf("meta", "names the column %s, under which the examples of a prompt are recorded: leave it out", exampleKey)
	}
	return options.Under("few_shot", o.FewShot.validate(o))
}

func (o *FewShot) validate(rows *Rows) error {
	switch {
	case o.Count < 1 || o.Count > 100:
		return options.Wrongf("count", "is %d: it must be 1 to 100", o.Count)
	case o.Pool <= o.Count || o.Pool > 1_000_000:
		return options.Wrongf("pool", "is %d: it must be more than count (%d), and at most 1000000", o.Pool, o.Count)
	case o.Answer != "" && rows.Template.answers():
		return options.Wrongf("answer", "cannot be beside a template that ends with the assistant's message: take one of them out")
	case o.Answer == "" && !rows.Template.answers() && rows.Reference == "":
		return options.Wrongf("answer", "is missing: name the column of the examples' answers, or give the template a last message of the assistant")
	}
	return options.Under("path", o.Path.Validate())
}

// Validate says which key of the block has a value that cannot be, and what would be right.
func (o *Options) Validate() error {
	if err := o.Rows.Validate(); err != nil {
		return err
	}
	if o.Sample < 0 {
		return options.Wrongf("sample", "is %d: it must be a positive number, or 0 for all", o.Sample)
	}
	return nil
}
