// Package minhash finds near-duplicates among many texts: those whose sets of shingles (runs of n words) have a Jaccard
// similarity of at least a threshold. See Broder, "On the resemblance and containment of documents" (1997), and Leskovec,
// Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3.
//
// Signatures in bands only find pairs worth comparing; the exact similarity decides.
package minhash

import (
	"math"
	"slices"
)

// An Index holds texts and finds the one most like another. It is for one goroutine at a time.
type Index struct {
	threshold   float64
	bands, rows int
	seeds       []uint64
	texts       [][]uint64         // shingles
	buckets     map[uint64][]int32 // texts by what is in a band
}

// New makes an empty index with signatures of so many hash functions.
func New(threshold float64, permutations int) *Index {
	x := &Index{threshold: threshold, buckets: map[uint64][]int32{}}
	x.bands, x.rows = bands(threshold, permutations)
	x.seeds = make([]uint64, x.bands*x.rows)
	for i := range x.seeds {
		x.seeds[i] = Mix(uint64(i) + 1)
	}
	return x
}

// bands cuts a signature so that a pair of exactly the threshold shares a band with a chance of 99.9 % or more: into
// the longest bands that do, since longer ones find fewer pairs in vain.
func bands(threshold float64, permutations int) (bands, rows int) {
	for rows = permutations; rows > 1; rows-- {
		n := permutations / rows
		if 1-math.Pow(1-math.Pow(threshold, float64(rows)), float64(n)) >= 0.999 {
			return n, rows
		}
	}
	return permutations, 1
}

// A Text is one prepared for the index.
type Text struct {
	shingles []uint64
	keys     []uint64 // its bands
}

// Text prepares a text. Texts of another salt are like none of this one. A text without shingles is like no other.
func (x *Index) Text(shingles []uint64, salt uint64) Text {
	t := Text{shingles: shingles}
	if len(shingles) == 0 {
		return t
	}
	for b := range x.bands {
		key := Mix(Mix(uint64(b)+1) ^ salt)
		for _, seed := range x.seeds[b*x.rows : (b+1)*x.rows] {
			low := uint64(math.MaxUint64)
			for _, s := range shingles {
				low = min(low, Mix(s^seed))
			}
			key = Mix(key ^ low)
		}
		t.keys = append(t.keys, key)
	}
	return t
}

// Nearest finds the most similar of the texts that were added and that comparable, which may be nil, allows: of equal ones
// the first. It is -1 where none reaches the threshold.
func (x *Index) Nearest(t Text, comparable func(number int) bool) (number int, similarity float64) {
	number = -1
	seen := map[int32]bool{}
	for _, key := range t.keys {
		for _, at := range x.buckets[key] {
			if seen[at] {
				continue
			}
			seen[at] = true
			if comparable != nil && !comparable(int(at)) {
				continue
			}
			if s := Jaccard(x.texts[at], t.shingles); s >= x.threshold && (s > similarity || s == similarity && int(at) < number) {
				number, similarity = int(at), s
			}
		}
	}
	return number, similarity
}

// Add adds a text, which gets the next number from 0.
func (x *Index) Add(t Text) {
	at := int32(len(x.texts))
	x.texts = append(x.texts, t.shingles)
	for _, key := range t.keys {
		x.buckets[key] = append(x.buckets[key], at)
	}
}

// Shingles are the hashes of all runs of n words, or of all words where there are fewer than n: sorted, each once.
func Shingles(words []uint64, n int) []uint64 {
	n = min(n, len(words))
	out := make([]uint64, 0, len(words)-n+1)
	for i := 0; n > 0 && i+n <= len(words); i++ {
		h := uint64(n)
		for _, w := range words[i : i+n] {
			h = Mix(h ^ w)
		}
		out = append(out, h)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Jaccard is the size of the intersection of two sorted sets over the size of their union.
func Jaccard(a, b []uint64) float64 {
	both := 0
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			both, i, j = both+1, i+1, j+1
		case a[i] < b[j]:
			i++
		default:
			j++
		}
	}
	if both == 0 {
		return 0
	}
	return float64(both) / float64(len(a)+len(b)-both)
}

// Hash is the hash of a word: FNV-1a, mixed.
func Hash(word string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(word) {
		h = (h ^ uint64(word[i])) * 1099511628211
	}
	return Mix(h)
}

// Mix is the finaliser of SplitMix64, a bijection of 64 bits that looks random.
func Mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
