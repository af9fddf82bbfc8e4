// Package rouge measures how much of two texts' words stand in the same order: ROUGE-L (Lin, 2004), by the definition of
// Google's package rouge-score 0.1.2 without its stemmer, which Self-Instruct keeps its tasks apart with.
package rouge

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Score is ROUGE-L of a prediction against a target: of the longest common subsequence of their tokens, the share in the
// prediction, the share in the target, and the harmonic mean of the two.
type Score struct{ Precision, Recall, F float64 }

// L is rouge-score's RougeScorer(["rougeL"]).score(target, prediction).
func L(target, prediction string) Score { return score(Tokens(target), Tokens(prediction)) }

func score(target, prediction []string) Score {
	ids := map[string]uint32{}
	number := func(tokens []string) []uint32 {
		out := make([]uint32, len(tokens))
		for i, t := range tokens {
			id, ok := ids[t]
			if !ok {
				id = uint32(len(ids))
				ids[t] = id
			}
			out[i] = id
		}
		return out
	}
	a, b := number(target), number(prediction)
	if len(a) == 0 || len(b) == 0 {
		return Score{}
	}
	n := newPattern(a).lcs(b)
	s := Score{Precision: float64(n) / float64(len(b)), Recall: float64(n) / float64(len(a))}
	if n > 0 {
		s.F = 2 * s.Precision * s.Recall / (s.Precision + s.Recall)
	}
	return s
}

// Tokens are rouge-score's: runs of a to z and 0 to 9 of the text in lower case. Letters of other scripts part them and
// are lost: a Chinese text has no tokens.
func Tokens(text string) []string {
	text = strings.ReplaceAll(text, "İ", "i ") // Python makes an i and a combining dot of it
	return strings.FieldsFunc(strings.ToLower(text), func(c rune) bool {
		return !('a' <= c && c <= 'z' || '0' <= c && c <= '9')
	})
}

// Words are [Tokens] for all scripts: on ASCII they are the same; elsewhere letters, marks and digits make words, and each
// character of a script that is written without spaces is one.
func Words(text string) (out []string) {
	text = strings.ToLower(text)
	start := -1
	end := func(at int) {
		if start >= 0 {
			out = append(out, text[start:at])
		}
		start = -1
	}
	for at, c := range text {
		switch {
		case Unspaced(c):
			end(at)
			out = append(out, string(c))
		case unicode.IsLetter(c) || unicode.IsDigit(c) || c >= utf8.RuneSelf && unicode.IsMark(c):
			if start < 0 {
				start = at
			}
		default:
			end(at)
		}
	}
	end(len(text))
	return out
}

// Unspaced says whether a character is of a script that is written without spaces between words.
func Unspaced(c rune) bool {
	return c >= utf8.RuneSelf && unicode.In(c, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}
