package reward

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

func TestFormat(t *testing.T) {
	const english, german = "Why do the children walk home in the evening?", "Warum gehen die Kinder am Abend nach Hause?"
	for _, c := range []struct{ checks, prompt, text, verdict, evidence string }{
		{"think", "", "4", "right", "no reasoning"}, {"think", "", "<think>2+2</think>4", "right", "closed"}, {"think", "", "\n<think>\n2+2\n</think>\n4", "right", "closed"}, {"think", "", "2+2</think>4", "right", "closed"}, {"think", "", "<thinking>2+2</thinking>4", "right", "closed"},
		{"think", "", "<think>2+2", "wrong", "never closed"}, {"think", "", "<think>2+2</think>", "wrong", "nothing follows"}, {"think", "", "<think>a</think>b<think>c</think>d", "wrong", "opened 2 times"}, {"think", "", "<think><think>a</think>b", "wrong", "opened 2 times"},
		{"think", "", "4 <think>so</think>", "wrong", "not at the beginning"}, {"think", "", "a</think>b</think>c", "wrong", "closed 2 times"}, {"think", "", "<think>a</thinking>b", "wrong", "never closed"}, {"think", "", "", "unparsable", "empty"},
		{"boxed", "", `\boxed{4}`, "right", `one, with "4"`}, {"boxed", "", `\fbox{4}`, "right", "one"}, {"boxed", "", `\boxed{\frac{1}{2}}`, "right", `one, with "\\frac{1}{2}"`}, {"boxed", "", "4", "wrong", "0 boxes"}, {"boxed", "", `\boxed{4} \boxed{4}`, "wrong", "2 boxes"},
		{"boxed", "", `\boxed{}`, "wrong", ""}, {"boxed", "", `\boxed{4`, "wrong", "never closed"}, {"boxed", "", `\boxed 4`, "wrong", "no braces"}, {"boxed", "", `<think>\boxed{3}?</think>\boxed{4}`, "right", "one"}, {"boxed", "", `<think>\boxed{3}`, "wrong", "never ends"},
		{"language", english, "They walk home because their dinner is ready.", "right", "the prompt is in en, the answer in en"}, {"language", english, "Sie gehen nach Hause, weil das Abendessen fertig ist.", "wrong", "the prompt is in en, the answer in de"},
		{"language", german, "Sie gehen nach Hause, weil das Abendessen fertig ist.", "right", "de"}, {"language", german, "Home.", "unparsable", "the answer has too few letters"}, {"language", "42?", "They walk home because their dinner is ready.", "unparsable", "the prompt has too few letters"},
		{"language", english, "<think>Sie gehen nach Hause, weil das Abendessen fertig ist.</think>They walk home because their dinner is ready.", "right", "en"}, {"language", english, "```python\nprint('Sie gehen nach Hause, weil das Abendessen fertig ist')\n```\n42", "unparsable", "too few letters"},
		{"language", "孩子们为什么晚上走路回家？请说明理由。", "因为他们的父母已经做好了晚饭，所以他们回家。", "right", "zh"}, {"language", english, "因为他们的父母已经做好了晚饭，所以他们回家。", "wrong", "the answer in zh"}, {"language", english, "<think>They", "unparsable", "never ends"},
		{"boxed language", english, "Home.", "wrong", "0 boxes"}, {"language boxed", english, `\boxed{4}`, "unparsable", "language"}, {"think boxed language", english, `<think>x</think>They walk home because their dinner is ready: \boxed{4}`, "right", "think: closed; boxed: one"},
	} {
		s := ask(t, &Format{Checks: strings.Fields(c.checks)}, c.prompt, "", c.text)
		assert.Equal(t, c.verdict, s.Verdict, "%+v: %s", c, s.Evidence)
		assert.Contains(t, s.Evidence, c.evidence, "%+v", c)
	}
	c := candidate("p", 0, "", "They walk home because their dinner is ready.", 1)
	c.Prompt.Prompt = nil
	require.Equal(t, stillhouse.Unparsable, (&Format{Checks: []string{"language"}}).Score(context.Background(), c).Verdict)
}

func TestRepetition(t *testing.T) {
	var words []string // no two the same
	for i := range 300 {
		words = append(words, string([]rune{'a' + rune(i%26), 'a' + rune(i/26), 'x' + rune(i%3)}))
	}
	fresh := strings.Join(words, " ")
	lines := strings.ReplaceAll(fresh, " ", "\n")
	for _, c := range []struct {
		options                 Repetition
		text, verdict, evidence string
	}{
		{Repetition{}, fresh, "right", "nothing is repeated, 300 words"}, {Repetition{}, "", "unparsable", "empty"}, {Repetition{}, "4", "right", "nothing"}, {Repetition{}, strings.Repeat("a ", 600_000), "unparsable", "bytes"},
		{Repetition{}, fresh + " " + fresh, "wrong", "10-grams that stood before"}, {Repetition{Factor: 10}, fresh + " " + fresh, "right", "48.8 %"}, {Repetition{}, fresh + " " + strings.Join(words[:20], " "), "right", "grams that stood before"},
		{Repetition{}, lines + "\n" + strings.Join(words[:100], "\n"), "wrong", "grams that stood before"}, {Repetition{}, fresh + strings.Repeat(" no way "+strings.Join(words[:1], ""), 60), "wrong", "times the limit"},
		{Repetition{}, "ha ha ha ha ha ha", "wrong", `a run of "ha "`}, {Repetition{}, "ha ha, what a joke that was", "right", "nothing"}, {Repetition{}, "哈哈哈哈哈哈哈哈", "wrong", `a run of "哈"`}, {Repetition{}, fresh + strings.Repeat(" ", 3000) + "x", "right", ""},
		{Repetition{MinWords: 1}, "one two one two", "wrong", "the most frequent 2-gram"}, {Repetition{}, "one two one two", "right", "nothing"}, {Repetition{}, strings.Repeat("a", 100) + fresh, "right", "a run of"},
	} {
		s := ask(t, &c.options, "", "", c.text)
		assert.Equal(t, c.verdict, s.Verdict, "%s: %s", shorten(c.text), s.Evidence)
		assert.Contains(t, s.Evidence, c.evidence)
		require.True(t, s.Score >= 0 && s.Score <= 1)
		assert.Equal(t, c.verdict == "right", s.Score == 1, s.Evidence)
	}
}

// The measures against counting by hand.
func TestRepetitionMeasures(t *testing.T) {
	require.Equal(t, 6, repeatedLines("abc\nabc\n\nx\n abc \n\n"))
	h := hashWords(strings.Fields("the cat sat the cat ran the cat"))
	require.Equal(t, 3*len("the cat"), h.top(2))
	require.Equal(t, 0, h.top(3))
	require.Equal(t, 2*len("the cat"), h.repeated(2))
	require.Equal(t, 0, h.repeated(10))
	for text, want := range map[string]int{"abcabcabc": 9, "xabcabcabca": 10, "abcabc": 0, "aaa": 3, "aa": 0, "": 0, "a   b": 0, "the sky the sky the sky ": 24} {
		n, _ := longestRun([]rune(text))
		require.Equal(t, want, n, text)
	}
}
