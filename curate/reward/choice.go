package reward

import (
	"context"
	"fmt"
	"strings"

	"stillhouse"
	"stillhouse/internal/options"
)

// Choice is the reward choice, for questions of multiple choice: 1 and right when the letter that
// the answer gives is that of the reference, 0 and wrong when it is another.
//
// The letter is, of these, what there is first:
//
//   - in the last \boxed{}: \boxed{B}, \boxed{\text{(B)}}, \boxed{B. Paris}
//   - after the last "answer is", "answer:", "I choose": B, (B), **B**, "B", Option B, or the text of one choice
//   - the whole answer, its first line or its last: B, (B), B., **B**, B) Paris, Option B, or the text of one choice
//   - "B is correct", "option B", "(B)" anywhere, where all of them are the same letter
//
// Small letters count where they stand in a box, in brackets or alone. Where two letters are given ("A or B", a first and
// a last line that differ) or none, the answer is unparsable; never is the word "a" or "I" taken for a letter.
//
// The choices are read from the prompt's last message: lines that begin with A., A), (A), A: and so on, or (A) … (B) … in
// one line. The reference is a letter in any of these forms, or the text of one of the choices.
type Choice struct {
	Choices int `yaml:"choices" json:"choices" doc:"How many letters there are, from A on, 2 to 26; by default those that the prompt lists, or ten where it lists none."`
}

// EnsureDefaults does nothing: 0 takes the prompt's.
func (o *Choice) EnsureDefaults() {}

// Validate is an Invalid error when there are no such letters.
func (o *Choice) Validate() error {
	if o.Choices != 0 && (o.Choices < 2 || o.Choices > 26) {
		return options.Wrongf("choices", "is %d: it must be between 2 and 26, or 0 for those that the prompt lists", o.Choices)
	}
	return nil
}

// New makes the reward.
func (o *Choice) New() (Reward, error) { return o, nil }

var _ Comparer = (*Choice)(nil)

func (*Choice) Version() string      { return "1" }
func (*Choice) NeedsReference() bool { return true }

func (o *Choice) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	if s, missing := noReference(c); missing {
		return s
	}
	q := question{letters: o.Choices}
	if n := len(c.Prompt.Prompt); n > 0 {
		q.texts = choices(c.Prompt.Prompt[n-1].Content)
	}
	if q.letters == 0 {
		if q.letters = len(q.texts); q.letters == 0 {
			q.letters = 10
		}
	}
	reference := strings.ToValidUTF8(strings.TrimSpace(*c.Reference), "\uFFFD")
	want, _, ok := q.reference(reference)
	if !ok {
		return cannotTell("the reference %q is no letter from A to %c and none of the choices", shorten(reference), 'A'+rune(q.letters-1))
	}
	text, s, ok := reply(c)
	if !ok {
		return s
	}
	got, from, err := q.given(text)
	if err != nil {
		return cannotTell("%v; reference %c", err, want)
	}
	return judged(got == want, "read %c from %q, reference %c", got, shorten(from), want)
}

// A question is what is known of the choices.
type question struct {
	letters int      // from A on
	texts   []string // of the choices, as the prompt lists them; nil where it doesn't
}

// reference reads the letter of a reference answer.
func (q question) reference(text string) (letter rune, from string, ok bool) {
	if letter, from, ok, _ = q.boxed(text); ok {
		return letter, from, true
	}
	if letter, ok = q.byText(text); ok {
		return letter, text, true
	}
	letters := q.lead(text, true)
	if len(letters) == 0 {
		if _, rest, announced := announcedChoice(text); announced {
			letters = q.lead(rest, true)
		}
	}
	if len(letters) != 1 {
		return 0, "", false
	}
	return letters[0], text, true
}

// given reads the letter that an answer gives. The error says why there is none.
func (q question) given(text string) (letter rune, from string, err error) {
	if len(text) > 2*choiceWindow { // the ends are where answers stand
		text = text[:choiceWindow] + "\n" + text[len(text)-choiceWindow:]
		text = strings.ToValidUTF8(text, "")
	}
	if letter, from, ok, there := q.boxed(text); ok {
		return letter, from, nil
	} else if there {
		return 0, "", fmt.Errorf("%q is no choice", shorten(from))
	}
	if from, rest, ok := announcedChoice(text); ok {
		lead := len(rest) - len(strings.TrimLeft(rest, " \t\r\n"))
		from = strings.Join(strings.Fields(from+rest[:lead]+firstLine(rest)), " ")
		switch letters := q.lead(rest, false); {
		case len(letters) == 1:
			return letters[0], from, nil
		case len(letters) > 1:
			return 0, "", fmt.Errorf("%q gives several choices", shorten(from))
		}
		if letter, ok := q.byText(firstLine(rest)); ok {
			return letter, from, nil
		}
	}
	var found []rune
	for _, line := range []string{firstLine(text), text[strings.LastIndexByte(text, '\n')+1:]} {
		letters := q.line(line)
		if letter, ok := q.byText(line); ok && len(letters) == 0 {
			letters = []rune{letter}
		}
		if len(letters) > 1 {
			return 0, "", fmt.Errorf("%q gives several choices", shorten(line))
		}
		if len(letters) == 1 {
			found, from = append(found, letters[0]), line
		}
	}
	if len(found) == 0 {
		found, from = q.mentioned(text)
	}
	switch {
	case len(found) == 0:
		return 0, "", fmt.Errorf("no choice could be read in %q", shorten(text))
	case !same(found):
		return 0, "", fmt.Errorf("it names several choices: %s", letterList(found))
	}
	return found[0], from, nil
}

func same(letters []rune) bool {
	for _, l := range letters {
		if l != letters[0] {
			return false
		}
	}
	return true
}

func letterList(letters []rune) string {
	seen, out := map[rune]bool{}, []string{}
	for _, l := range letters {
		if !seen[l] {
			seen[l] = true
			out = append(out, string(l))
		}
	}
	return strings.Join(out, ", ")
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
