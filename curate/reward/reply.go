package reward

import (
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
