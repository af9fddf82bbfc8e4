package curate

import (
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"stillhouse"
	"stillhouse/internal/minhash"
)

// A Path is how a candidate comes to its answer: its reasoning and what it says, in lower case, with one space for any white
// space. Of the zero Path nothing is known, and it is like no other.
type Path struct {
	Hash     uint64   // of the text, never 0
	Shingles []uint64 // runs of three words, for a similarity below 1
}

// PathOf reads the path of a candidate's reasoning, which may be empty, and text.
func PathOf(reasoning, text string, shingles bool) (p Path) {
	buf := make([]byte, 0, len(reasoning)+len(text)+1)
	if reasoning != "" {
		buf = append(squeeze(buf, reasoning), '\n') // which no squeezed text holds
	}
	buf = squeeze(buf, text)
	p.Hash = xxhash.Sum64(buf) | 1
	if shingles {
		var words []uint64
		for w := range strings.FieldsSeq(string(buf)) {
			words = append(words, minhash.Hash(w))
		}
		p.Shingles = minhash.Shingles(words, 3)
	}
	return p
}

// squeeze appends text in lower case, with one space between its words.
func squeeze(buf []byte, text string) []byte {
	from := len(buf)
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf { // a letter that is no byte
			buf = buf[:from]
			for w := range strings.FieldsSeq(strings.ToLower(text)) {
				if len(buf) > from {
					buf = append(buf, ' ')
				}
				buf = append(buf, w...)
			}
			return buf
		}
	}
	gap := false
	for i := range len(text) {
		c := text[i]
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			gap = len(buf) > from
			continue
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		if gap {
			buf, gap = append(buf, ' '), false
		}
		buf = append(buf, c)
	}
	return buf
}

// like says whether two paths are the same, or at least so similar: the Jaccard similarity of their shingles, which is what
// MinHash estimates, exactly, since the candidates of a prompt are few. A similarity of 0 or 1 asks for the same text.
func (p Path) like(q Path, similarity float64) bool {
	if p.Hash == q.Hash {
		return p.Hash != 0
	}
	return similarity > 0 && similarity < 1 && minhash.Jaccard(p.Shingles, q.Shingles) >= similarity
}

// RightDistinct are the first n of the right candidates, by sample number, whose paths are not like that of an earlier one
// among them: what Yuan et al., "Scaling Relationship on Learning Mathematical Reasoning with Large Language Models" (2023),
// found to matter for rejection-sampling fine-tuning. Whether a candidate has a reward does not matter.
func RightDistinct(rows []Rated, n int, similarity float64) (kept []int) {
next:
	for _, i := range bySample(rows, isRight) {
		if len(kept) == n {
			break
		}
		for _, k := range kept {
			if rows[i].Path.like(rows[k].Path, similarity) {
				continue next
			}
		}
		kept = append(kept, i)
	}
	return kept
}

func pathOf(c stillhouse.Candidate, shingles bool) Path {
	reasoning := ""
	if c.Reasoning != nil {
		reasoning = *c.Reasoning
	}
	return PathOf(reasoning, c.Text(), shingles)
}
