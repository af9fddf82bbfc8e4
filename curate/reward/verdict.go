package reward

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"stillhouse"
)

// judged is the score 1 of what is right, 0 of what is not.
func judged(right bool, format string, args ...any) stillhouse.Score {
	if right {
		return graded(1, true, format, args...)
	}
	return graded(0, false, format, args...)
}

// graded is a score that is not 1 or 0 alone.
func graded(score float64, right bool, format string, args ...any) stillhouse.Score {
	s := stillhouse.Score{Score: score, Verdict: stillhouse.Wrong, Evidence: fmt.Sprintf(format, args...)}
	if right {
		s.Verdict = stillhouse.Right
	}
	return s
}

// cannotTell is the score of what cannot be judged.
func cannotTell(format string, args ...any) stillhouse.Score {
	return stillhouse.Score{Verdict: stillhouse.Unparsable, Evidence: fmt.Sprintf(format, args...)}
}

// noReference is the score where a prompt has no reference answer, or a blank one.
func noReference(c stillhouse.Candidate) (s stillhouse.Score, missing bool) {
	if c.Reference == nil || strings.TrimSpace(*c.Reference) == "" {
		return cannotTell("the prompt has no reference answer"), true
	}
	return s, false
}

// failed is the score of a reward that could not judge.
func failed(format string, args ...any) stillhouse.Score {
	return stillhouse.Score{Score: math.NaN(), Verdict: stillhouse.Errored, Evidence: fmt.Sprintf(format, args...)}
}

// outOfTime is the score of a reward that gave up when it was told to. [Ask] says after how long.
var outOfTime = stillhouse.Score{Verdict: stillhouse.Timeout}

// alike is one score for each of n candidates.
func alike(n int, s stillhouse.Score) []stillhouse.Score {
	return slices.Repeat([]stillhouse.Score{s}, n)
}

// shorten cuts text for an evidence to 80 characters.
func shorten(s string) string { return shortenTo(s, 80) }

// shortenTo cuts text to n characters.
func shortenTo(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i] + "…"
		}
	}
	return s
}
