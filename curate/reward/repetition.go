package reward

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"stillhouse"
	"stillhouse/internal/options"
)

// Repetition is the reward repetition, which finds texts that go in circles. It measures shares of
// an answer's characters, its reasoning included, against the limits of Gopher (Rae et al. 2021, table A1), as datatrove's
// GopherRepetitionFilter does:
//
//	share of the characters in                                          limit
//	lines that stood before                                             0.20
//	the most frequent n-gram of words, if it is there twice, n = 2 3 4  0.20 0.18 0.16
//	n-grams of words that stood before, n = 5 … 10                      0.15 0.14 0.13 0.12 0.11 0.10
//	the longest run: up to 200 characters three times or more in a row  0.20
//
// The last is not Gopher's: it finds loops in texts without words, too. The score is 1 and the verdict right where no share
// is over its limit. Else it is wrong, and the score 1 − the share that is the most times over its limit. Of answers with
// fewer than min_words words only the longest run counts. An empty answer and one of more than 1 MiB are unparsable.
type Repetition struct {
	Factor   float64 `yaml:"factor" json:"factor" doc:"What the limits are multiplied by: above 1 more repetition is allowed."`
	MinWords int     `yaml:"min_words" json:"min_words" doc:"Answers of fewer words are measured by the longest run alone; 1 measures all in every way."`
}

// EnsureDefaults takes Gopher's limits, for answers of 50 words and more.
func (o *Repetition) EnsureDefaults() {
	if o.Factor == 0 {
		o.Factor = 1
	}
	if o.MinWords == 0 {
		o.MinWords = 50
	}
}

// Validate is an Invalid error when the limits would be none.
func (o *Repetition) Validate() error {
	switch {
	case !(o.Factor > 0 && o.Factor <= 10):
		return options.Wrongf("factor", "is %v: it must be above 0 and at most 10", o.Factor)
	case o.MinWords < 1:
		return options.Wrongf("min_words", "is %d: it must be 1 or more", o.MinWords)
	}
	return nil
}

// New makes the reward.
func (o *Repetition) New() (Reward, error) { return o, nil }

func (*Repetition) Version() string { return "1" }

const (
	maxPeriod = 200 // characters of what a run repeats
	minTimes  = 3   // how often it must
	runLimit  = 0.20
	lineLimit = 0.20
)

var (
	topLimits = map[int]float64{2: 0.20, 3: 0.18, 4: 0.16}
	dupLimits = map[int]float64{5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
)

func (o *Repetition) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	text := strings.TrimSpace(strings.ToValidUTF8(c.Text(), "\uFFFD"))
	switch {
	case text == "":
		return cannotTell("the answer is empty")
	case len(text) > maxReply:
		return cannotTell("the answer has %d bytes: no more than %d are read", len(text), maxReply)
	}
	total := float64(utf8.RuneCountInString(text))
	worst, share, what := 0.0, 0.0, ""
	measure := func(characters int, limit float64, format string, args ...any) {
		s := min(float64(characters)/total, 1)
		if over := s / (limit * o.Factor); over > worst {
			worst, share, what = over, s, fmt.Sprintf(format, args...)
		}
	}
	words := strings.Fields(text)
	if len(words) >= o.MinWords {
		measure(repeatedLines(text), lineLimit, "lines that stood before")
		w := hashWords(words)
		for n := 2; n <= 10; n++ {
			if ctx.Err() != nil {
				return outOfTime
			}
			if limit, ok := topLimits[n]; ok {
				measure(w.top(n), limit, "the most frequent %d-gram", n)
			} else {
				measure(w.repeated(n), dupLimits[n], "%d-grams that stood before", n)
			}
		}
	}
	length, unit := longestRun([]rune(text))
	measure(length, runLimit, "a run of %q", shorten(unit))
	if what == "" {
		return judged(true, "nothing is repeated, %d words", len(words))
	}
	s := judged(worst <= 1, "%.1f %% of the text is %s, %.2g times the limit", 100*share, what, worst)
	if worst > 1 {
		s.Score = 1 - share
	}
	return s
}

// repeatedLines are the characters in lines that stood before; blank lines are none.
func repeatedLines(text string) (characters int) {
	seen := map[string]bool{}
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if seen[line] {
			characters += utf8.RuneCountInString(line)
		}
		seen[line] = true
	}
	return characters
}

// hashed are the words of a text: a hash and the number of characters of each.
type hashed struct {
	hash   []uint64
	length []int
}

func hashWords(words []string) (h hashed) {
	for _, w := range words {
		h.hash = append(h.hash, xxhash.Sum64String(w))
		h.length = append(h.length, utf8.RuneCountInString(w))
	}
	return h
}

// gram is the n-gram of words from i on: its hash, and its characters with a blank between words.
func (h hashed) gram(i, n int) (hash uint64, characters int) {
	for j := i; j < i+n; j++ {
		hash = (hash ^ h.hash[j]) * 0x9E3779B97F4A7C15
		hash ^= hash >> 29
		characters += h.length[j] + 1
	}
	return hash, characters - 1
}

// top are the characters in the n-gram that takes up most of them among those that are there twice or more.
func (h hashed) top(n int) (most int) {
	count := map[uint64]int{}
	for i := 0; i+n <= len(h.hash); i++ {
		hash, characters := h.gram(i, n)
		if count[hash]++; count[hash] > 1 {
			most = max(most, count[hash]*characters)
		}
	}
	return most
}

// repeated are the characters in n-grams that stood before, none counted twice.
func (h hashed) repeated(n int) (characters int) {
	seen := map[uint64]bool{}
	for i := 0; i+n <= len(h.hash); {
		hash, length := h.gram(i, n)
		if seen[hash] {
			characters += length
			i += n
			continue
		}
		seen[hash] = true
		i++
	}
	return characters
}

// longestRun is the longest part of a text that is something of at most 200 characters, three times or more in a row.
// White space alone is no run.
func longestRun(text []rune) (length int, unit string) {
	from, period := 0, 0
	for p := 1; p <= maxPeriod && p*minTimes <= len(text); p++ {
		same, blank := 0, false
		for i := p; i < len(text); i++ {
			if text[i] != text[i-p] {
				same = 0
				continue
			}
			same++
			if same == p*(minTimes-1) {
				blank = strings.TrimSpace(string(text[i+1-p:i+1])) == ""
			}
			if run := same + p; run >= p*minTimes && run > length && !blank {
				length, from, period = run, i+1-run, p
			}
		}
	}
	return length, string(text[from : from+period])
}
