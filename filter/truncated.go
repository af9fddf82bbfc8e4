package filter

import (
	"fmt"

	"stillhouse"
)

// Truncated drops answers that ended because the limit of tokens was reached (finish_reason length).
type Truncated struct{}

// EnsureDefaults does nothing: there are no options.
func (o *Truncated) EnsureDefaults() {}

// Validate finds nothing: there are no options.
func (o *Truncated) Validate() error { return nil }

// New makes the rule.
func (o *Truncated) New() (Rule, error) { return truncatedRule{}, nil }

type truncatedRule struct{ stateless }

func (truncatedRule) Judge(row stillhouse.Sample) (string, bool) {
	if row.FinishReason != "length" {
		return "", false
	}
	return fmt.Sprintf("finish_reason is length: cut off after %d tokens", row.CompletionTokens), true
}
