package rouge

import (
	"cmp"
	"slices"
)

// An Index finds the text most like a new one among many, by the F-measure of ROUGE-L over [Words].
//
// The longest common subsequence of two texts is at most as long as the multiset of words that both have, which counts in
// an inverted index are enough for. So the texts are taken in the order of that bound, and the search ends where the bound
// is no higher than the best found: most texts are never compared.
type Index struct {
	ids      map[string]uint32
	postings [][]posting // by word
	texts    [][]uint32
	common   []uint32 // scratch: by text, words in common
}

type posting struct {
	text  uint32
	times uint32
}

// NewIndex makes an empty index. It is for one goroutine at a time.
func NewIndex() *Index { return &Index{ids: map[string]uint32{}} }

// Len is how many texts were added.
func (x *Index) Len() int { return len(x.texts) }

// Add adds a text, which gets the next number from 0.
func (x *Index) Add(text string) {
	words := Words(text)
	tokens := make([]uint32, len(words))
	for i, w := range words {
		id, ok := x.ids[w]
		if !ok {
			id = uint32(len(x.postings))
			x.ids[w] = id
			x.postings = append(x.postings, nil)
		}
		tokens[i] = id
	}
	number := uint32(len(x.texts))
	for _, c := range countOf(tokens) {
		x.postings[c.token] = append(x.postings[c.token], posting{number, c.times})
	}
	x.texts = append(x.texts, tokens)
	x.common = append(x.common, 0)
}

type counted struct{ token, times uint32 }

// countOf says how often each token is there.
func countOf(tokens []uint32) (out []counted) {
	sorted := slices.Clone(tokens)
	slices.Sort(sorted)
	for i, t := range sorted {
		if i == 0 || t != sorted[i-1] {
			out = append(out, counted{t, 0})
		}
		out[len(out)-1].times++
	}
	return out
}

// Nearest finds the text with the highest F-measure, of equal ones the first, if it is at least atLeast; number is -1 where
// none is. Where atLeast is 0, a text that has no word in common with any has none.
func (x *Index) Nearest(text string, atLeast float64) (number int, f float64) {
	words := Words(text)
	tokens := make([]uint32, len(words))
	known := make([]uint32, 0, len(words))
	for i, w := range words {
		if id, ok := x.ids[w]; ok {
			tokens[i] = id
			known = append(known, id)
		} else {
			tokens[i] = ^uint32(0) // stands in no text
		}
	}
	var touched []uint32
	for _, c := range countOf(known) {
		for _, p := range x.postings[c.token] {
			if x.common[p.text] == 0 {
				touched = append(touched, p.text)
			}
			x.common[p.text] += min(c.times, p.times)
		}
	}
	type candidate struct {
		text  uint32
		bound float64
	}
	var order []candidate
	for _, t := range touched {
		if bound := harmonic(int(x.common[t]), len(tokens), len(x.texts[t])); bound >= atLeast {
			order = append(order, candidate{t, bound})
		}
		x.common[t] = 0
	}
	slices.SortFunc(order, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.bound, a.bound), cmp.Compare(a.text, b.text)) })
	number = -1
	p := newPattern(tokens)
	for _, c := range order {
		if number >= 0 && c.bound < f {
			break
		}
		got := harmonic(p.lcs(x.texts[c.text]), len(tokens), len(x.texts[c.text]))
		if got >= atLeast && got > 0 && (number < 0 || got > f || got == f && int(c.text) < number) {
			number, f = int(c.text), got
		}
	}
	return number, f
}

// harmonic is the F-measure of n tokens in common, computed as [L] does, so that both agree to the last bit.
func harmonic(n, a, b int) float64 {
	if n == 0 {
		return 0
	}
	precision, recall := float64(n)/float64(b), float64(n)/float64(a)
	return 2 * precision * recall / (precision + recall)
}
