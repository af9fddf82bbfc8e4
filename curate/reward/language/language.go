// Package language tells which of 55 languages a text is written in.
//
// It is naive Bayes over 1-, 2- and 3-grams of characters with the profiles and the method of langdetect 1.0.9 (Python),
// itself a port of Nakatani Shuyo's language-detection: what IFEval's verdicts on languages are by definition. Its random
// draws have a fixed seed here, so that a text always has the same language. profiles.gz is made by make.py.
package language

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

//go:embed profiles.gz
var packed []byte

// The numbers of the method.
const (
	maxText    = 10_000  // characters that are looked at
	trials     = 7       // draws, whose results are averaged
	alpha      = 0.5     // smoothing
	alphaWidth = 0.05    // its standard deviation from trial to trial
	baseFreq   = 10_000  // what the smoothing is divided by
	certain    = 0.99999 // a trial ends when a language is
	maxDraws   = 1000    // or after so many n-grams
)

// A share is how often an n-gram is met in a language, among the n-grams of its length.
type share struct {
	language int
	p        float64
}

type model struct {
	languages []string
	grams     map[string][]share
	excluded  string        // punctuation of Latin-1
	kanji     map[rune]rune // characters that stand for another
}

var loaded = sync.OnceValues(func() (*model, error) { return load(packed) })

// load reads the profiles: see make.py for their form.
func load(data []byte) (*model, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("language: profiles: %w", err)
	}
	m := &model{grams: map[string][]share{}, kanji: map[rune]rune{}}
	var sizes [][3]float64
	s := bufio.NewScanner(z)
	for s.Scan() {
		head, rest, ok := strings.Cut(s.Text(), "\t")
		if !ok {
			return nil, fmt.Errorf("language: profiles: %q is no line of them", s.Text())
		}
		switch head {
		case "lang":
			var name string
			var n [3]float64
			if _, err := fmt.Sscan(rest, &name, &n[0], &n[1], &n[2]); err != nil {
				return nil, fmt.Errorf("language: profiles: %q: %w", s.Text(), err)
			}
			m.languages, sizes = append(m.languages, name), append(sizes, n)
		case "excluded":
			m.excluded = rest
		case "kanji":
			first := rune(0)
			for _, r := range rest {
				if first == 0 {
					first = r
				}
				m.kanji[r] = first
			}
		default:
			n := len([]rune(head))
			for entry := range strings.FieldsSeq(rest) {
				l, c, _ := strings.Cut(entry, ":")
				language, err1 := strconv.Atoi(l)
				count, err2 := strconv.Atoi(c)
				if err1 != nil || err2 != nil || language >= len(sizes) || n > 3 {
					return nil, fmt.Errorf("language: profiles: %q is no count", entry)
				}
				m.grams[head] = append(m.grams[head], share{language, float64(count) / sizes[language][n-1]})
			}
		}
	}
	return m, s.Err()
}

// Languages are the codes of all languages that are told apart: ISO 639-1, Chinese as zh-cn and zh-tw.
func Languages() ([]string, error) {
	m, err := loaded()
	if err != nil {
		return nil, err
	}
	return m.languages, nil
}

var addresses = []*regexp.Regexp{
	regexp.MustCompile(`https?://[-_.?&~;+=/#0-9A-Za-z]+`),
	regexp.MustCompile(`[-_.0-9A-Za-z]+@[-_0-9A-Za-z][-_.0-9A-Za-z]+`),
}

// A Guess is a language that a text may be in, and how probable that is, 0 to 1.
type Guess struct {
	Language    string
	Probability float64
}

// Detect returns the most likely language of a text, an empty code where it has no letters to tell from. See [Guesses].
func Detect(text string) (code string, p float64, err error) {
	all, err := Guesses(text)
	if err != nil || len(all) == 0 {
		return "", 0, err
	}
	return all[0].Language, all[0].Probability, nil
}

// Guesses returns all languages with their probabilities, the most likely first; none where the text has no letters to
// tell from. It looks at the first 10,000 characters, without addresses of the web and of mail.
func Guesses(text string) ([]Guess, error) {
	m, err := loaded()
	if err != nil {
		return nil, err
	}
	grams := m.split(clean(text))
	if len(grams) == 0 {
		return nil, nil
	}
	random := rand.New(rand.NewPCG(0, 0))
	mean := make([]float64, len(m.languages))
	prob := make([]float64, len(m.languages))
	for range trials {
		for i := range prob {
			prob[i] = 1 / float64(len(prob))
		}
		weight := (alpha + random.NormFloat64()*alphaWidth) / baseFreq
		for i := 0; ; i++ {
			update(prob, grams[random.IntN(len(grams))], weight)
			if i%5 == 0 && (normalize(prob) > certain || i >= maxDraws) {
				break
			}
		}
		for i := range mean {
			mean[i] += prob[i] / trials
		}
	}
	all := make([]Guess, len(mean))
	for i, p := range mean {
		all[i] = Guess{m.languages[i], min(p, 1)}
	}
	slices.SortStableFunc(all, func(a, b Guess) int { return cmp.Compare(b.Probability, a.Probability) })
	return all, nil
}

// update multiplies the probabilities by those of one n-gram.
func update(prob []float64, gram []share, weight float64) {
	next := 0
	for i := range prob {
		p := weight
		if next < len(gram) && gram[next].language == i {
			p += gram[next].p
			next++
		}
		prob[i] *= p
	}
}

// normalize makes the probabilities add up to 1 and returns the largest.
func normalize(prob []float64) (largest float64) {
	sum := 0.0
	for _, p := range prob {
		sum += p
	}
	for i := range prob {
		prob[i] /= sum
		largest = max(largest, prob[i])
	}
	return largest
}

// clean leaves the characters that count: addresses are left out, and Latin letters where most others are not.
func clean(text string) []rune {
	const bytesEach = 8 // addresses and composed characters may make the text shorter
	if len(text) > maxText*bytesEach {
		text = strings.ToValidUTF8(text[:maxText*bytesEach], "")
	}
	for _, re := range addresses {
		text = re.ReplaceAllString(text, " ")
	}
	runes := []rune(norm.NFC.String(text))
	runes = runes[:min(len(runes), maxText)]
	latin, others := 0, 0
	for _, r := range runes {
		switch {
		case 'A' <= r && r <= 'z':
			latin++
		case r >= 0x300 && (r < 0x1E00 || r > 0x1EFF):
			others++
		}
	}
	if latin*2 >= others {
		return runes
	}
	kept := runes[:0]
	for _, r := range runes {
		if r < 'A' || 'z' < r {
			kept = append(kept, r)
		}
	}
	return kept
}

// split returns what is known of the n-grams of a text, in order. A word is held apart from the next by one blank; within
// a word in capitals there are none.
func (m *model) split(text []rune) (out [][]share) {
	gram, capitals := []rune{' '}, false
	for _, r := range text {
		r = m.fold(r)
		last := gram[len(gram)-1]
		switch {
		case last == ' ':
			gram, capitals = append(gram[:0], ' '), false
			if r == ' ' {
				continue
			}
		case len(gram) == 3:
			gram = append(gram[:0], gram[1:]...)
		}
		gram = append(gram, r)
		if !unicode.IsUpper(r) {
			capitals = false
		} else if unicode.IsUpper(last) {
			capitals = true
		}
		if capitals {
			continue
		}
		for n := 1; n <= len(gram); n++ {
			if g := string(gram[len(gram)-n:]); g != " " {
				if s, ok := m.grams[g]; ok {
					out = append(out, s)
				}
			}
		}
	}
	return out
}

// fold makes characters one that say nothing about the language by their difference.
func (m *model) fold(r rune) rune {
	switch {
	case r < 0x80:
		if 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' {
			return r
		}
		return ' '
	case r <= 0xFF:
		if strings.ContainsRune(m.excluded, r) {
			return ' '
		}
	case r == 'ș':
		return 'ş'
	case r == 'ț':
		return 'ţ'
	case r == 'ی': // Farsi
		return 'ي'
	case 0x1EA0 <= r && r <= 0x1EFF: // Vietnamese
		return 'ể'
	case 0x2000 <= r && r <= 0x206F:
		return ' '
	case 0x3040 <= r && r <= 0x309F:
		return 'あ'
	case 0x30A0 <= r && r <= 0x30FF:
		return 'ア'
	case 0x3100 <= r && r <= 0x312F, 0x31A0 <= r && r <= 0x31BF:
		return 'ㄅ'
	case 0x4E00 <= r && r <= 0x9FFF:
		if first, ok := m.kanji[r]; ok {
			return first
		}
	case 0xAC00 <= r && r <= 0xD7AF:
		return '가'
	}
	return r
}
