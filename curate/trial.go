package curate

import (
	"maps"
	"math"
	"slices"
)

// A Trial tries a selection on the scored candidates of a run without making rows of them: what it would keep, added up
// prompt by prompt. It needs no text but what [Select.Reads] says.
type Trial struct {
	Select Select
	// First is how many candidates every prompt has whatever they are worth, 0 for all; see [Tally].
	First int

	o       Outcome
	reward  float64
	rated   int     // rows that have a reward
	right   int     // rows that are right
	lengths []int32 // completion tokens of each row; of a pair's chosen one
	pass    map[int]float64
	prompts map[int]int
}

// An Outcome is what a selection would keep.
type Outcome struct {
	Prompts          int     `json:"prompts"`
	KeptPrompts      int     `json:"kept_prompts"`
	Rows             int     `json:"rows"`        // of pairs, pairs
	MeanReward       float64 `json:"mean_reward"` // of the rows that have one
	Right            float64 `json:"right"`       // the share of right ones among the rows
	CompletionTokens int64   `json:"completion_tokens"`
	PromptTokens     int64   `json:"prompt_tokens"` // as the teacher counts them, once for each row
	Lengths          Lengths `json:"lengths"`
	// PassAt maps k to the chance that one of k candidates is right, over the prompts that are kept: how hard they are.
	PassAt map[int]float64 `json:"pass_at"`
}

// Lengths are quantiles of completion tokens.
type Lengths struct {
	P10 int32 `json:"p10"`
	P50 int32 `json:"p50"`
	P90 int32 `json:"p90"`
	Max int32 `json:"max"`
}

// NewTrial makes an empty trial of a valid selection.
func NewTrial(s Select, first int) *Trial {
	s.EnsureDefaults()
	return &Trial{Select: s, First: first, pass: map[int]float64{}, prompts: map[int]int{}}
}

// Add takes in the candidates of one prompt, of which promptTokens are the tokens of the prompt.
func (t *Trial) Add(id string, rows []Rated, promptTokens int32) {
	if len(rows) == 0 {
		return
	}
	t.o.Prompts++
	p := t.Select.Pick(id, rows)
	if len(p.Kept) == 0 {
		return
	}
	t.o.KeptPrompts++
	for _, i := range p.Kept {
		r := rows[i]
		t.o.Rows++
		t.o.CompletionTokens += int64(r.Tokens)
		t.o.PromptTokens += int64(promptTokens)
		t.lengths = append(t.lengths, r.Tokens)
		if r.Right {
			t.right++
		}
		if !math.IsNaN(r.Reward) {
			t.rated++
			t.reward += r.Reward
		}
	}
	if p.Rejected >= 0 {
		t.o.CompletionTokens += int64(rows[p.Rejected].Tokens)
	}
	n, right := 0, 0
	for _, r := range rows {
		if t.First == 0 || int(r.Sample) < t.First {
			n++
			if r.Right {
				right++
			}
		}
	}
	for _, k := range passAt {
		if k > n {
			break
		}
		t.pass[k] += PassAtK(n, right, k)
		t.prompts[k]++
	}
}

// Merge adds what another trial of the same selection has seen, whose prompts follow.
func (t *Trial) Merge(u *Trial) {
	t.o.Prompts += u.o.Prompts
	t.o.KeptPrompts += u.o.KeptPrompts
	t.o.Rows += u.o.Rows
	t.o.CompletionTokens += u.o.CompletionTokens
	t.o.PromptTokens += u.o.PromptTokens
	t.reward += u.reward
	t.rated += u.rated
	t.right += u.right
	t.lengths = append(t.lengths, u.lengths...)
	for k, n := range u.prompts {
		t.prompts[k] += n
		t.pass[k] += u.pass[k]
	}
}

// Outcome is what has been added up. Means of nothing are 0.
func (t *Trial) Outcome() Outcome {
	o := t.o
	if t.rated > 0 {
		o.MeanReward = t.reward / float64(t.rated)
	}
	if o.Rows > 0 {
		o.Right = float64(t.right) / float64(o.Rows)
	}
	slices.Sort(t.lengths)
	at := func(q float64) int32 { // the nearest rank
		if len(t.lengths) == 0 {
			return 0
		}
		return t.lengths[max(0, int(math.Ceil(q*float64(len(t.lengths))))-1)]
	}
	o.Lengths = Lengths{at(0.1), at(0.5), at(0.9), at(1)}
	o.PassAt = map[int]float64{}
	for k := range maps.Keys(t.prompts) {
		o.PassAt[k] = t.pass[k] / float64(t.prompts[k])
	}
	return o
}
