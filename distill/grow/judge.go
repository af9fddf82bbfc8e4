package grow

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"stillhouse/internal/minhash"
	"stillhouse/internal/rouge"
)

// A judge decides which new prompts are kept. The reasons, in the order in which they are looked for:
//
//	unparsable   nothing is left of it, or it begins with punctuation
//	truncated    the answer ended within it (said by the method that cut it)
//	too_short    fewer words than min_words
//	too_long     more words than max_words
//	forbidden    it holds a forbidden word
//	duplicate    it is too similar to a seed or to a prompt kept before
type judge struct {
	o         *Options
	forbidden []*regexp.Regexp
	names     []string // of forbidden

	ids     []string // of what was kept
	texts   []string
	rouge   *rouge.Index
	minhash *minhash.Index
}

func newJudge(o *Options) *judge {
	j := &judge{o: o}
	for _, word := range *o.Forbidden {
		text, start := strings.CutPrefix(word, "^")
		text = strings.TrimSpace(text)
		before, after := `(^|[^\pL\pN])`, `($|[^\pL\pN])`
		if c, _ := utf8.DecodeRuneInString(text); rouge.Unspaced(c) { // words of such a script stand side by side
			before, after = ``, ``
		}
		if start {
			before = `^`
		}
		pattern := strings.Join(strings.Fields(regexp.QuoteMeta(text)), `\s+`)
		j.forbidden = append(j.forbidden, regexp.MustCompile(`(?i)`+before+pattern+after))
		j.names = append(j.names, text)
	}
	if o.Near == MinHash {
		const permutations = 128
		j.minhash = minhash.New(o.Threshold, permutations)
	} else {
		j.rouge = rouge.NewIndex()
	}
	return j
}

// judge says why a text is not kept, in the item's reason, and else how similar it is to what was kept before.
func (j *judge) judge(text string) (it item, similarity float64) {
	it.text = strings.TrimSpace(text)
	words := len(strings.Fields(it.text))
	if n := len(rouge.Words(it.text)); n > 2*words { // a script without spaces
		words = n
	}
	first, _ := utf8.DecodeRuneInString(it.text)
	switch {
	case it.text == "":
		it.reason, it.detail = "unparsable", "it is empty"
	case strings.ContainsRune(".,:;!?)]}-*#|&%+=", first):
		it.reason, it.detail = "unparsable", fmt.Sprintf("it begins with %q", first)
	case !utf8.ValidString(it.text) || strings.ContainsFunc(it.text, func(c rune) bool { return c == unicode.ReplacementChar }):
		it.reason, it.detail = "unparsable", "it is not valid text"
	case words < j.o.MinWords:
		it.reason, it.detail = "too_short", fmt.Sprintf("it has %d words, fewer than %d", words, j.o.MinWords)
	case words > j.o.MaxWords:
		it.reason, it.detail = "too_long", fmt.Sprintf("it has %d words, more than %d", words, j.o.MaxWords)
	}
	for i, f := range j.forbidden {
		if it.reason == "" && f.MatchString(it.text) {
			it.reason, it.detail = "forbidden", fmt.Sprintf("it holds %q", j.names[i])
		}
	}
	if it.reason != "" {
		return it, 0
	}
	at, similarity := j.nearest(it.text)
	if at >= 0 && similarity >= j.o.Threshold {
		it.reason = "duplicate"
		it.detail = fmt.Sprintf("its similarity by %s to prompt %s is %.3f: %s", j.o.Near, j.ids[at], similarity, brief(j.texts[at]))
	}
	return it, similarity
}

// nearest finds the most similar text that was kept; by minhash only one that is too similar.
func (j *judge) nearest(text string) (at int, similarity float64) {
	if j.minhash != nil {
		return j.minhash.Nearest(j.prepare(text), nil)
	}
	return j.rouge.Nearest(text, 0)
}

func (j *judge) prepare(text string) minhash.Text {
	words := rouge.Words(text)
	hashes := make([]uint64, len(words))
	for i, w := range words {
		hashes[i] = minhash.Hash(w)
	}
	const shingle = 3
	return j.minhash.Text(minhash.Shingles(hashes, shingle), 0)
}

// keep remembers a text that later ones are kept apart from.
func (j *judge) keep(id, text string) {
	j.ids, j.texts = append(j.ids, id), append(j.texts, text)
	if j.minhash != nil {
		j.minhash.Add(j.prepare(text))
		return
	}
	j.rouge.Add(text)
}

// brief makes a text fit for one line.
func brief(s string) string {
	const most = 100
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
