package filter

import (
	"fmt"

	"stillhouse"
	"stillhouse/internal/minhash"
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
	return &minHashRule{MinHash: *o, index: minhash.New(o.Threshold, o.Permutations), ids: map[string]bool{}}, nil
}

type minHashRule struct {
	MinHash
	index   *minhash.Index
	prompts []prompt        // of the rows kept, the first row of each prompt_id; numbered as in the index
	ids     map[string]bool // of the rows kept
	last    prompt          // of the row judged last
	lastID  string
	text    minhash.Text // its text
}

// A prompt is what is known of a prompt.
type prompt struct {
	origin
	figures uint64 // hash of its numbers and signs, in their order
}

func (r *minHashRule) Judge(row stillhouse.Sample) (string, bool) {
	if r.ids[row.PromptID] {
		return "", false
	}
	if r.lastID != row.PromptID || r.last.origin == (origin{}) {
		r.read(row)
	}
	r.last.origin = origin{row.PromptID, row.Sample}
	at, similarity := r.index.Nearest(r.text, func(i int) bool { return r.IgnoreNumbers || r.prompts[i].figures == r.last.figures })
	if at < 0 {
		return "", false
	}
	return fmt.Sprintf("prompt %.3f similar to that of %v", similarity, r.prompts[at].origin), true
}

// read prepares a row's prompt for comparison.
func (r *minHashRule) read(row stillhouse.Sample) {
	words, figures := split(row.Prompt)
	salt := figures
	if r.IgnoreNumbers {
		salt = 0
	}
	r.lastID, r.last = row.PromptID, prompt{figures: figures}
	r.text = r.index.Text(minhash.Shingles(words, r.Words), salt)
}

func (r *minHashRule) Keep(row stillhouse.Sample) {
	if r.ids[row.PromptID] {
		return
	}
	r.ids[row.PromptID] = true
	r.prompts = append(r.prompts, r.last)
	r.index.Add(r.text)
}
