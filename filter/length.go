package filter

import (
	"fmt"
	"unicode/utf8"

	"stillhouse"
	"stillhouse/internal/options"
)

// Length drops rows whose completion is shorter or longer than wanted, in the tokens that the teacher's endpoint
// counted or in characters (Unicode code points). Limits on tokens don't apply where the endpoint counted none.
type Length struct {
	MinTokens int `yaml:"min_tokens" json:"min_tokens" doc:"The fewest completion tokens that are kept."`
	MaxTokens int `yaml:"max_tokens" json:"max_tokens" doc:"The most completion tokens that are kept; 0 is no limit."`
	MinChars  int `yaml:"min_chars" json:"min_chars" doc:"The fewest characters of the completion that are kept."`
	MaxChars  int `yaml:"max_chars" json:"max_chars" doc:"The most characters of the completion that are kept; 0 is no limit."`
}

// EnsureDefaults does nothing: a limit must be said.
func (o *Length) EnsureDefaults() {}

// Validate is an Invalid error when no limit is set, or limits leave nothing.
func (o *Length) Validate() error {
	for _, l := range []struct {
		what     string
		min, max int
	}{{"tokens", o.MinTokens, o.MaxTokens}, {"chars", o.MinChars, o.MaxChars}} {
		switch {
		case l.min < 0:
			return options.Wrongf("min_"+l.what, "is %d: it must be 0 or more", l.min)
		case l.max < 0:
			return options.Wrongf("max_"+l.what, "is %d: it must be 0 or more", l.max)
		case l.max > 0 && l.min > l.max:
			return options.Wrongf("min_"+l.what, "is %d and max_%s %d: nothing is left between them", l.min, l.what, l.max)
		}
	}
	if *o == (Length{}) {
		return options.Wrongf("", "no limit is set: set one, such as max_tokens: 512")
	}
	return nil
}

// New makes the rule.
func (o *Length) New() (Rule, error) { return lengthRule{Length: *o}, nil }

type lengthRule struct {
	Length
	stateless
}

func (r lengthRule) Judge(row stillhouse.Sample) (string, bool) {
	text := row.Text()
	if n := int(row.CompletionTokens); n > 0 || text == "" {
		if detail, out := outside(n, r.MinTokens, r.MaxTokens, "tokens"); out {
			return detail, true
		}
	}
	return outside(utf8.RuneCountInString(text), r.MinChars, r.MaxChars, "characters")
}

func outside(n, lo, hi int, what string) (string, bool) {
	switch {
	case n < lo:
		return fmt.Sprintf("%d %s, fewer than %d", n, what, lo), true
	case hi > 0 && n > hi:
		return fmt.Sprintf("%d %s, more than %d", n, what, hi), true
	}
	return "", false
}
