package curate

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExact(t *testing.T) {
	plain, free := ExactOptions{}, ExactOptions{IgnoreCase: true, IgnoreSpace: true, IgnorePunctuation: true}
	last, after := ExactOptions{Of: OfLastLine}, ExactOptions{Mark: "####"}
	for _, c := range []struct {
		options                  ExactOptions
		reference, text, verdict string
	}{
		{plain, "Paris", "Paris", "right"}, {plain, "Paris", " Paris\n", "right"}, {plain, "Paris", "paris", "wrong"}, {plain, "Paris", "Paris.", "wrong"}, {plain, "a b", "a  b", "wrong"},
		{plain, "caf\u00e9", "cafe\u0301", "right"}, {plain, "Paris", "<think>Rome?</think>Paris", "right"}, {plain, "Paris", "<think>Paris", "unparsable"}, {plain, "Paris", "", "unparsable"}, {plain, "", "Paris", "unparsable"},
		{plain, " ", "Paris", "unparsable"}, {plain, "a\xff", "a\xff", "right"}, {plain, "a\nb", "a\nb", "right"}, {plain, "a\nb", "b", "wrong"},
		{ExactOptions{IgnoreCase: true}, "STRASSE", "straße", "right"}, {ExactOptions{IgnoreSpace: true}, "a b", " a \n b ", "right"}, {ExactOptions{IgnoreSpace: true}, "ab", "a b", "wrong"},
		{ExactOptions{IgnorePunctuation: true}, "its", "**it's**", "right"}, {ExactOptions{IgnorePunctuation: true}, "?", "?", "unparsable"}, {ExactOptions{IgnorePunctuation: true}, "a", "!", "unparsable"},
		{free, "New York", "**new\nYORK!**", "right"}, {free, "New York", "Newark", "wrong"},
		{last, "4", "2 + 2\n4", "right"}, {last, "4", "2 + 2\n\n4\n\n", "right"}, {last, "4", "4\nindeed", "wrong"},
		{after, "4", "x\n#### 4", "right"}, {after, "4", "#### 5\n#### 4\nso", "right"}, {after, "work\n#### 4", "#### 4", "right"}, {after, "4", "4", "unparsable"}, {after, "4", "####", "unparsable"},
	} {
		s := ask(t, &c.options, "", c.reference, c.text)
		assert.Equal(t, c.verdict, s.Verdict, "%+v: %s", c, s.Evidence)
		assert.Equal(t, c.verdict == "right", s.Score == 1)
		require.NotEmpty(t, s.Evidence)
	}
}

func TestContains(t *testing.T) {
	two := []string{"mean", "median"}
	for _, c := range []struct {
		options                            ContainsOptions
		reference, text, verdict, evidence string
	}{
		{ContainsOptions{}, "Paris", "In Paris.", "right", `found "Paris"`}, {ContainsOptions{}, "Paris", "In paris.", "wrong", `did not find "Paris"`}, {ContainsOptions{IgnoreCase: true}, "Paris", "In PARIS.", "right", `found "Paris"`},
		{ContainsOptions{}, "", "Paris", "unparsable", "no reference"}, {ContainsOptions{}, "Paris", "", "unparsable", "empty"}, {ContainsOptions{}, "Paris", "<think>Paris</think>Rome", "wrong", `did not find "Paris"`},
		{ContainsOptions{Texts: two}, "", "mean and median", "right", `found "mean", "median"`}, {ContainsOptions{Texts: two}, "", "mean", "wrong", `did not find "median"`}, {ContainsOptions{Texts: two, Need: "any"}, "", "mean", "right", `found "mean"`},
		{ContainsOptions{Texts: two, Need: "any"}, "", "mode", "wrong", `did not find "mean", "median"`}, {ContainsOptions{Texts: two, Need: "any", Negate: true}, "", "mode", "right", `did not find "mean", "median"`},
		{ContainsOptions{Texts: two, Negate: true}, "", "mean", "right", `found "mean"`}, {ContainsOptions{Texts: two, Negate: true}, "", "mean, median", "wrong", `found "mean", "median"`}, {ContainsOptions{Texts: []string{"a"}, Negate: true}, "", "", "unparsable", "empty"},
		{ContainsOptions{Texts: []string{"a", "b", "c", "d", "e"}}, "", "abcde", "right", `found "a", "b", "c" and 2 more`}, {ContainsOptions{}, "caf\u00e9", "cafe\u0301", "right", "found"},
	} {
		s := ask(t, &c.options, "", c.reference, c.text)
		assert.Equal(t, c.verdict, s.Verdict, "%+v: %s", c, s.Evidence)
		assert.Contains(t, s.Evidence, c.evidence)
	}
	require.True(t, containsReward{}.NeedsReference())
	require.False(t, containsReward{texts: two}.NeedsReference())
}

func TestNumeric(t *testing.T) {
	for _, c := range []struct {
		options                  NumericOptions
		reference, text, verdict string
	}{
		{NumericOptions{}, "1000", "The answer is 1001.", "right"}, {NumericOptions{}, "1000", "The answer is 1001.1.", "wrong"}, {NumericOptions{}, "1000", "The answer is 999.", "right"}, {NumericOptions{}, "-1000", "The answer is -1001.", "right"},
		{NumericOptions{}, "0", "0.0001", "wrong"}, {NumericOptions{Absolute: 0.001}, "0", "0.0001", "right"}, {NumericOptions{Absolute: 0.5}, "3", "#### 3.5", "right"}, {NumericOptions{Absolute: 0.5}, "3", "#### 3.51", "wrong"},
		{NumericOptions{Relative: 0.01}, "1/3", "0.333", "right"}, {NumericOptions{Relative: 0.01}, "1/3", "0.34", "wrong"}, {NumericOptions{Relative: 0.01}, "1,200", `\boxed{1210}`, "right"}, {NumericOptions{}, "12", "12.0", "right"},
		{NumericOptions{}, "x", "12", "unparsable"}, {NumericOptions{}, "12", "I don't know.", "unparsable"}, {NumericOptions{}, "12", "", "unparsable"}, {NumericOptions{}, "", "12", "unparsable"},
		{NumericOptions{Absolute: 1}, "12", "9e9999", "unparsable"},
	} {
		s := ask(t, &c.options, "", c.reference, c.text)
		assert.Equal(t, c.verdict, s.Verdict, "%+v: %s", c, s.Evidence)
		require.NotEmpty(t, s.Evidence)
	}
}
