package curate

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"stillhouse"
)

// maxReply is how many bytes of an answer are parsed, by rewards that parse it: a longer one is unparsable. The longest
// answers of 128k tokens have about half as many.
const maxReply = 1 << 20

// reply is what a candidate says after its reasoning, without white space around it and as valid UTF-8. Where there is
// nothing to judge, ok is false and the score says why.
func reply(c stillhouse.Candidate) (text string, s stillhouse.Score, ok bool) {
	text = c.Text()
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	text, ended := afterThinking(text)
	switch text = strings.TrimSpace(text); {
	case !ended:
		return "", cannotTell("the reasoning never ends"), false
	case text == "":
		return "", cannotTell("the answer is empty"), false
	}
	return text, s, true
}

// parsed is a reply that is short enough to be parsed.
func parsed(c stillhouse.Candidate) (text string, s stillhouse.Score, ok bool) {
	if text, s, ok = reply(c); ok && len(text) > maxReply {
		return "", cannotTell("the answer has %d bytes: no more than %d are read", len(text), maxReply), false
	}
	return text, s, ok
}

// afterThinking leaves out the reasoning that a text begins with, in <think> or <thinking>. The opening mark may be
// missing: templates may put it into the prompt. It is false where the reasoning never ends.
func afterThinking(text string) (rest string, ended bool) {
	for _, name := range []string{"think>", "thinking>"} {
		opens := strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "<"+name)
		before, after, closes := strings.Cut(text, "</"+name)
		switch {
		case closes && (opens || !strings.Contains(before, "<"+name)):
			return after, true
		case opens:
			return "", false
		}
	}
	return text, true
}

// cannotTell is the score of what cannot be judged.
func cannotTell(format string, args ...any) stillhouse.Score {
	return stillhouse.Score{Verdict: stillhouse.Unparsable, Evidence: fmt.Sprintf(format, args...)}
}

// judged is the score 1 of what is right, 0 of what is not.
func judged(right bool, format string, args ...any) stillhouse.Score {
	s := stillhouse.Score{Verdict: stillhouse.Wrong, Evidence: fmt.Sprintf(format, args...)}
	if right {
		s.Score, s.Verdict = 1, stillhouse.Right
	}
	return s
}

// noReference is the score where a prompt has no reference answer, or a blank one.
func noReference(c stillhouse.Candidate) (s stillhouse.Score, missing bool) {
	if c.Reference == nil || strings.TrimSpace(*c.Reference) == "" {
		return cannotTell("the prompt has no reference answer"), true
	}
	return s, false
}
