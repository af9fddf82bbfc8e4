package reward

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
)

// choiceWindow is how many bytes at either end of an answer its choice is looked for in.
const choiceWindow = 64 << 10

const (
	// openers may stand before a letter, closers after it.
	openers = "*_`\"'“‘«$ \t\n:=({["
	closers = "*_`\"'”’»$ \t)}]"
)

var (
	listedLine   = regexp.MustCompile(`(?m)^[ \t>*_-]*[(\[]?([A-Z])[*_]*[)\].:][*_]*[ \t]+(\S.*)$`)
	listedInline = regexp.MustCompile(`\(([A-Z])\)[ \t]*`)
	announcedAt  = regexp.MustCompile(`(?i)\b(?:(?:answer|choice|option|selection)\b[*_ ]*(?:is|was|=|:|would be|should be|must be|→|->)|i(?:'ll|’ll| will| would|'d|’d)?[ ]+(?:choose|pick|select|go with)|answer[*_]*[ ]*\n)[*_: \t]*`)
	boxedText    = regexp.MustCompile(`\\(?:text|textbf|mathrm|mathbf|textit|mathit|mbox|bf|rm|textrm)\b[ ]*\{?`)
	namedChoice  = regexp.MustCompile(`(?i:\b(?:option|choice|answer|letter)s?[ ]+)[*_(\["'` + "`" + `]*([A-Z])\b`)
	correct      = regexp.MustCompile(`(?:^|[^\p{L}\p{N}'’-])[*_(\["'` + "`" + `]*([A-Z])[*_)\]"'` + "`" + `.]*[ ]+(?:is|was)[ ]+(?:the[ ]+)?(?:only[ ]+)?(?:correct|right|best|true|the answer)\b`)
	bracketed    = regexp.MustCompile(`(?:^|[^\p{L}\p{N}_\\])\(([A-Z])\)`)
	also         = regexp.MustCompile(`^[\s*_)\]."'` + "`" + `]*(?:,|/|&|\+|(?:,[ ]*)?\b(?:or|and)\b|(?:,[ ]*)?\bor\b[ ]+possibly)[\s*_(\["'` + "`" + `]*(?:(?i:option|choice)[ ]+)?[(\[*]*([A-Z])(?:[^\p{L}\p{N}_'’]|$)`)
	notIt        = regexp.MustCompile(`^(?i)[*_ ]*(?:not|n't|neither|none|never|probably not|definitely not)\b`)
	choiceWord   = regexp.MustCompile(`^(?i)(?:(?:the[ ]+)?(?:(?:correct|right|best)[ ]+)?(?:options?|choices?|letters?|answers?|(?:answer|option)[ ]+choice)[ :*_]+(?:is[ :]+)?|(?:definitely|clearly|therefore|most likely|probably|likely|indeed|simply|thus|hence|then)[, ]+(?:option[ ]+|choice[ ]+|letter[ ]+)?)`)
	reason       = regexp.MustCompile(`^[ ]+(?:because|since)\b`)
	goesOn       = regexp.MustCompile(`^[ ]+(?:because|since|as|is|was|for|which|that|and|or|based|due|given|with|from|among|—|–|-)(?:[^\p{L}]|$)`)
)

// choices are the texts of the choices that a message lists, those of A first. It is the last list that begins with A and
// goes on in order; nil where there is none of two or more.
func choices(message string) (texts []string) {
	if len(message) > 2*choiceWindow {
		message = strings.ToValidUTF8(message[len(message)-2*choiceWindow:], "")
	}
	var found []string
	keep := func() {
		if len(found) >= 2 {
			texts = found
		}
		found = nil
	}
	add := func(letter byte, text string) {
		if letter == 'A' {
			keep()
		}
		if int(letter-'A') == len(found) {
			found = append(found, strings.TrimSpace(text))
		}
	}
	for _, m := range listedLine.FindAllStringSubmatch(message, -1) {
		add(m[1][0], m[2])
	}
	if keep(); texts != nil {
		return texts
	}
	marks := listedInline.FindAllStringSubmatchIndex(message, -1)
	for i, m := range marks {
		to := len(message)
		if i+1 < len(marks) {
			to = marks[i+1][0]
		}
		text, _, _ := strings.Cut(message[m[1]:to], "\n")
		add(message[m[2]], strings.TrimRight(text, " ,;"))
	}
	keep()
	return texts
}

// letter is r as the letter of a choice.
func (q question) letter(r rune, small bool) (rune, bool) {
	if small && 'a' <= r && r <= 'z' {
		r -= 'a' - 'A'
	}
	return r, 'A' <= r && r < 'A'+rune(max(q.letters, 10)) && r <= 'Z'
}

// lead reads the letters that a text begins with: none, one, or several as in "A or B". Alone says that there must be
// nothing behind the letter but its mark and the text of the choice.
func (q question) lead(text string, alone bool) []rune {
	if notIt.MatchString(strings.TrimLeft(text, openers)) {
		return nil
	}
	body := strings.TrimLeft(text, openers)
	head := text[:len(text)-len(body)]
	if m := choiceWord.FindString(body); m != "" {
		rest := strings.TrimLeft(body[len(m):], openers)
		head, body = head+m+body[len(m):len(body)-len(rest)], rest
	}
	r, n := utf8.DecodeRuneInString(body)
	after := body[n:]
	trimmed := strings.TrimLeft(after, closers)
	bracket := strings.ContainsAny(last2(head), "([{") && strings.HasPrefix(strings.TrimLeft(after, "*_`$\"' "), closerOf(head))
	one, ok := q.letter(r, bracket || strings.Trim(after, closers+".\n") == "")
	if !ok {
		return nil
	}
	next, _ := utf8.DecodeRuneInString(after)
	mark := len(trimmed) < len(strings.TrimLeft(after, " \t")) || strings.HasPrefix(after, ".") || strings.HasPrefix(after, ":") || strings.HasPrefix(after, ",")
	switch {
	case after == "" || after[0] == '\n':
	case unicode.IsLetter(next) || unicode.IsDigit(next) || next == '\'' && !mark || next == '’' && !mark || next == '-' || next == '_' && !mark:
		return nil
	case next == '\'' || next == '’':
		if c, _ := utf8.DecodeRuneInString(after[utf8.RuneLen(next):]); unicode.IsLetter(c) { // I'd, I'm, A's
			return nil
		}
	case !mark && next == ' ' && (one == 'A' || one == 'I' || alone) && strings.TrimSpace(after) != "" && !goesOn.MatchString(after) && q.textOf(after) != one:
		return nil // the word a, or I
	}
	out := []rune{one}
	for rest := after; ; {
		m := also.FindStringSubmatchIndex(rest)
		if m == nil {
			return out
		}
		other, ok := q.letter(rune(rest[m[2]]), false)
		if !ok || (other == 'A' || other == 'I') && goesInto(rest[m[3]:]) {
			return out
		}
		if other != one {
			out = append(out, other)
		}
		rest = rest[m[3]:]
	}
}

// goesInto reports whether a word follows: "and I think", "or A different one".
func goesInto(rest string) bool {
	r, _ := utf8.DecodeRuneInString(strings.TrimLeft(rest, " "))
	return strings.HasPrefix(rest, " ") && unicode.IsLetter(r) && !goesOn.MatchString(rest)
}

func last2(head string) string { return head[max(0, len(head)-3):] }

// closerOf is the bracket that closes the last one of head.
func closerOf(head string) string {
	switch at := strings.LastIndexAny(head, "([{"); {
	case at < 0:
		return "\x00"
	case head[at] == '(':
		return ")"
	case head[at] == '[':
		return "]"
	}
	return "}"
}

// line reads the letters of a line that is nothing but a choice: B, (B), B., B) Paris, Option B: Paris.
func (q question) line(line string) []rune {
	line = strings.TrimLeft(strings.TrimSpace(line), "#-> ")
	letters := q.lead(line, true)
	if len(letters) != 1 {
		return letters
	}
	body := strings.TrimLeft(line, openers)
	if m := choiceWord.FindString(body); m != "" {
		body = strings.TrimLeft(body[len(m):], openers)
	}
	rest := strings.TrimLeft(body[1:], closers+".:,–—-")
	marked := rest == "" || strings.ContainsAny(body[1:len(body)-len(rest)], ").:]")
	if !marked && !reason.MatchString(body[1:]) && q.textOf(rest) != letters[0] {
		return nil
	}
	return letters
}

// boxed reads the last \boxed{}. There says that there is one.
func (q question) boxed(text string) (letter rune, from string, ok, there bool) {
	at := strings.LastIndex(text, `\boxed`)
	if at < 0 {
		return 0, "", false, false
	}
	from = text[at:min(len(text), at+1000)]
	body := strings.TrimLeft(strings.TrimPrefix(from, `\boxed`), " ")
	if !strings.HasPrefix(body, "{") {
		return 0, firstLine(from), false, true
	}
	depth, end := 0, -1
	for i := 0; i < len(body) && end < 0; i++ {
		switch body[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				end = i
			}
		}
	}
	if end < 0 {
		return 0, firstLine(from), false, true
	}
	from = `\boxed` + body[:end+1]
	body = boxedText.ReplaceAllString(body[1:end], " ")
	body = strings.TrimSpace(strings.Trim(strings.ReplaceAll(strings.ReplaceAll(body, "{", " "), "}", " "), " "))
	if letters := q.lead(body, true); len(letters) == 1 {
		return letters[0], from, true, true
	} else if len(letters) > 1 {
		return 0, from, false, true
	}
	letter, ok = q.byText(body)
	return letter, from, ok, true
}

// announcedChoice finds the last "answer is" that isn't followed by "not", and what stands behind it.
func announcedChoice(text string) (from, rest string, ok bool) {
	all := announcedAt.FindAllStringIndex(text, -1)
	for i := len(all) - 1; i >= 0; i-- {
		from, rest := text[all[i][0]:all[i][1]], text[all[i][1]:]
		if strings.TrimSpace(rest) != "" && !notIt.MatchString(strings.TrimLeft(rest, openers)) {
			return from, rest, true
		}
	}
	return "", "", false
}

// mentioned are the letters that a text names as choices: those that are called correct, else all.
func (q question) mentioned(text string) (letters []rune, from string) {
	for _, re := range []*regexp.Regexp{correct, namedChoice, bracketed} {
		for _, m := range re.FindAllStringSubmatchIndex(text, -1) {
			if l, ok := q.letter(rune(text[m[2]]), false); ok {
				letters = append(letters, l)
				from = strings.TrimSpace(text[m[0]:m[1]])
			}
		}
		if len(letters) > 0 {
			return letters, from
		}
	}
	return nil, ""
}

// byText is the letter of the one choice whose text this is.
func (q question) byText(text string) (rune, bool) {
	l := q.textOf(text)
	return l, l != 0
}

func (q question) textOf(text string) (letter rune) {
	if len(text) > 2000 {
		return 0
	}
	text = choicePlain(text)
	for i, t := range q.texts {
		if text == "" || choicePlain(t) != text {
			continue
		}
		if letter != 0 {
			return 0
		}
		letter = 'A' + rune(i)
	}
	return letter
}

func choicePlain(s string) string {
	return cases.Fold().String(strings.Join(strings.Fields(strings.Trim(s, " \t\n.,;:!*_`\"'“”‘’$")), " "))
}
