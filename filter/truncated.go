package filter

import (
	"fmt"

	"stillhouse"
)

// Truncated drops answers that ended before their end: because the limit of tokens was reached (finish_reason length), or
// because the endpoint's filter stopped them (content_filter).
type Truncated struct{}

// EnsureDefaults does nothing: there are no options.
func (o *Truncated) EnsureDefaults() {}

// Validate finds nothing: there are no options.
func (o *Truncated) Validate() error { return nil }

// New makes the rule.
func (o *Truncated) New() (Rule, error) { return truncatedRule{}, nil }

type truncatedRule struct{ stateless }

func (truncatedRule) Judge(row stillhouse.Sample) (string, bool) {
	switch row.FinishReason {
	case "length":
		return fmt.Sprintf("finish_reason is length: cut off after %d tokens", row.CompletionTokens), true
	case "content_filter":
		return fmt.Sprintf("finish_reason is content_filter: the endpoint's filter stopped it after %d tokens", row.CompletionTokens), true
	}
	return "", false
}
