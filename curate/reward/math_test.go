package reward

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func mathScore(reference, text string) stillhouse.Score {
	return new(Math).Score(context.Background(), candidate("p", 0, reference, text, 1))
}

// TestMathParity states the agreement with the judged pairs exactly, by kind. Silent is unparsable: it is no verdict,
// and it is where what isn't read yet belongs.
func TestMathParity(t *testing.T) {
	type pair struct {
		ID, Kind, Gold string
		Answer         string `json:"answer_text"`
		Expected       *bool
	}
	type tally struct{ rows, judged, agree, falseRight, falseWrong, silent int }
	var all tally
	var missed []string
	kinds, order := map[string]*tally{}, []string{}
	for _, p := range testkit.Lines[pair](t, "../../testdata/parity/data/math/pairs.jsonl") {
		k := kinds[p.Kind]
		if k == nil {
			k = &tally{}
			kinds[p.Kind], order = k, append(order, p.Kind)
		}
		s := mathScore(p.Gold, p.Answer)
		for _, n := range []*tally{k, &all} {
			n.rows++
			if p.Expected == nil {
				continue
			}
			n.judged++
			if right := s.Verdict == stillhouse.Right; n == &all && (s.Verdict == stillhouse.Unparsable || right != *p.Expected) {
				missed = append(missed, fmt.Sprintf("| %s | %t | %s | %s | %s | %s |\n", p.ID, *p.Expected, s.Verdict, cell(clip(p.Gold)), cell(clip(p.Answer)), cell(s.Evidence)))
			}
			switch right := s.Verdict == stillhouse.Right; {
			case s.Verdict == stillhouse.Unparsable:
				n.silent++
			case right == *p.Expected:
				n.agree++
			case right:
				n.falseRight++
			default:
				n.falseWrong++
			}
		}
		if p.Expected == nil {
			require.NotEqual(t, stillhouse.Right, s.Verdict, "%s is undecided by construction: %s", p.ID, s.Evidence)
		}
	}
	var b strings.Builder
	b.WriteString("| kind | rows | judged | agree | false right | false wrong | silent |\n|---|---|---|---|---|---|---|\n")
	line := func(name string, n *tally) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d |\n", name, n.rows, n.judged, n.agree, n.falseRight, n.falseWrong, n.silent)
	}
	for _, name := range order {
		line(name, kinds[name])
	}
	line("**all**", &all)
	b.WriteString("\nWhat is missed:\n\n| id | expected right | verdict | gold | answer text | evidence |\n|---|---|---|---|---|---|\n" + strings.Join(missed, ""))
	t.Logf("agreement %.2f %%", 100*float64(all.agree)/float64(all.judged))
	testkit.Golden(t, "testdata/math_parity.md", b.String())
	require.GreaterOrEqual(t, float64(all.agree), 0.97*float64(all.judged))
	require.Zero(t, all.falseRight)
	require.Zero(t, all.falseWrong)
}

func clip(s string) string {
	if r := []rune(s); len(r) > 100 {
		return string(r[:100]) + "…"
	}
	return s
}

// TestMathGSM8K scores published solutions against their own references, and with the final number changed.
func TestMathGSM8K(t *testing.T) {
	type row struct{ Question, Answer string }
	path := cmp.Or(os.Getenv("STILLHOUSE_GSM8K"), "../../testdata/gsm8k/sample.jsonl") // or all of train.jsonl
	rows, scored := testkit.Lines[row](t, path), 0
	for _, r := range rows {
		work, reference, ok := strings.Cut(r.Answer, "#### ")
		require.True(t, ok)
		require.Equal(t, stillhouse.Right, mathScore(reference, r.Answer).Verdict, r.Answer)
		require.Equal(t, stillhouse.Right, mathScore(r.Answer, r.Answer).Verdict, "the whole solution as the reference: %s", r.Answer)
		require.Equal(t, stillhouse.Right, mathScore(reference, work+`\boxed{`+reference+`}`).Verdict, r.Answer)
		for _, wrong := range corrupted(reference) {
			for _, form := range []string{"#### %s", `So it is $\boxed{%s}$.`, "#### %s\n", "**Answer:** %s"} {
				s := mathScore(reference, work+fmt.Sprintf(form, wrong))
				require.Equal(t, stillhouse.Wrong, s.Verdict, "%s for %s: %s", wrong, reference, s.Evidence)
				scored++
			}
		}
	}
	t.Logf("%d problems: %d right answers are right, %d corrupted ones are wrong", len(rows), 3*len(rows), scored)
}

// corrupted are other numbers that look like n: with a digit more or less, changed or swapped, with another sign.
func corrupted(n string) (out []string) {
	plain := strings.ReplaceAll(n, ",", "")
	plain = strings.TrimPrefix(plain, "-")
	last := plain[len(plain)-1]
	out = append(out, "1"+plain, plain+"1", plain[:len(plain)-1]+string('0'+(last-'0'+1)%10), plain[:len(plain)-1]+string('0'+(last-'0'+3)%10))
	if !strings.Contains(plain, ".") && plain != "0" {
		out = append(out, plain+"0")
	}
	if plain != "0" {
		if strings.HasPrefix(n, "-") {
			out = append(out, plain)
		} else {
			out = append(out, "-"+plain)
		}
	}
	if b := []byte(plain); len(b) > 1 && b[0] != b[1] && b[1] != '.' && b[0] != '.' {
		b[0], b[1] = b[1], b[0]
		out = append(out, string(b))
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == plain && !strings.HasPrefix(n, "-") })
}

func TestMathEvidence(t *testing.T) {
	for _, c := range []struct{ reference, text, verdict, evidence string }{
		{"17", "9+8=17\n#### 17", "right", `read 17 from "#### 17", reference 17`},
		{"17", "The answer is 16.", "wrong", `read 16 from "answer is 16.", reference 17`},
		{"1/3", `\boxed{0.33}`, "unparsable", `read 0.33 from "\\boxed{0.33}", reference 1/3: too few decimals to tell`},
		{"50", "50%", "unparsable", `read 0.5 from "50%", reference 50: whether a percent sign is meant depends on the question`},
		{"17", "I don't know.", "unparsable", `no number could be read in "I don't know.": not a number; reference 17`},
		{`\sqrt{2}`, "2", "wrong", `read 2 from "2", reference \sqrt{2}`},
		{`\sum_{n=1}^\infty a_n`, "2", "unparsable", `read 2 from "2", reference \sum_{n=1}^\infty a_n: it can't be told whether they are the same`},
		{`\oiint`, "2", "unparsable", `reference: no number could be read in "\\oiint": not a number`},
		{"Monday", "The answer is Tuesday.", "wrong", `read tuesday from "answer is Tuesday.", reference monday`},
		{"", "17", "unparsable", "the prompt has no reference answer"},
		{"5 km", "5000 m", "right", `read 5000 m from "5000 m", reference 5 km`},
		{"5 km", "5 m", "wrong", `read 5 m from "5 m", reference 5 km`},
	} {
		s := mathScore(c.reference, c.text)
		require.Equal(t, c.verdict, s.Verdict, "%+v", c)
		require.Equal(t, c.evidence, s.Evidence)
		require.Equal(t, c.verdict == "right", s.Score == 1)
	}
}

// BenchmarkMath scores solutions of GSM8K, every fourth with a wrong number at its end, on as many cores as -cpu says. The
// peer that it is measured against, math-verify, is given the same answers.
func BenchmarkMath(b *testing.B) {
	type row struct{ Question, Answer string }
	rows := testkit.Lines[row](b, "../../testdata/gsm8k/sample.jsonl")
	for name, form := range map[string]string{"boxed": `So the answer is $\boxed{%s}$.`, "hash": "#### %s"} {
		var cs []stillhouse.Candidate
		for i, r := range rows {
			work, reference, _ := strings.Cut(r.Answer, "#### ")
			said := reference
			if i%4 == 0 {
				said = corrupted(reference)[0]
			}
			cs = append(cs, candidate("p", 0, reference, notes.ReplaceAllString(work, "")+fmt.Sprintf(form, said), 1))
		}
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					new(Math).Score(context.Background(), cs[i%len(cs)])
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
		})
	}
}

var notes = regexp.MustCompile("<<.*?>>")

// TestMathPairs scores pairs written by hand. A verdict that is right is one of four: R, W and U for right, wrong and
// unparsable, - for any but right.
func TestMathPairs(t *testing.T) {
	text, err := os.ReadFile("testdata/math_pairs.txt")
	require.NoError(t, err)
	verdicts := map[string]string{"R": stillhouse.Right, "W": stillhouse.Wrong, "U": stillhouse.Unparsable}
	rows := 0
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "==") {
			continue
		}
		f := strings.Split(line, " ¦ ")
		require.Len(t, f, 3, "line %d", i+1)
		s := mathScore(f[1], strings.ReplaceAll(f[2], "␤", "\n"))
		rows++
		if f[0] == "-" {
			assert.NotEqual(t, stillhouse.Right, s.Verdict, "line %d: %s: %s", i+1, line, s.Evidence)
		} else {
			assert.Equal(t, verdicts[f[0]], s.Verdict, "line %d: %s: %s", i+1, line, s.Evidence)
		}
	}
	require.Greater(t, rows, 200)
}
