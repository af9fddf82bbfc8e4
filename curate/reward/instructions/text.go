package instructions

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"unicode"

	punkt "github.com/neurosnap/sentences"
	"github.com/neurosnap/sentences/data"
)

// spaced writes Python's \s, which is Unicode's white space, for RE2, where it is ASCII's.
func spaced(expr string) string { return strings.ReplaceAll(expr, `\s`, `[\s\v\x1c-\x1f\x{85}\p{Z}]`) }

// wordRune reports whether Python's \w holds r.
func wordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

func wordCount(s string) (n int, err error) {
	inside := false
	for _, r := range s {
		is := wordRune(r)
		if is && !inside {
			n++
		}
		inside = is
	}
	return n, nil
}

// cutter is Punkt's model of English, as it was trained: NLTK's, without what the package adds to it.
var cutter = sync.OnceValues(func() (*punkt.DefaultSentenceTokenizer, error) {
	b, err := data.Asset("data/english.json")
	if err != nil {
		return nil, err
	}
	training, err := punkt.LoadTraining(b)
	if err != nil {
		return nil, err
	}
	return punkt.NewSentenceTokenizer(training), nil
})

func cut(s string) (out []string, err error) {
	c, err := cutter()
	if err != nil {
		return nil, err
	}
	for _, t := range c.Tokenize(s) {
		if t := trim(t.Text); t != "" {
			out = append(out, t)
		}
	}
	return out, nil
}

func sentences(s string) (int, error) {
	all, err := cut(s)
	return len(all), err
}

// A rule puts blanks between words and marks.
type rule struct {
	at   *regexp.Regexp
	with string
}

func rules(pairs ...string) (out []rule) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, rule{regexp.MustCompile(pairs[i]), pairs[i+1]})
	}
	return out
}

// treebank are the rules of the Penn Treebank's tokenizer as NLTK 3.10.4 has them, of which only those are here that
// change which words are in capitals.
var treebank = rules(
	"[«“‘„`»”’;@#$%&?!*"+`\[\](){}<>"\x{2012}-\x{2015}]|\.{2,}|--|''`, " ${0} ",
	`([:,])([^\p{Nd}])`, " $1 $2",
	`([:,])$`, " $1 ",
	`([^.])(\.)([\])}>"'»”’ ]*)\s*$`, "$1 $2 $3 ",
	`(^|[^\p{L}\p{N}_'])'(\p{L})`, "$1' $2",
	`([^'])' `, "$1 ' ",
	`\s+`, " ",
)

// clitics are split from the word that they end.
var clitics = rules(
	`([^' ])('[sS]|'[mM]|'[dD]|') `, "$1 $2 ",
	`([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) `, "$1 $2 ",
	`(?i)\b(can)(not)\b`, " $1 $2 ",
	`(?i)\b(d)('ye)\b`, " $1 $2 ",
	`(?i)\b(gim|lem)(me)\b`, " $1 $2 ",
	`(?i)\b(gon)(na)\b`, " $1 $2 ",
	`(?i)\b(got)(ta)\b`, " $1 $2 ",
	`(?i)\b(more)('n)\b`, " $1 $2 ",
	`(?i)\b(wan)(na)(\s)`, " $1 $2 $3",
	`(?i) ('t)(is|was)\b`, " $1 $2 ",
)

// capitalWords counts the words whose letters are all capital.
func capitalWords(s string) (n int, err error) {
	all, err := cut(s)
	for _, sentence := range all {
		if strings.ContainsFunc(sentence, unicode.IsUpper) {
			n += capitalsIn(sentence)
		}
	}
	return n, err
}

// capitalsIn counts them in one sentence.
func capitalsIn(sentence string) (n int) {
	for _, r := range treebank {
		sentence = r.at.ReplaceAllString(sentence, r.with)
	}
	sentence = " " + sentence + " "
	for _, r := range clitics {
		sentence = r.at.ReplaceAllString(sentence, r.with)
	}
	for w := range strings.FieldsFuncSeq(sentence, space) {
		if allCase(w, unicode.IsUpper) {
			n++
		}
	}
	return n
}

// isJSON reports whether Python's json reads the text, without one fence around it.
func isJSON(s string) bool {
	s = trim(s)
	for _, name := range []string{"```json", "```Json", "```JSON", "```"} {
		s = strings.TrimPrefix(s, name)
	}
	return json.Valid(numbered(trim(strings.TrimSuffix(s, "```"))))
}

// numbered puts 0 for NaN, Infinity and -Infinity outside of texts, which Python takes for numbers.
func numbered(s string) []byte {
	var b bytes.Buffer
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\' && i+1 < len(s):
			b.WriteByte(c)
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case strings.HasPrefix(s[i:], "NaN"):
			i += 2
			b.WriteByte('0')
			continue
		case strings.HasPrefix(s[i:], "Infinity"):
			i += 7
			b.WriteByte('0')
			continue
		}
		b.WriteByte(s[i])
	}
	return b.Bytes()
}
