package filter

import (
	"fmt"
	"math"
	"slices"

	"stillhouse"
	"stillhouse/internal/options"
)

// MinHash drops rows whose prompt is nearly the prompt of an earlier row: the Jaccard similarity of the sets of their
// shingles (runs of n words) is at least the threshold. See Broder, "On the resemblance and containment of documents"
// (1997), and Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3.
//
// Signatures in bands only find pairs worth comparing; whether a row goes is decided by the exact similarity, so that
// no row is dropped by chance. Rows of one prompt_id are no duplicates of each other. Prompts whose numbers or signs of
// arithmetic differ are not either, unless ignore_numbers says so: another number makes another problem. What a system
// message says is left out, since it is often the same for all prompts.
type MinHash struct {
	Threshold     float64 `yaml:"threshold" json:"threshold" doc:"The Jaccard similarity from which two prompts are near-duplicates, above 0 and up to 1."`
	Words         int     `yaml:"words" json:"words" doc:"Words a shingle; a prompt of fewer words is one shingle."`
	Permutations  int     `yaml:"permutations" json:"permutations" doc:"Hash functions of a signature: more find more of the pairs that are just above the threshold."`
	IgnoreNumbers bool    `yaml:"ignore_numbers" json:"ignore_numbers" doc:"Whether prompts that differ in their numbers may be near-duplicates."`
}

// EnsureDefaults sets threshold 0.8, shingles of 3 words, 128 permutations.
func (o *MinHash) EnsureDefaults() {
	if o.Threshold == 0 {
		o.Threshold = 0.8
	}
	if o.Words == 0 {
		o.Words = 3
	}
	if o.Permutations == 0 {
		o.Permutations = 128
	}
}

// Validate is an Invalid error that names the option that is wrong.
func (o *MinHash) Validate() error {
	switch {
	case !(o.Threshold > 0 && o.Threshold <= 1):
		return options.Wrongf("threshold", "is %v: it must be above 0 and at most 1", o.Threshold)
	case o.Words < 1 || o.Words > 100:
		return options.Wrongf("words", "is %d: it must be between 1 and 100", o.Words)
	case o.Permutations < 16 || o.Permutations > 4096:
		return options.Wrongf("permutations", "is %d: it must be between 16 and 4096", o.Permutations)
	}
	return nil
}

// New makes the rule.
func (o *MinHash) New() (Rule, error) {
	r := &minHashRule{MinHash: *o, ids: map[string]int{}, buckets: map[uint64][]int32{}}
	r.bands, r.rows = bands(o.Threshold, o.Permutations)
	r.seeds = make([]uint64, r.bands*r.rows)
	for i := range r.seeds {
		r.seeds[i] = mix(uint64(i) + 1)
	}
	return r, nil
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

type minHashRule struct {
	MinHash
	bands, rows int
	seeds       []uint64
	prompts     []prompt           // of the rows kept, the first row of each prompt_id
	ids         map[string]int     // place in prompts by prompt_id
	buckets     map[uint64][]int32 // places in prompts by what is in a band
	last        prompt             // of the row judged last
	lastID      string
	keys        []uint64 // its bands
}

// A prompt is what is known of a prompt.
type prompt struct {
	origin
	shingles []uint64 // sorted, each once
	figures  uint64   // hash of its numbers and signs, in their order
}

func (r *minHashRule) Judge(row stillhouse.Sample) (string, bool) {
	if _, ok := r.ids[row.PromptID]; ok {
		return "", false
	}
	if r.lastID != row.PromptID || r.last.shingles == nil {
		r.read(row)
	}
	r.last.origin = origin{row.PromptID, row.Sample}
	best, similarity := -1, 0.0
	seen := map[int32]bool{}
	for _, key := range r.keys {
		for _, at := range r.buckets[key] {
			if seen[at] {
				continue
			}
			seen[at] = true
			p := r.prompts[at]
			if !r.IgnoreNumbers && p.figures != r.last.figures {
				continue
			}
			if s := jaccard(p.shingles, r.last.shingles); s >= r.Threshold && (s > similarity || s == similarity && int(at) < best) {
				best, similarity = int(at), s
			}
		}
	}
	if best < 0 {
		return "", false
	}
	return fmt.Sprintf("prompt %.3f similar to that of %v", similarity, r.prompts[best].origin), true
}

// read prepares a row's prompt for comparison. A prompt without a word has no key and is like no other.
func (r *minHashRule) read(row stillhouse.Sample) {
	words, figures := split(row.Prompt)
	r.lastID = row.PromptID
	r.last = prompt{figures: figures, shingles: shingles(words, r.Words)}
	r.keys = r.keys[:0]
	if len(words) == 0 {
		return
	}
	for b := range r.bands {
		key := mix(uint64(b) + 1)
		if !r.IgnoreNumbers {
			key = mix(key ^ figures)
		}
		for _, seed := range r.seeds[b*r.rows : (b+1)*r.rows] {
			low := uint64(math.MaxUint64)
			for _, s := range r.last.shingles {
				low = min(low, mix(s^seed))
			}
			key = mix(key ^ low)
		}
		r.keys = append(r.keys, key)
	}
}

func (r *minHashRule) Keep(row stillhouse.Sample) {
	if _, ok := r.ids[row.PromptID]; ok {
		return
	}
	at := len(r.prompts)
	r.ids[row.PromptID] = at
	r.prompts = append(r.prompts, r.last)
	for _, key := range r.keys {
		r.buckets[key] = append(r.buckets[key], int32(at))
	}
}

// shingles are the hashes of all runs of n words, or of all words where there are fewer than n.
func shingles(words []uint64, n int) []uint64 {
	n = min(n, len(words))
	out := make([]uint64, 0, len(words)-n+1)
	for i := 0; n > 0 && i+n <= len(words); i++ {
		h := uint64(n)
		for _, w := range words[i : i+n] {
			h = mix(h ^ w)
		}
		out = append(out, h)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// jaccard is the size of the intersection of two sorted sets over the size of their union.
func jaccard(a, b []uint64) float64 {
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

// mix is the finaliser of SplitMix64, a bijection of 64 bits that looks random.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
