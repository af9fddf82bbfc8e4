package curate

import "stillhouse"

// A Pair is how two rewards agree on the same candidates. They disagree where one says right and the other wrong.
type Pair struct {
	A string `json:"a"`
	B string `json:"b"`
	// Counts maps the verdict of A, then that of B, to the number of candidates.
	Counts map[string]map[string]int `json:"counts"`
	// Disagreements are the candidates on which they disagree.
	Disagreements int `json:"disagreements"`
	// Examples are the first of these.
	Examples []Disagreement `json:"examples,omitempty"`
}

// A Disagreement is one candidate that one reward finds right and another wrong.
type Disagreement struct {
	Prompt string        `json:"prompt_id"`
	Sample int32         `json:"sample"`
	A      VerdictReason `json:"a"`
	B      VerdictReason `json:"b"`
}

// A VerdictReason is a verdict with its evidence.
type VerdictReason struct {
	Verdict  string `json:"verdict"`
	Evidence string `json:"evidence"`
}

// maxExamples is how many disagreements of a pair are told.
const maxExamples = 5

// compare takes in the verdicts of a candidate, two by two.
func (t *Tally) compare(r stillhouse.Scored) {
	for i, a := range r.Scores {
		for _, b := range r.Scores[i+1:] {
			p := t.pairs[[2]string{a.Name, b.Name}]
			if p == nil {
				p = &Pair{A: a.Name, B: b.Name, Counts: map[string]map[string]int{}}
				t.pairs[[2]string{a.Name, b.Name}] = p
				t.order = append(t.order, p)
			}
			if p.Counts[a.Verdict] == nil {
				p.Counts[a.Verdict] = map[string]int{}
			}
			p.Counts[a.Verdict][b.Verdict]++
			if !opposed(a.Verdict, b.Verdict) {
				continue
			}
			p.Disagreements++
			if len(p.Examples) < maxExamples {
				p.Examples = append(p.Examples, Disagreement{Prompt: r.ID, Sample: r.Sample,
					A: VerdictReason{a.Verdict, a.Evidence}, B: VerdictReason{b.Verdict, b.Evidence}})
			}
		}
	}
}

// opposed says whether two verdicts contradict each other. What can't tell contradicts nothing.
func opposed(a, b string) bool {
	return a == stillhouse.Right && b == stillhouse.Wrong || a == stillhouse.Wrong && b == stillhouse.Right
}
