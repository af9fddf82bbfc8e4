package reward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/curate/reward/instructions"
	"stillhouse/internal/options"
)

// IFEval is the reward ifeval: whether the answer follows the instructions of its row, by the 25
// checks of "Instruction-Following Evaluation for Large Language Models" (Zhou et al. 2023) as the Python package lm-eval
// 0.4.13 has them; package instructions says what each looks at.
//
// The instructions are the columns instruction_id_list and kwargs of the benchmark, which prompts.meta carries along. A
// check holds strictly for the answer as it is, loosely for the answer without its first line, its last line or its stars
// too. The verdict is right when all instructions are followed. The score is 1 or 0, or with share the share of those that
// are followed. What the model reasons before its answer does not count.
//
// Rows without instructions, with one that is unknown or lacks an argument, and answers of more than 1 MiB are unparsable.
// An empty answer follows nothing: it is wrong.
type IFEval struct {
	Mode  string `yaml:"mode" json:"mode" doc:"strict or loose."`
	Share bool   `yaml:"share" json:"share" doc:"Whether the score is the share of the instructions that are followed, rather than 1 for all of them."`
}

// EnsureDefaults checks strictly.
func (o *IFEval) EnsureDefaults() {
	if o.Mode == "" {
		o.Mode = "strict"
	}
}

// Validate is an Invalid error when the mode is neither strict nor loose.
func (o *IFEval) Validate() error {
	if !slices.Contains([]string{"strict", "loose"}, o.Mode) {
		return options.Wrongf("mode", "is %q: it must be strict or loose", o.Mode)
	}
	return nil
}

// New makes the reward. What the checks need is loaded here, not on the clock of the first answer.
func (o *IFEval) New() (Reward, error) { return o, instructions.Load() }

func (*IFEval) Version() string { return "1" }

func (o *IFEval) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	list, err := instructionsOf(c)
	if err != nil {
		return cannotTell("%v", err)
	}
	text, s, ok := parsed(c)
	if !ok && (len(c.Text()) > maxReply || s.Evidence == "the reasoning never ends") {
		return s
	}
	var missed []string
	for _, i := range list {
		if ctx.Err() != nil {
			return outOfTime
		}
		follows, err := i.Follows(text, o.Mode == "loose")
		if err != nil {
			return cannotTell("%s: %v", shorten(i.ID), err)
		}
		if !follows {
			missed = append(missed, i.ID)
		}
	}
	followed := len(list) - len(missed)
	score := judged(len(missed) == 0, "%d of %d followed, %s", followed, len(list), o.Mode)
	if len(missed) > 0 {
		score.Evidence += ": not " + strings.Join(missed[:min(3, len(missed))], ", ")
		if len(missed) > 3 {
			score.Evidence += fmt.Sprintf(" and %d more", len(missed)-3)
		}
	}
	if o.Share {
		score.Score = float64(followed) / float64(len(list))
	}
	return score
}

// instructionsOf reads the instructions of a row.
func instructionsOf(c stillhouse.Candidate) (list []instructions.Instruction, err error) {
	if c.Meta == nil {
		return nil, errors.New("the row has no instructions: name their columns, prompts.meta: [instruction_id_list, kwargs]")
	}
	var meta struct {
		IDs    json.RawMessage `json:"instruction_id_list"`
		Kwargs json.RawMessage `json:"kwargs"`
	}
	var ids []string
	var kwargs []map[string]any
	if json.Unmarshal([]byte(*c.Meta), &meta) != nil || meta.IDs == nil {
		return nil, errors.New("the row has no instruction_id_list: name its column, prompts.meta: [instruction_id_list, kwargs]")
	}
	if err := json.Unmarshal(unquoted(meta.IDs), &ids); err != nil || len(ids) == 0 {
		return nil, fmt.Errorf("instruction_id_list is %q: it must be a list of instructions", shorten(string(meta.IDs)))
	}
	if err := json.Unmarshal(unquoted(meta.Kwargs), &kwargs); err != nil || len(kwargs) != len(ids) {
		return nil, fmt.Errorf("kwargs is %q: it must be a list of as many objects as there are instructions (%d)", shorten(string(meta.Kwargs)), len(ids))
	}
	for i, id := range ids {
		in, err := instructions.New(id, kwargs[i])
		if err != nil {
			return nil, fmt.Errorf("instruction %s: %w", shorten(id), err)
		}
		list = append(list, in)
	}
	return list, nil
}

// unquoted is the JSON in a text that holds it, as some copies of the benchmark have kwargs, else the JSON itself.
func unquoted(raw json.RawMessage) []byte {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text)
	}
	if raw == nil {
		return []byte("null")
	}
	return raw
}
