package filter

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"stillhouse"
	"stillhouse/internal/minhash"
)

// split cuts the messages of a prompt, except a system message, into words, normalised as [normal] does, and hashes
// them. A number is a word, without the commas in it; so is each sign of arithmetic and, in scripts that write without
// spaces, each character. figures is a hash of the numbers, also those in words, and the signs, in their order.
func split(messages []stillhouse.Message) (words []uint64, figures uint64) {
	add := func(word string, figure bool) {
		h := minhash.Hash(word)
		words = append(words, h)
		if figure {
			figures = minhash.Mix(figures ^ h)
		}
	}
	for _, m := range messages {
		if m.Role == "system" || m.Role == "developer" {
			continue
		}
		s := normal(m.Content)
		for i := 0; i < len(s); {
			r, size := utf8.DecodeRuneInString(s[i:])
			end := i + size
			switch {
			case unicode.IsDigit(r) || r == '.' && startsDigit(s[end:]):
				for end < len(s) {
					r, size := utf8.DecodeRuneInString(s[end:])
					if !unicode.IsDigit(r) && !((r == '.' || r == ',') && startsDigit(s[end+size:])) {
						break
					}
					end += size
				}
				add(strings.ReplaceAll(s[i:end], ",", ""), true)
			case alone(r):
				add(s[i:end], false)
			case unicode.IsLetter(r):
				for end < len(s) {
					r, size := utf8.DecodeRuneInString(s[end:])
					if !unicode.IsLetter(r) && !unicode.IsMark(r) || alone(r) {
						break
					}
					end += size
				}
				add(s[i:end], numerals[s[i:end]])
			case sign(r, s[:i], s[end:]):
				add(s[i:end], true)
			}
			i = end
		}
	}
	return words, figures
}

func startsDigit(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsDigit(r)
}

// alone reports whether a character is a word of its own: those scripts put no spaces between words.
func alone(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// sign reports whether a character is a sign of arithmetic. A hyphen is one before a digit or a bracket, and between
// spaces.
func sign(r rune, before, after string) bool {
	switch r {
	case '-', '–', '−':
		return strings.HasSuffix(before, " ") && strings.HasPrefix(after, " ") || startsDigit(strings.TrimPrefix(after, " ")) || strings.HasPrefix(after, "(")
	case '*', '/', '%', '^', '÷', '·', '!':
		return r != '!' || endsDigit(before)
	}
	return unicode.Is(unicode.Sm, r)
}

func endsDigit(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return unicode.IsDigit(r)
}

// numerals are numbers in words; "one" is left out, it is most often none.
var numerals = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
		seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion
		half third quarter twice thrice double triple dozen once`) {
		m[w] = true
	}
	return m
}()
