package reward

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"stillhouse"
	"stillhouse/internal/options"
)

// Contains is the reward contains: 1 and right when the answer holds the texts, 0 and wrong when
// not, the other way round with negate. Without texts it is the prompt's reference that is looked for. What the model
// reasons before its answer does not count. An answer that is empty, and a prompt without a reference where one is
// needed, are unparsable.
type Contains struct {
	Texts      []string `yaml:"texts" json:"texts" doc:"What is looked for; the prompt's reference where there is none."`
	Need       string   `yaml:"need" json:"need" doc:"Whether all of the texts must be found, or any."`
	IgnoreCase bool     `yaml:"ignore_case" json:"ignore_case" doc:"Whether capital and small letters are the same."`
	Negate     bool     `yaml:"negate" json:"negate" doc:"Whether an answer is right when they are not found."`
}

// EnsureDefaults needs all texts.
func (o *Contains) EnsureDefaults() {
	if o.Need == "" {
		o.Need = "all"
	}
}

// Validate is an Invalid error when a text is empty or need is neither all nor any.
func (o *Contains) Validate() error {
	for i, t := range o.Texts {
		if t == "" {
			return options.Wrongf(fmt.Sprintf("texts[%d]", i), "is empty: every answer holds it")
		}
	}
	if o.Need != "all" && o.Need != "any" {
		return options.Wrongf("need", "is %q: it must be all or any", o.Need)
	}
	return nil
}

// New makes the reward.
func (o *Contains) New() (Reward, error) {
	r := containsReward{o: *o}
	for _, t := range o.Texts {
		r.texts = append(r.texts, r.plain(t))
	}
	return r, nil
}

type containsReward struct {
	o     Contains
	texts []string
}

var _ Comparer = containsReward{}

func (containsReward) Version() string        { return "1" }
func (r containsReward) NeedsReference() bool { return len(r.texts) == 0 }

func (r containsReward) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	names, texts := r.o.Texts, r.texts
	if len(texts) == 0 {
		if s, missing := noReference(c); missing {
			return s
		}
		names = []string{strings.TrimSpace(*c.Reference)}
		texts = []string{r.plain(names[0])}
	}
	text, s, ok := reply(c)
	if !ok {
		return s
	}
	text = r.plain(text)
	found, missing := []string{}, []string{}
	for i, t := range texts {
		if strings.Contains(text, t) {
			found = append(found, names[i])
		} else {
			missing = append(missing, names[i])
		}
	}
	holds := len(missing) == 0 || r.o.Need == "any" && len(found) > 0
	said := "found " + quoted(found)
	if len(found) == 0 || !holds && !r.o.Negate {
		said = "did not find " + quoted(missing)
	}
	return judged(holds != r.o.Negate, "%s", said)
}

func (r containsReward) plain(s string) string {
	s = norm.NFC.String(strings.ToValidUTF8(s, "\uFFFD"))
	if r.o.IgnoreCase {
		s = norm.NFC.String(cases.Fold().String(s))
	}
	return s
}

// quoted lists texts for an evidence, the first three of them.
func quoted(texts []string) string {
	var b strings.Builder
	for i, t := range texts {
		if i == 3 {
			fmt.Fprintf(&b, " and %d more", len(texts)-3)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", shorten(t))
	}
	return b.String()
}
