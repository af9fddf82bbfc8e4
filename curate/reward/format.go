package reward

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"stillhouse"
	"stillhouse/curate/reward/language"
	"stillhouse/internal/options"
)

// Format is the reward format: 1 and right when all of its checks hold, 0 and wrong when not.
//
//   - think: reasoning that is in the text stands at its beginning, in one <think> that is closed, and something follows
//     it. A text without any holds, and one whose opening mark is in the prompt.
//   - boxed: there is exactly one \boxed{} after the reasoning, closed and not empty.
//   - language: the answer is in the language of the prompt's last message. Code, formulas and addresses do not count.
//     Where either has fewer than 20 letters, or is not of one language with a probability of 0.8 or more, it cannot be
//     told: the answer is unparsable, unless another check fails.
type Format struct {
	Checks []string `yaml:"checks" json:"checks" doc:"What must hold: think, boxed, language."`
}

var formatChecks = []string{"think", "boxed", "language"}

// The language of a text is told only where it has so many letters and is so certain.
const (
	minLetters  = 20
	minCertain  = 0.8    // six of its seven draws
	languageCap = 40_000 // bytes that are looked at
)

// EnsureDefaults does nothing: the checks must be said.
func (o *Format) EnsureDefaults() {}

// Validate is an Invalid error when no check is named, or one that there is not, or one twice.
func (o *Format) Validate() error {
	if len(o.Checks) == 0 {
		return options.Wrongf("checks", "is empty: name some of %s", strings.Join(formatChecks, ", "))
	}
	for i, c := range o.Checks {
		if !slices.Contains(formatChecks, c) {
			return options.Wrongf(fmt.Sprintf("checks[%d]", i), "is %q: it must be one of %s", c, strings.Join(formatChecks, ", "))
		}
		if slices.Contains(o.Checks[:i], c) {
			return options.Wrongf(fmt.Sprintf("checks[%d]", i), "is %s, which is named already", c)
		}
	}
	return nil
}

// New makes the reward. The languages are loaded here, not on the clock of the first answer.
func (o *Format) New() (Reward, error) {
	if slices.Contains(o.Checks, "language") {
		if _, err := language.Languages(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (*Format) Version() string { return "1" }

func (o *Format) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	whole := strings.ToValidUTF8(c.Text(), "\uFFFD")
	if strings.TrimSpace(whole) == "" {
		return cannotTell("the answer is empty")
	}
	after, ended := afterThinking(whole)
	var held, unknown []string
	for _, check := range o.Checks {
		var why string
		holds, known := true, true
		switch check {
		case "think":
			holds, why = thinkClosed(whole)
		case "boxed":
			if holds = ended; !ended {
				why = "the reasoning never ends"
			} else {
				holds, why = oneBox(after)
			}
		case "language":
			if known = ended; !ended {
				why = "the reasoning never ends"
			} else {
				holds, known, why = sameLanguage(c, after)
			}
		}
		switch {
		case !known:
			unknown = append(unknown, check+": "+why)
		case !holds:
			return judged(false, "%s: %s", check, why)
		default:
			held = append(held, check+": "+why)
		}
	}
	if len(unknown) > 0 {
		return cannotTell("%s", strings.Join(unknown, "; "))
	}
	return judged(true, "%s", strings.Join(held, "; "))
}

// thinkClosed says whether there is no more than one block of reasoning, whole and at the beginning.
func thinkClosed(text string) (holds bool, why string) {
	opens := strings.Count(text, "<think>") + strings.Count(text, "<thinking>")
	closes := strings.Count(text, "</think>") + strings.Count(text, "</thinking>")
	start := strings.TrimSpace(text)
	rest, ended := afterThinking(text)
	switch {
	case opens == 0 && closes == 0:
		return true, "no reasoning in the text"
	case !ended || closes == 0:
		return false, "it is never closed"
	case opens > 1 || closes > 1:
		return false, fmt.Sprintf("it is opened %d times and closed %d times", opens, closes)
	case opens == 1 && !strings.HasPrefix(start, "<think"):
		return false, "it is not at the beginning"
	case len(rest) == len(text):
		return false, "it is closed before it is opened, or by another mark"
	case strings.TrimSpace(rest) == "":
		return false, "nothing follows it"
	}
	return true, "closed"
}

// oneBox says whether there is exactly one box, and something in it.
func oneBox(text string) (holds bool, why string) {
	n := strings.Count(text, `\boxed`) + strings.Count(text, `\fbox`)
	if n != 1 {
		return false, fmt.Sprintf("there are %d boxes", n)
	}
	_, body, ok := strings.Cut(text, `\boxed`)
	if !ok {
		_, body, _ = strings.Cut(text, `\fbox`)
	}
	body = strings.TrimLeft(body, " ")
	if !strings.HasPrefix(body, "{") {
		return false, "the box has no braces"
	}
	depth := 0
	for i := range len(body) {
		switch body[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				inside := strings.TrimSpace(body[1:i])
				return inside != "", fmt.Sprintf("one, with %q", shorten(inside))
			}
		}
	}
	return false, "the box is never closed"
}

// sameLanguage says whether the answer is in the prompt's language; known is false where that cannot be told.
func sameLanguage(c stillhouse.Candidate, text string) (holds, known bool, why string) {
	if len(c.Prompt.Prompt) == 0 {
		return false, false, "there is no prompt"
	}
	asked, why := languageOf(c.Prompt.Prompt[len(c.Prompt.Prompt)-1].Content)
	if asked == "" {
		return false, false, "the prompt " + why
	}
	given, why := languageOf(text)
	if given == "" {
		return false, false, "the answer " + why
	}
	return asked == given, true, fmt.Sprintf("the prompt is in %s, the answer in %s", asked, given)
}

var noProse = regexp.MustCompile("(?s)```.*?(?:```|\\z)|`[^`\n]*`|\\$\\$.*?\\$\\$|\\$[^$\n]*\\$|\\\\\\[.*?\\\\\\]|\\\\\\(.*?\\\\\\)|\\\\[a-zA-Z]+|https?://\\S+")

// languageOf is the language of a text, without the kind of Chinese; empty where it can't be told, and why.
func languageOf(text string) (code, why string) {
	if len(text) > languageCap {
		text = strings.ToValidUTF8(text[:languageCap], "")
	}
	text = noProse.ReplaceAllString(text, " ")
	letters := 0
	for _, r := range text {
		if unicode.IsLetter(r) {
			letters++
			if unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) {
				letters += 2 // one says as much as several of an alphabet
			}
		}
	}
	if letters < minLetters {
		return "", "has too few letters to tell its language"
	}
	guesses, err := language.Guesses(text)
	if err != nil {
		return "", "has a language that cannot be told: " + err.Error()
	}
	if len(guesses) == 0 {
		return "", "has too few letters to tell its language"
	}
	code, _, _ = strings.Cut(guesses[0].Language, "-")
	p := 0.0
	for _, g := range guesses {
		if base, _, _ := strings.Cut(g.Language, "-"); base == code {
			p += g.Probability
		}
	}
	if p < minCertain {
		return "", fmt.Sprintf("may be in %s, or in another language (%.2f)", code, p)
	}
	return code, ""
}
