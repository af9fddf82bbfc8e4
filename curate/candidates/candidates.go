// Package candidates reads candidates that are there already, from this program's own runs or from the files of other tools,
// in whichever shape they were written.
//
//	files ──▶ rows ──▶ what the shape says ──▶ by prompt, in order ──▶ (prompt, K candidates)
//	scan.go   detect.go, a file a family       group.go
//
// The candidates of a prompt come side by side however far apart they stand in the files, prompts in the order of their
// first rows, candidates in the order of their samples. What does not fit into memory waits on disk: 40 bytes a prompt are
// held, and the candidates of one prompt.
package candidates

import (
	"fmt"
	"slices"

	"stillhouse/internal/options"
	"stillhouse/internal/rowfile"
)

// Options are the block `candidates:` of a run.
type Options struct {
	Path       rowfile.Paths `yaml:"path" json:"path" doc:"A file of candidates, or a list of them, read as one: JSONL, a JSON array, either of them packed by gzip, or Parquet; a glob such as out/output-rs*.jsonl; a run's folder, or a folder of its shards; or a dataset of the Hub, as in prompts.path."`
	Format     string        `yaml:"format" json:"format" doc:"The shape of the files: messages, prompt_completion, alpaca, sharegpt, preference, distilabel, nemo_skills, openai_batch, openrlhf, datatrove, curator or stillhouse. auto tells it by the columns, file by file."`
	BatchInput rowfile.Paths `yaml:"batch_input" json:"batch_input" doc:"The input files of OpenAI's Batch API, in which the prompts of its output stand. They may as well be among those of path."`
	Columns    Columns       `yaml:"columns" json:"columns" doc:"Columns that are named here are taken in place of those of the shape. A name with dots, where no column has it, leads into objects: metadata.answer."`
	Reference  string        `yaml:"reference" json:"reference" doc:"The column of the right answer, as those of columns; by default what the shape has for it."`
	Limit      int           `yaml:"limit" json:"limit" doc:"The most prompts to take, from the first on; 0 takes all."`
	OnBadRow   string        `yaml:"on_bad_row" json:"on_bad_row" doc:"error stops at the first row that cannot be read; skip leaves such rows out and counts them. A row that says that there was no answer is no bad row: it is counted as failed."`
	Source     string        `yaml:"source" json:"source" doc:"What the rows are called in the column source; by default what they have there, else the name of the file that each is from."`

	Progress func(file string, done, total int64) `yaml:"-" json:"-"` // of downloads; may be nil
}

// Columns are the names of columns that hold something else than the shape says.
type Columns struct {
	Prompt           string   `yaml:"prompt" json:"prompt" doc:"The prompt: a text or a list of messages. With completion beside it the shape does not count."`
	Completion       string   `yaml:"completion" json:"completion" doc:"The answer: a text or messages of the assistant; or a list of texts, which are the K answers to the prompt."`
	Messages         string   `yaml:"messages" json:"messages" doc:"A conversation whose last turn is the answer, in place of prompt and completion."`
	ID               string   `yaml:"id" json:"id" doc:"The prompt's id."`
	Sample           string   `yaml:"sample" json:"sample" doc:"The number of the answer among those to its prompt, from 0."`
	System           string   `yaml:"system" json:"system" doc:"A system prompt, which becomes the conversation's first message."`
	Tools            string   `yaml:"tools" json:"tools" doc:"The tools that the model could call: a list, or its JSON text."`
	Reasoning        string   `yaml:"reasoning" json:"reasoning" doc:"The reasoning before the answer."`
	FinishReason     string   `yaml:"finish_reason" json:"finish_reason" doc:"Why the answer ended: stop, length, tool_calls."`
	Model            string   `yaml:"model" json:"model" doc:"The model that answered."`
	PromptTokens     string   `yaml:"prompt_tokens" json:"prompt_tokens" doc:"The prompt's tokens."`
	CompletionTokens string   `yaml:"completion_tokens" json:"completion_tokens" doc:"The answer's tokens."`
	Meta             []string `yaml:"meta" json:"meta" doc:"Columns that are carried along as they are."`
}

// What on_bad_row may be.
const (
	OnBadRowError = "error"
	OnBadRowSkip  = "skip"
)

// Auto tells the shape of a file by its columns.
const Auto = "auto"

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	if o.Format == "" {
		o.Format = Auto
	}
	if o.OnBadRow == "" {
		o.OnBadRow = OnBadRowError
	}
}

// EnsureDefaults does nothing: columns that are not named are those of the shape.
func (c *Columns) EnsureDefaults() {}

// Validate says which key of the block has a value that cannot be, and what would be right.
func (o *Options) Validate() error {
	switch {
	case len(o.Path) == 0:
		return options.Wrongf("path", "is missing: name the files of candidates, or a run's folder")
	case o.Format != Auto && !slices.Contains(formats(), o.Format):
		return options.Wrongf("format", "is %q: %s", o.Format, options.Nearest(o.Format, append(formats(), Auto)))
	case len(o.BatchInput) > 0 && o.Format != Auto && o.Format != batchFormat:
		return options.Wrongf("batch_input", "is for the output of OpenAI's Batch API, and format is %q: take one of them out", o.Format)
	case o.Limit < 0:
		return options.Wrongf("limit", "is %d: it must be a positive number, or 0 for all", o.Limit)
	case o.OnBadRow != OnBadRowError && o.OnBadRow != OnBadRowSkip:
		return options.Wrongf("on_bad_row", "is %q: it must be %s or %s", o.OnBadRow, OnBadRowError, OnBadRowSkip)
	}
	if err := options.Under("path", o.Path.Validate()); err != nil {
		return err
	}
	if err := options.Under("batch_input", o.BatchInput.Validate()); err != nil {
		return err
	}
	return options.Under("columns", o.Columns.Validate())
}

// Validate says which columns cannot be named together.
func (c *Columns) Validate() error {
	switch {
	case c.Messages != "" && c.Prompt != "":
		return options.Wrongf("messages", "cannot be beside prompt, of which it is a part: take one of them out")
	case c.Messages != "" && c.Completion != "":
		return options.Wrongf("messages", "cannot be beside completion, which is its last turn: take one of them out")
	case c.Prompt != "" && c.Completion == "":
		return options.Wrongf("completion", "is missing: prompt is there, so name the column of the answers too")
	case c.Completion != "" && c.Prompt == "":
		return options.Wrongf("prompt", "is missing: completion is there, so name the column of the prompts too")
	}
	for i, name := range c.Meta {
		if name == "" || slices.Contains(c.Meta[:i], name) {
			return options.Wrongf(fmt.Sprintf("meta[%d]", i), "is %q: it must be a column that is not named before", name)
		}
	}
	return nil
}

// mapped says whether the columns say all that a shape would.
func (c *Columns) mapped() bool { return c.Completion != "" || c.Messages != "" }
