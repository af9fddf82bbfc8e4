package filter

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"stillhouse"
	"stillhouse/internal/options"
)

// Refusal drops answers in which the teacher declines to answer: those that the endpoint itself marks as refusals, in
// any language, and those that read like one in English. The patterns look at how the answer begins, so that text which
// quotes or mentions such words is kept.
type Refusal struct {
	Patterns []string `yaml:"patterns,omitempty" json:"patterns,omitempty" doc:"More regular expressions (RE2, case ignored) that mark a refusal; they are looked for anywhere in the answer."`
}

// EnsureDefaults makes an empty list none.
func (o *Refusal) EnsureDefaults() {
	if len(o.Patterns) == 0 {
		o.Patterns = nil
	}
}

// Validate is an Invalid error when a pattern is no regular expression, or would match every answer.
func (o *Refusal) Validate() error {
	for i, p := range o.Patterns {
		key := fmt.Sprintf("patterns[%d]", i)
		re, err := regexp.Compile("(?i)" + p)
		if err != nil {
			return options.Wrongf(key, "is %q: %v (the syntax is RE2's)", p, err)
		}
		if re.MatchString("") {
			return options.Wrongf(key, "is %q, which matches every answer: write words that mark a refusal", p)
		}
	}
	return nil
}

// New makes the rule.
func (o *Refusal) New() (Rule, error) {
	var more []*regexp.Regexp
	for _, p := range o.Patterns {
		re, err := regexp.Compile("(?i)" + p)
		if err != nil {
			return nil, err
		}
		more = append(more, re)
	}
	return refusalRule{more: more}, nil
}

type refusalRule struct {
	stateless
	more []*regexp.Regexp
}

func (r refusalRule) Judge(row stillhouse.Sample) (string, bool) {
	if row.Refusal != nil && *row.Refusal != "" {
		return fmt.Sprintf("the endpoint marks it as a refusal: %q", cut(*row.Refusal, 80)), true
	}
	text := row.Text()
	if found := refuses(text); found != "" {
		return fmt.Sprintf("begins with %q", found), true
	}
	for _, re := range r.more {
		if found := re.FindString(text); found != "" {
			return fmt.Sprintf("pattern %q found %q", strings.TrimPrefix(re.String(), "(?i)"), cut(found, 80)), true
		}
	}
	return "", false
}

// Pieces of the patterns: who speaks, that it won't or can't, and what.
const (
	lead  = `(?:(?:hello|hi|hey|hmm|well|oh|okay|ok|thank you(?: for [^.!\n]{1,80})?|thanks(?: for [^.!\n]{1,80})?|unfortunately|regrettably|regretfully|however|no)[,.!:]? +){0,3}`
	sorry = `(?:(?:i'm|i am|we're|we are)? ?(?:so |very |really |truly |deeply |terribly )?(?:sorry|afraid)|(?:i |we |please accept )?(?:sincerely )?apologi[sz]e(?: for [^.,\n]{1,60})?|(?:my|our) (?:sincere )?apologies)[,;:.!]? ?(?:but |however,? |that |and )?`

	cannot = `(?:can't|cannot|can not|won't|will not|couldn't|(?:am|are) (?:unable|not able|not allowed|not permitted|not programmed|not going) to|(?:am|are) not comfortable|(?:don't|do not) feel comfortable|decline to|refuse to|refrain from)`
	adverb = `(?: (?:directly|in good conscience|ethically|really|ever|actually|currently|legally|simply|just))?`
	we     = `(?:(?:i|we) (?:simply |just |really |must |have to )?` + cannot + `|i'm (?:unable|not able|not allowed|not permitted|not programmed|not going) to|i'm not comfortable|(?:it's|it is) not possible for me to)` + adverb
	i      = `(?:i (?:simply |just |really |must |have to )?` + cannot + `|i'm (?:unable|not able|not allowed|not permitted|not programmed|not going) to|i'm not comfortable|(?:it's|it is) not possible for me to)` + adverb

	object = `(?: (?:to|with|in|on|you|any|an?|the|this|that|such|your|these|those|it|content|information|instructions|advice|medical|legal|financial|assistance|guidance|support|details|images?|files?|links?|real-time|personal))+\b`
	// help is what nobody says who tells a story: it is enough without an apology.
	help = ` (?:(?:help|assist)(?:ing)?(?: (?:you|anyone))? (?:with|in|to)\b|(?:help|assist) (?:you|anyone)\b|(?:help|assist)[.!]|(?:comply|complying) with\b|engag(?:e|ing) in\b|` +
		`(?:fulfil|fulfill|fulfilling|accommodate|complete|process) (?:this|that|your|the|such|any) (?:\w+ )?request|(?:provid|generat|discuss|support|promot|facilitat|recommend)(?:e|ing)?` + object + `|` +
		`(?:creat|writ|produc|shar|answer|respond to|giv)(?:e|ing)? (?:you |to )?(?:this|that|such|any|content|instructions|information|your (?:question|request))\b)`
	deeds = `(?:` + help + `| (?:answer|respond|do|say|tell|giv|shar|offer|creat|writ|produc|mak|suggest|encourag|continu|proceed|participat|perform|access|brows|open|view|see)(?:e|ing|s)?(?:` + object + `|[.!])| do (?:that|this|so|it)\b| continue\b)`

	bot    = `as (?:an? )?(?:ai|artificial intelligence|(?:large )?language model|virtual assistant|chatbot)(?: (?:language model|model|assistant|chatbot|system|program|developed by \w+|created by \w+|trained by \w+)){0,3}`
	denies = `[^.!?\n]{0,120}\b(?:can't|cannot|can not|unable to|not able to|won't|will not|am not allowed|not (?:appropriate|permitted|possible|programmed|capable)|don't have|do not have|must decline|don't possess|do not possess)`
)

// refusals are anchored at the start of the answer.
var refusals = sync.OnceValue(func() []*regexp.Regexp { // a hundredth of a second, which other commands are spared
	return []*regexp.Regexp{
		regexp.MustCompile(`^` + lead + sorry + `(?:` + bot + `,? ?)?` + we + deeds),
		regexp.MustCompile(`^` + lead + sorry + `(?:that's |that is |this is )?(?:not something (?:that )?i (?:can|will|am)|against my (?:programming|guidelines|principles)|beyond my (?:abilities|capabilities)|i (?:can't|cannot|can not)[.!])`),
		regexp.MustCompile(`^` + lead + i + help),
		regexp.MustCompile(`^` + lead + `(?:i'm |i am )?(?:just |only )?` + bot + `(?:,| and| i\b| it\b)` + denies),
		regexp.MustCompile(`^` + lead + `(?:i'm|i am) (?:just |only )?an? (?:ai|(?:large )?language model|ai (?:language model|model|assistant))\b` + denies),
		regexp.MustCompile(`^` + lead + `i (?:must|have to|need to|will have to|am going to have to|'ll have to)(?: (?:respectfully|politely|unfortunately))? (?:decline|refuse) (?:to (?:answer|help|assist|provide|comply|engage|fulfill?)|this|that|your)\b`),
		regexp.MustCompile(`^` + lead + `(?:your|this|that|the) (?:request|question|prompt|content|topic)[^.!?\n]{0,60}\b(?:violates?|goes against|go against|is against|conflicts? with|falls outside)[^.!?\n]{0,40}\b(?:guidelines|polic(?:y|ies)|principles|programming|terms|rules)`),
		regexp.MustCompile(`^` + lead + `(?:it|that|this)(?:'s| is| would be| goes) (?:against|a violation of) (?:my|our|openai's|anthropic's) (?:programming|guidelines|polic(?:y|ies)|principles|ethical|use case|content|terms|usage)`),
	}
})

// refuses is how an answer begins that refuses, or "".
func refuses(text string) string {
	text = strings.TrimLeft(cut(text, 400), " \t\r\n*_#>\"'“”`~-")
	text = strings.ToLower(quotes.Replace(text))
	for _, re := range refusals() {
		if found := re.FindString(text); found != "" {
			return cut(found, 80)
		}
	}
	return ""
}

var quotes = strings.NewReplacer("’", "'", "‘", "'", "ʼ", "'", "\u00a0", " ", "\n", " ", "  ", " ")

// cut is the first n characters of a text, with … where there are more.
func cut(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return strings.ToValidUTF8(s[:i], "\uFFFD") + "…"
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
