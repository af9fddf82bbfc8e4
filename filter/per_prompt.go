package filter

import (
	"fmt"

	"stillhouse"
	"stillhouse/internal/options"
)

// PerPrompt keeps at most so many rows of each prompt, the first ones.
type PerPrompt struct {
	Max int `yaml:"max" json:"max" doc:"The most rows of one prompt that are kept."`
}

// EnsureDefaults sets max to 1.
func (o *PerPrompt) EnsureDefaults() {
	if o.Max == 0 {
		o.Max = 1
	}
}

// Validate is an Invalid error when max would keep nothing.
func (o *PerPrompt) Validate() error {
	if o.Max < 1 {
		return options.Wrongf("max", "is %d: it must be 1 or more", o.Max)
	}
	return nil
}

// New makes the rule.
func (o *PerPrompt) New() (Rule, error) {
	return &perPromptRule{max: o.Max, kept: map[string]int{}}, nil
}

type perPromptRule struct {
	max  int
	kept map[string]int
}

func (r *perPromptRule) Judge(row stillhouse.Sample) (string, bool) {
	if r.kept[row.PromptID] < r.max {
		return "", false
	}
	return fmt.Sprintf("%d rows of prompt %q are kept already", r.max, row.PromptID), true
}

func (r *perPromptRule) Keep(row stillhouse.Sample) { r.kept[row.PromptID]++ }
