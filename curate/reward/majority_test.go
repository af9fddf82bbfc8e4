package reward

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// TestMajorityGoldens holds the vote against the goldens' key majority, by the definition in their README.
func TestMajorityGoldens(t *testing.T) {
	type row struct {
		Prompt  string
		Samples []struct {
			Sample int
			Answer *string
		}
	}
	type expected struct {
		Prompt   string
		Majority *struct {
			Answer    string
			Votes, Of int
			Tied      bool
			Rows      []int
		}
	}
	const goldens = "../../testdata/parity/data/selection/"
	rows, want := testkit.Lines[row](t, goldens+"bestofk.jsonl"), testkit.Lines[expected](t, goldens+"bestofk_expected.jsonl")
	require.Len(t, want, len(rows))
	voted, tied := 0, 0
	for i, r := range rows {
		require.Equal(t, r.Prompt, want[i].Prompt)
		if len(r.Samples) == 0 {
			require.Nil(t, want[i].Majority)
			continue
		}
		var candidates []stillhouse.Candidate
		for _, s := range r.Samples {
			text := ""
			if s.Answer != nil && strings.TrimSpace(*s.Answer) != "" {
				text = "Thus \\boxed{" + *s.Answer + "}"
			}
			candidates = append(candidates, candidate(r.Prompt, s.Sample, "", text, 5))
		}
		scores := new(Majority).ScoreGroup(context.Background(), candidates)
		agree := map[int]bool{}
		if m := want[i].Majority; m != nil {
			voted++
			for _, n := range m.Rows {
				agree[n] = true
			}
			require.Equal(t, m.Tied, strings.Contains(scores[0].Evidence, "and as many"), "%s: %s", r.Prompt, scores[0].Evidence)
			if m.Tied {
				tied++
			}
		}
		for k, s := range scores {
			verdict := stillhouse.Wrong
			switch {
			case candidates[k].Text() == "" || want[i].Majority == nil:
				verdict = stillhouse.Unparsable
			case agree[r.Samples[k].Sample]:
				verdict = stillhouse.Right
			}
			require.Equal(t, verdict, s.Verdict, "%s sample %d: %s", r.Prompt, r.Samples[k].Sample, s.Evidence)
			require.Equal(t, map[bool]float64{true: 1}[verdict == stillhouse.Right], s.Score)
		}
	}
	t.Logf("%d prompts, %d with votes, %d of them tied", len(rows), voted, tied)
	require.Greater(t, tied, 3)
}

func TestMajorityReadsTexts(t *testing.T) {
	for _, c := range []struct {
		texts    []string
		verdicts string
	}{
		{[]string{`The capital is \boxed{\text{Rome}}`, `so \boxed{\text{rome}}.`, `\boxed{Paris}`}, "right right wrong"},
		{[]string{"Positive.", " positive", "negative"}, "right right wrong"},
		{[]string{"The answer is **Blue**.\nI hope this helps!", "Answer: blue", "I really cannot say which of them it could be."}, "right right unparsable"},
		{[]string{"The answer is blue", "7", "The answer is 7"}, "wrong right right"},
		{[]string{"<think>The answer is blue</think>red", "Red"}, "right right"},
		{[]string{"", " \n"}, "unparsable unparsable"},
		{[]string{`\boxed{a`, `\boxed{}`}, "unparsable unparsable"},
		{[]string{"#### right angle\n", "#### Right  angle"}, "right right"},
	} {
		var candidates []stillhouse.Candidate
		for i, text := range c.texts {
			candidates = append(candidates, candidate("p", i, "", text, 3))
		}
		var got []string
		for _, s := range new(Majority).ScoreGroup(context.Background(), candidates) {
			got = append(got, s.Verdict)
		}
		require.Equal(t, c.verdicts, strings.Join(got, " "), "%q", c.texts)
	}
}

func TestMajorityOptions(t *testing.T) {
	for _, share := range []string{"-0.1", "1.5"} {
		err := json.Unmarshal([]byte(`{"majority": {"min_share": `+share+`}}`), new(Entry))
		require.ErrorContains(t, err, "majority.min_share: is "+share+": it must be from 0 to 1")
	}
}

// TestMajorityOfLargeAnswers bounds what hostile answers cost: 10 MB each, of one word, of marks and of braces.
func TestMajorityOfLargeAnswers(t *testing.T) {
	const size = 10 << 20
	var candidates []stillhouse.Candidate
	for i, word := range []string{"x", `\boxed{`, "#### ", "answer is ", "{", "7 ", "\xff", "</think>"} {
		candidates = append(candidates, candidate("p", i, "", strings.Repeat(word, size/len(word)), 3))
	}
	for _, s := range new(Majority).ScoreGroup(context.Background(), candidates) {
		require.True(t, utf8.ValidString(s.Evidence))
		require.Less(t, len(s.Evidence), 1000)
	}
}

func FuzzFinalText(f *testing.F) {
	for _, seed := range []string{`\boxed{a{b}}`, "#### x", "The ANSWER IS: y.\nz", "</think>a", "\xff answer is \xff", "b", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := finalText(text)
		if len(got) > 4*maxVoteText || !utf8.ValidString(got) || strings.Contains(got, "\n") || got != strings.TrimSpace(got) {
			t.Errorf("%q of %q", got, text)
		}
	})
}
