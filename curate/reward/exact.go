package reward

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"stillhouse"
	"stillhouse/internal/options"
)

// Exact is the reward exact: 1 and right when the answer is the reference, character by character
// (in Unicode's form NFC, white space around it aside), 0 and wrong when not.
//
// The answer is what follows the reasoning: the whole of it, its last line that is not blank, or what stands after the
// last mark in its line. The mark is looked for in the reference too, which may be a whole solution. It is unparsable when
// there is no reference, no answer or no mark, and when nothing is left of one of them.
type Exact struct {
	Of                string `yaml:"of" json:"of" doc:"Which part is compared: whole, last_line, or after, which is the rest of the line after the last mark."`
	Mark              string `yaml:"mark" json:"mark" doc:"What the answer stands after, with of: after."`
	IgnoreCase        bool   `yaml:"ignore_case" json:"ignore_case" doc:"Whether capital and small letters are the same."`
	IgnoreSpace       bool   `yaml:"ignore_space" json:"ignore_space" doc:"Whether any run of white space is the same as one blank."`
	IgnorePunctuation bool   `yaml:"ignore_punctuation" json:"ignore_punctuation" doc:"Whether punctuation and symbols such as * and $ are left out."`
}

// The parts of an answer.
const (
	ofWhole    = "whole"
	ofLastLine = "last_line"
	ofAfter    = "after"
)

// EnsureDefaults compares the whole answer, or what follows the mark where there is one.
func (o *Exact) EnsureDefaults() {
	if o.Of == "" {
		o.Of = ofWhole
		if o.Mark != "" {
			o.Of = ofAfter
		}
	}
}

// Validate is an Invalid error when there is no such part, or it needs a mark and has none.
func (o *Exact) Validate() error {
	switch {
	case !slices.Contains([]string{ofWhole, ofLastLine, ofAfter}, o.Of):
		return options.Wrongf("of", "is %q: it must be whole, last_line or after", o.Of)
	case o.Of == ofAfter && strings.TrimSpace(o.Mark) == "":
		return options.Wrongf("mark", `is missing: set what the answer stands after, such as mark: "Answer:"`)
	case o.Of != ofAfter && o.Mark != "":
		return options.Wrongf("mark", "is %q and of is %s: the mark counts only with of: after", o.Mark, o.Of)
	}
	return nil
}

// New makes the reward.
func (o *Exact) New() (Reward, error) { return o, nil }

var _ Comparer = (*Exact)(nil)

func (*Exact) Version() string      { return "1" }
func (*Exact) NeedsReference() bool { return true }

func (o *Exact) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	if s, missing := noReference(c); missing {
		return s
	}
	text, s, ok := reply(c)
	if !ok {
		return s
	}
	given := text
	switch o.Of {
	case ofLastLine:
		given = text[strings.LastIndexByte(text, '\n')+1:]
	case ofAfter:
		if given, ok = afterMark(text, o.Mark); !ok {
			return cannotTell("there is no %q in the answer", shorten(o.Mark))
		}
	}
	reference := *c.Reference
	if o.Of == ofAfter {
		if marked, ok := afterMark(reference, o.Mark); ok {
			reference = marked
		}
	}
	want, got := o.plain(reference), o.plain(given)
	switch {
	case want == "":
		return cannotTell("nothing is left of the reference %q", shorten(reference))
	case got == "":
		return cannotTell("nothing is left of the answer %q", shorten(given))
	case want == got:
		return judged(true, "%q is the reference", shorten(strings.TrimSpace(given)))
	}
	return judged(false, "%q is not the reference %q", shorten(strings.TrimSpace(given)), shorten(strings.TrimSpace(reference)))
}

// afterMark is the rest of the line after the last mark.
func afterMark(text, mark string) (rest string, ok bool) {
	at := strings.LastIndex(text, mark)
	if at < 0 {
		return "", false
	}
	rest, _, _ = strings.Cut(text[at+len(mark):], "\n")
	return rest, true
}

// plain is a text without what doesn't count.
func (o *Exact) plain(s string) string {
	s = norm.NFC.String(strings.ToValidUTF8(s, "\uFFFD"))
	if o.IgnoreCase {
		s = norm.NFC.String(cases.Fold().String(s))
	}
	if o.IgnorePunctuation {
		s = strings.Map(func(r rune) rune {
			if unicode.IsPunct(r) || unicode.IsSymbol(r) {
				return -1
			}
			return r
		}, s)
	}
	if o.IgnoreSpace {
		return strings.Join(strings.Fields(s), " ")
	}
	return strings.TrimSpace(s)
}
