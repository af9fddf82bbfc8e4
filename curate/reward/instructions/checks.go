package instructions

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"stillhouse/curate/reward/language"
)

// kinds makes the check of each instruction from its arguments.
var kinds = map[string]func(kwargs) (check, error){
	"keywords:existence":                            existence,
	"keywords:frequency":                            frequency,
	"keywords:forbidden_words":                      forbidden,
	"keywords:letter_frequency":                     letters,
	"language:response_language":                    inLanguage,
	"length_constraints:number_sentences":           counted("relation", "num_sentences", sentences),
	"length_constraints:number_words":               counted("relation", "num_words", wordCount),
	"length_constraints:number_paragraphs":          paragraphs,
	"length_constraints:nth_paragraph_first_word":   firstWord,
	"detectable_content:number_placeholders":        atLeast("num_placeholders", placeholders),
	"detectable_content:postscript":                 postscript,
	"detectable_format:number_bullet_lists":         bullets,
	"detectable_format:constrained_response":        always(constrained),
	"detectable_format:number_highlighted_sections": atLeast("num_highlights", highlights),
	"detectable_format:multiple_sections":           sections,
	"detectable_format:json_format":                 always(isJSON),
	"detectable_format:title":                       always(title),
	"combination:two_responses":                     always(twoResponses),
	"combination:repeat_prompt":                     repeatPrompt,
	"startend:end_checker":                          ends,
	"startend:quotation":                            always(quotation),
	"change_case:capital_word_frequency":            counted("capital_relation", "capital_frequency", capitalWords),
	"change_case:english_capital":                   english(unicode.IsUpper),
	"change_case:english_lowercase":                 english(lower),
	"punctuation:no_comma":                          always(func(s string) bool { return !strings.Contains(s, ",") }),
}

// always is a check without arguments.
func always(f func(string) bool) func(kwargs) (check, error) {
	return func(kwargs) (check, error) { return func(s string) (bool, error) { return f(s), nil }, nil }
}

// counted compares a number of things with an argument.
func counted(relation, number string, count func(string) (int, error)) func(kwargs) (check, error) {
	return func(k kwargs) (check, error) {
		holds, err := k.relation(relation, number)
		if err != nil {
			return nil, err
		}
		return func(s string) (bool, error) {
			n, err := count(s)
			return err == nil && holds(n), err
		}, nil
	}
}

// atLeast wants as many things as an argument says.
func atLeast(number string, count func(string) int) func(kwargs) (check, error) {
	return func(k kwargs) (check, error) {
		n, err := k.count(number)
		return func(s string) (bool, error) { return count(s) >= n, nil }, err
	}
}

// pattern compiles a regular expression of the benchmark.
func pattern(flags, s string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(flags + s)
	if err != nil {
		return nil, fmt.Errorf("%q is no regular expression that is read here: %w", s, err)
	}
	return re, nil
}

func existence(k kwargs) (check, error) {
	words, err := k.texts("keywords")
	if err != nil {
		return nil, err
	}
	var all []*regexp.Regexp
	for _, w := range words {
		re, err := pattern("(?i)", w)
		if err != nil {
			return nil, err
		}
		all = append(all, re)
	}
	return func(s string) (bool, error) {
		return !slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return !re.MatchString(s) }), nil
	}, nil
}

func frequency(k kwargs) (check, error) {
	word, err := k.text("keyword")
	if err != nil {
		return nil, err
	}
	re, err := pattern("(?i)", word)
	if err != nil {
		return nil, err
	}
	return counted("relation", "frequency", func(s string) (int, error) { return len(re.FindAllStringIndex(s, -1)), nil })(k)
}

// forbidden wants none of the words between word boundaries, which are Unicode's: RE2's \b knows ASCII only.
func forbidden(k kwargs) (check, error) {
	words, err := k.texts("forbidden_words")
	if err != nil {
		return nil, err
	}
	const edge = `[^\p{L}\p{N}_]`
	var all []*regexp.Regexp
	for _, w := range words {
		before, after := `(?:\A|`+edge+`)`, `(?:`+edge+`|\z)`
		if r, _ := utf8.DecodeRuneInString(w); regexp.QuoteMeta(w) == w && !wordRune(r) {
			before = `[\p{L}\p{N}_]` // a boundary before a mark has a word before it
		}
		if r, _ := utf8.DecodeLastRuneInString(w); regexp.QuoteMeta(w) == w && !wordRune(r) {
			after = `[\p{L}\p{N}_]`
		}
		re, err := pattern("(?i)", before+"(?:"+w+")"+after)
		if err != nil {
			return nil, err
		}
		all = append(all, re)
	}
	return func(s string) (bool, error) {
		return !slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return re.MatchString(s) }), nil
	}, nil
}

func letters(k kwargs) (check, error) {
	letter, err := k.text("letter")
	if err != nil {
		return nil, err
	}
	if utf8.RuneCountInString(letter) != 1 {
		return nil, fmt.Errorf("its argument letter is %q: it must be one character", letter)
	}
	letter = strings.ToLower(letter)
	return counted("let_relation", "let_frequency", func(s string) (int, error) { return strings.Count(strings.ToLower(s), letter), nil })(k)
}

func inLanguage(k kwargs) (check, error) {
	want, err := k.text("language")
	if err != nil {
		return nil, err
	}
	known, err := language.Languages()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(known, want) {
		return nil, fmt.Errorf("its argument language is %q: it must be one of %s", want, strings.Join(known, " "))
	}
	return func(s string) (bool, error) {
		code, _, err := language.Detect(s)
		return err == nil && (code == want || code == ""), err
	}, nil
}

var partMark = regexp.MustCompile(spaced(`\s?\*\*\*\s?`))

func paragraphs(k kwargs) (check, error) {
	want, err := k.count("num_paragraphs")
	return func(s string) (bool, error) {
		parts := partMark.Split(s, -1)
		n := len(parts)
		for i, p := range parts {
			switch {
			case trim(p) != "":
			case i == 0 || i == len(parts)-1:
				n--
			default:
				return false, nil
			}
		}
		return n == want, nil
	}, err
}

func firstWord(k kwargs) (check, error) {
	want, err := k.text("first_word")
	if err != nil {
		return nil, err
	}
	number, err := k.count("num_paragraphs")
	if err != nil {
		return nil, err
	}
	at, err := k.count("nth_paragraph")
	return func(s string) (bool, error) {
		parts := strings.Split(s, "\n\n")
		n := 0
		for _, p := range parts {
			if trim(p) != "" {
				n++
			}
		}
		if n != number || at < 1 || at > n {
			return false, nil
		}
		words := strings.FieldsFunc(parts[at-1], space)
		if len(words) == 0 {
			return false, nil
		}
		word := strings.TrimLeft(strings.TrimLeft(words[0], "'"), `"`)
		if end := strings.IndexAny(word, `.,?!'"`); end >= 0 {
			word = word[:end]
		}
		return strings.EqualFold(word, want), nil
	}, err
}

var placeholder = regexp.MustCompile(`\[.*?\]`)

func placeholders(s string) int { return len(placeholder.FindAllStringIndex(s, -1)) }

func postscript(k kwargs) (check, error) {
	marker, err := k.text("postscript_marker")
	if err != nil {
		return nil, err
	}
	expr := spaced(`\s*`) + strings.ToLower(marker) + `.*$`
	switch marker {
	case "P.P.S":
		expr = spaced(`\s*p\.\s?p\.\s?s.*$`)
	case "P.S.":
		expr = spaced(`\s*p\.\s?s\..*$`)
	}
	re, err := pattern("(?m)", expr)
	return func(s string) (bool, error) { return re.MatchString(strings.ToLower(s)), nil }, err
}

var starred, dashed = regexp.MustCompile(spaced(`(?m)^\s*\*[^\*].*$`)), regexp.MustCompile(spaced(`(?m)^\s*-.*$`))

func bullets(k kwargs) (check, error) {
	want, err := k.count("num_bullets")
	return func(s string) (bool, error) {
		return len(starred.FindAllStringIndex(s, -1))+len(dashed.FindAllStringIndex(s, -1)) == want, nil
	}, err
}

func constrained(s string) bool {
	return slices.ContainsFunc([]string{"My answer is yes.", "My answer is no.", "My answer is maybe."}, func(o string) bool { return strings.Contains(s, o) })
}

var single, double = regexp.MustCompile(`\*[^\n\*]*\*`), regexp.MustCompile(`\*\*[^\n\*]*\*\*`)

func highlights(s string) (n int) {
	for _, re := range []*regexp.Regexp{single, double} {
		for _, at := range re.FindAllStringIndex(s, -1) {
			if trim(strings.Trim(s[at[0]:at[1]], "*")) != "" {
				n++
			}
		}
	}
	return n
}

func sections(k kwargs) (check, error) {
	splitter, err := k.text("section_spliter")
	if err != nil {
		return nil, err
	}
	want, err := k.count("num_sections")
	if err != nil {
		return nil, err
	}
	re, err := pattern("", spaced(`\s?`)+splitter+spaced(`\s?\p{Nd}+\s?`))
	return func(s string) (bool, error) { return len(re.FindAllStringIndex(s, -1)) >= want, nil }, err
}

var titled = regexp.MustCompile(`<<[^\n]+>>`)

func title(s string) bool {
	return slices.ContainsFunc(titled.FindAllString(s, -1), func(t string) bool {
		return trim(strings.TrimRight(strings.TrimLeft(t, "<"), ">")) != ""
	})
}

func twoResponses(s string) bool {
	var valid []string
	parts := strings.Split(s, "******")
	for i, p := range parts {
		if p = trim(p); p != "" {
			valid = append(valid, p)
		} else if i != 0 && i != len(parts)-1 {
			return false
		}
	}
	return len(valid) == 2 && valid[0] != valid[1]
}

func repeatPrompt(k kwargs) (check, error) {
	prompt, err := k.text("prompt_to_repeat")
	prompt = strings.ToLower(trim(prompt))
	return func(s string) (bool, error) { return strings.HasPrefix(strings.ToLower(trim(s)), prompt), nil }, err
}

func ends(k kwargs) (check, error) {
	phrase, err := k.text("end_phrase")
	phrase = strings.ToLower(trim(phrase))
	return func(s string) (bool, error) {
		return strings.HasSuffix(strings.ToLower(strings.Trim(trim(s), `"`)), phrase), nil
	}, err
}

func quotation(s string) bool {
	s = trim(s)
	return len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"'
}

// english wants English with all letters of one case, one at least.
func english(is func(rune) bool) func(kwargs) (check, error) {
	return func(kwargs) (check, error) {
		return func(s string) (bool, error) {
			if !allCase(s, is) {
				return false, nil
			}
			code, _, err := language.Detect(s)
			return err == nil && (code == "en" || code == ""), err
		}, nil
	}
}

// allCase reports whether all letters that have a case have this one, and there is one.
func allCase(s string, is func(rune) bool) (some bool) {
	for _, r := range s {
		switch {
		case is(r):
			some = true
		case unicode.IsUpper(r), lower(r), unicode.IsTitle(r):
			return false
		}
	}
	return some
}

func lower(r rune) bool { return unicode.IsLower(r) || unicode.Is(unicode.Other_Lowercase, r) }
