package reward

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExact(t *testing.T) {
	plain, free := Exact{}, Exact{IgnoreCase: true, IgnoreSpace: true, IgnorePunctuation: true}
	last, after := Exact{Of: ofLastLine}, Exact{Mark: "####"}
	for _, c := range []struct {
		options                  Exact
		reference, text, verdict string
	}{
		{plain, "Paris", "Paris", "right"}, {plain, "Paris", " Paris\n", "right"}, {plain, "Paris", "paris", "wrong"}, {plain, "Paris", "Paris.", "wrong"}, {plain, "a b", "a  b", "wrong"},
		{plain, "caf\u00e9", "cafe\u0301", "right"}, {plain, "Paris", "<think>Rome?</think>Paris", "right"}, {plain, "Paris", "<think>Paris", "unparsable"}, {plain, "Paris", "", "unparsable"}, {plain, "", "Paris", "unparsable"},
		{plain, " ", "Paris", "unparsable"}, {plain, "a\xff", "a\xff", "right"}, {plain, "a\nb", "a\nb", "right"}, {plain, "a\nb", "b", "wrong"},
		{Exact{IgnoreCase: true}, "STRASSE", "straße", "right"}, {Exact{IgnoreSpace: true}, "a b", " a \n b ", "right"}, {Exact{IgnoreSpace: true}, "ab", "a b", "wrong"},
		{Exact{IgnorePunctuation: true}, "its", "**it's**", "right"}, {Exact{IgnorePunctuation: true}, "?", "?", "unparsable"}, {Exact{IgnorePunctuation: true}, "a", "!", "unparsable"},
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
		options                            Contains
		reference, text, verdict, evidence string
	}{
		{Contains{}, "Paris", "In Paris.", "right", `found "Paris"`}, {Contains{}, "Paris", "In paris.", "wrong", `did not find "Paris"`}, {Contains{IgnoreCase: true}, "Paris", "In PARIS.", "right", `found "Paris"`},
		{Contains{}, "", "Paris", "unparsable", "no reference"}, {Contains{}, "Paris", "", "unparsable", "empty"}, {Contains{}, "Paris", "<think>Paris</think>Rome", "wrong", `did not find "Paris"`},
		{Contains{Texts: two}, "", "mean and median", "right", `found "mean", "median"`}, {Contains{Texts: two}, "", "mean", "wrong", `did not find "median"`}, {Contains{Texts: two, Need: "any"}, "", "mean", "right", `found "mean"`},
		{Contains{Texts: two, Need: "any"}, "", "mode", "wrong", `did not find "mean", "median"`}, {Contains{Texts: two, Need: "any", Negate: true}, "", "mode", "right", `did not find "mean", "median"`},
		{Contains{Texts: two, Negate: true}, "", "mean", "right", `found "mean"`}, {Contains{Texts: two, Negate: true}, "", "mean, median", "wrong", `found "mean", "median"`}, {Contains{Texts: []string{"a"}, Negate: true}, "", "", "unparsable", "empty"},
		{Contains{Texts: []string{"a", "b", "c", "d", "e"}}, "", "abcde", "right", `found "a", "b", "c" and 2 more`}, {Contains{}, "caf\u00e9", "cafe\u0301", "right", "found"},
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
		options                  Numeric
		reference, text, verdict string
	}{
		{Numeric{}, "1000", "The answer is 1001.", "right"}, {Numeric{}, "1000", "The answer is 1001.1.", "wrong"}, {Numeric{}, "1000", "The answer is 999.", "right"}, {Numeric{}, "-1000", "The answer is -1001.", "right"},
		{Numeric{}, "0", "0.0001", "wrong"}, {Numeric{Absolute: 0.001}, "0", "0.0001", "right"}, {Numeric{Absolute: 0.5}, "3", "#### 3.5", "right"}, {Numeric{Absolute: 0.5}, "3", "#### 3.51", "wrong"},
		{Numeric{Relative: 0.01}, "1/3", "0.333", "right"}, {Numeric{Relative: 0.01}, "1/3", "0.34", "wrong"}, {Numeric{Relative: 0.01}, "1,200", `\boxed{1210}`, "right"}, {Numeric{}, "12", "12.0", "right"},
		{Numeric{}, "x", "12", "unparsable"}, {Numeric{}, "12", "I don't know.", "unparsable"}, {Numeric{}, "12", "", "unparsable"}, {Numeric{}, "", "12", "unparsable"},
		{Numeric{Absolute: 1}, "12", "9e9999", "unparsable"},
	} {
		s := ask(t, &c.options, "", c.reference, c.text)
		assert.Equal(t, c.verdict, s.Verdict, "%+v: %s", c, s.Evidence)
		require.NotEmpty(t, s.Evidence)
	}
}
