package filter

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"stillhouse"
	"stillhouse/internal/options"
)

// Exact drops rows that say what an earlier row says, after both are normalised: Unicode NFKC, case folding, runs of
// white space as one space. Rows are known by a 128-bit hash of the normalised text.
type Exact struct {
	On string `yaml:"on" json:"on" doc:"What is compared: prompt, completion, or both."`
}

// EnsureDefaults compares both.
func (o *Exact) EnsureDefaults() {
	if o.On == "" {
		o.On = "both"
	}
}

// Validate is an Invalid error when on is none of the three.
func (o *Exact) Validate() error {
	switch o.On {
	case "", "prompt", "completion", "both":
		return nil
	}
	return options.Wrongf("on", "is %q: it must be prompt, completion or both", o.On)
}

// New makes the rule.
func (o *Exact) New() (Rule, error) { return &exactRule{on: o.On, first: map[[16]byte]origin{}}, nil }

// An origin is a kept row that others are held against.
type origin struct {
	id     string
	sample int32
}

func (o origin) String() string { return fmt.Sprintf("prompt %q sample %d", o.id, o.sample) }

type exactRule struct {
	on    string
	first map[[16]byte]origin
	key   [16]byte // of the row judged last
}

func (r *exactRule) Judge(row stillhouse.Sample) (string, bool) {
	var b strings.Builder
	if r.on != "completion" {
		write(&b, row.Prompt)
	}
	if r.on != "prompt" {
		write(&b, row.Completion)
	}
	h := sha256.Sum256([]byte(b.String()))
	r.key = [16]byte(h[:16])
	o, ok := r.first[r.key]
	if !ok || r.on == "prompt" && o.id == row.PromptID { // answers to one prompt share it
		return "", false
	}
	what := r.on
	if what == "both" {
		what = "prompt and completion"
	}
	return fmt.Sprintf("the same %s as %v", what, o), true
}

func (r *exactRule) Keep(row stillhouse.Sample) {
	if _, ok := r.first[r.key]; !ok {
		r.first[r.key] = origin{row.PromptID, row.Sample}
	}
}

// write writes a conversation so that another one can't look the same.
func write(b *strings.Builder, messages []stillhouse.Message) {
	fmt.Fprintf(b, "%d\n", len(messages))
	for _, m := range messages {
		text := normal(m.Content)
		fmt.Fprintf(b, "%s %d %s\n", m.Role, len(text), text)
	}
}

// normal is a text in NFKC, case folded, with one space for each run of white space.
func normal(s string) string {
	return strings.Join(strings.Fields(norm.NFKC.String(cases.Fold().String(norm.NFKC.String(s)))), " ")
}
