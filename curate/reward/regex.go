package reward

import (
	"context"
	"regexp"

	"stillhouse"
	"stillhouse/internal/options"
)

// Regex is the reward regex: 1 and right when the pattern is found anywhere in the completion,
// 0 and wrong when not, the other way round with negate. Patterns are RE2's, as in Go's package regexp, which finds in
// time linear in the text.
type Regex struct {
	Pattern string `yaml:"pattern" json:"pattern" doc:"A regular expression (RE2); begin it with (?i) to ignore case, anchor it with ^ and $ to match the whole text."`
	Negate  bool   `yaml:"negate" json:"negate" doc:"Whether a completion is right when the pattern is not found."`
}

// EnsureDefaults does nothing: the pattern must be said.
func (o *Regex) EnsureDefaults() {}

// Validate is an Invalid error when the pattern is missing or no regular expression.
func (o *Regex) Validate() error {
	if o.Pattern == "" {
		return options.Wrongf("pattern", `is missing: set one, such as pattern: "\\boxed"`)
	}
	if _, err := regexp.Compile(o.Pattern); err != nil {
		return options.Wrongf("pattern", "is %q: %v (the syntax is RE2's, without lookaround and backreferences)", o.Pattern, err)
	}
	return nil
}

// Bounds are 0 and 1.
func (o *Regex) Bounds() (least, most float64) { return 0, 1 }

// New makes the reward.
func (o *Regex) New() (Reward, error) {
	re, err := regexp.Compile(o.Pattern)
	return regexReward{re, o.Negate}, err
}

type regexReward struct {
	re     *regexp.Regexp
	negate bool
}

func (regexReward) Version() string { return "1" }

func (r regexReward) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	text := c.Text()
	at := r.re.FindStringIndex(text)
	if at == nil {
		return judged(r.negate, "not found")
	}
	return judged(!r.negate, "found %q", shorten(text[at[0]:at[1]]))
}
