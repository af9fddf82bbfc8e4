package answer

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// read is the number that a text's answer is, "" where it is none.
func read(text string) string {
	a, err := Final(text)
	if err != nil || a.value == nil {
		return ""
	}
	return a.String()
}

func TestFinal(t *testing.T) {
	for text, want := range map[string]string{
		// Which mark counts.
		"First 3, then \\boxed{4}. Answer: 5":        "4",
		"#### 7\nThe answer is 8.":                   "7",
		"Answer: 9\nThere are 10 in all.":            "9",
		"#### Step 1\n2+2=4\n#### Step 2\nAnswer: 4": "4",
		"#### 4\nLet me check.\n#### 5":              "5",
		"<think>\n#### 3\n</think>\nIt is 4.":        "4",
		"reasoning 3</think>It is 4.":                "4",
		"<think>maybe 3, maybe":                      "",
		"#### ":                                      "",
		`\boxed{`:                                    "",
		`\boxed{5`:                                   "",
		"The answer is":                              "",

		"#### 17<|im_end|>\n":    "17",
		"It is 17</s>":           "17",
		`\boxed{5}\%`:            "0.05",
		`\boxed{5}\text{ km}`:    "5 km",
		`\boxed{5\,\text{km/h}}`: "5 km/h",
		"#### $18/day":           "18 $/day",

		// Numbers in a sentence.
		"He has 3 apples and 12 pears, in total 15 fruits.": "15 fruits",
		"It costs $1,250.00.":                               "1250 $",
		"That is 5 (after 2 more days go by).":              "2 more",
		"The total is 7!":                                   "7",
		"Total: 10 - 4 = 6":                                 "6",
		"- 5 apples\n- 6 pears":                             "6 pears",
		"x = 5":                                             "x = 5",
		"So 12 minus a few.":                                "",
		"It lasts 10-20 minutes":                            "",
		"On 2023-01-05":                                     "",
		"At 3:45":                                           "",
		"between 3 and 5":                                   "",
		"3, 4":                                              "",
		"either 3 or 4":                                     "",
		"The one I mean.":                                   "",
		"There are twenty-five of them.":                    "25",
		"two hundred and six":                               "206",
		"nine nine":                                         "",
		"That's 2 dozen.":                                   "",
		"1 hour and 30 minutes":                             "90 minutes",
		"It weighs 2.5 million tons.":                       "2500000 tons",
		"`42`":                                              "42",
		"*42*":                                              "42",
		"➡ **Final answer: 42** ✅":                          "42",
		"a) 42":                                             "42",
		"version 1.2.3":                                     "",
		"<<3*4=12>>12 apples":                               "12 apples",
		"Answer: $\\frac{3}{4}$ cup":                        "0.75 cup",
		"the answer is x^2 + 1":                             "",
		"The answer is 7, because 3+4=7 and not 8":          "7",

		// What is no number must not be read as one.
		"2x":                            "",
		"2x+1":                          "",
		"$3\\pi$":                       "",
		"3π":                            "",
		"√2":                            "",
		"sqrt(16)":                      "",
		"log 8":                         "",
		"2x = 10":                       "",
		"$x + 3 = 5$":                   "",
		"x > 3":                         "",
		"≤ 3":                           "",
		"±3":                            "",
		"101_2":                         "",
		"(3, 4)":                        "",
		"(1,234)":                       "",
		"[1, 2)":                        "",
		"{1, 2}":                        "",
		"3:4":                           "",
		"|-3|":                          "",
		"f(5)":                          "",
		"3i":                            "",
		"A4":                            "",
		"COVID-19":                      "",
		"5 squared":                     "",
		"$5m$":                          "",
		"5 choose 2":                    "",
		`\boxed{3}^2`:                   "",
		`-\boxed{3}`:                    "",
		`\frac{\boxed{3}}{4}`:           "",
		"The answer is 3 or 4.":         "",
		"The answer is 5 + x.":          "",
		"the answer is 3x":              "",
		"three plus four":               "",
		"$1.5k":                         "",
		"3\\frac{5}{4}":                 "",
		`\begin{pmatrix}1\end{pmatrix}`: "",
	} {
		require.Equal(t, want, read(text), "%q", text)
	}
}

// TestBounds reads what would cost more memory or time than there is, were it computed.
func TestBounds(t *testing.T) {
	for _, text := range []string{
		"10^1000000000", "10^10^9", "9^9^9^9", "2^-1000000000", "1e1000000000", "1e-1000000000", "1e99999999999999999999",
		"$1000000!$", "$((9^9)^9)^9^9$", strings.Repeat("9", 50_000), "0." + strings.Repeat("9", 50_000),
		"$" + strings.Repeat("(", 10_000) + "1" + strings.Repeat(")", 10_000) + "$", strings.Repeat(`\frac{1}{`, 5_000) + "1" + strings.Repeat("}", 5_000),
		strings.Repeat(`\text{`, 5_000) + "1" + strings.Repeat("}", 5_000), `\boxed{` + strings.Repeat("1+", 100_000) + "1}",
		strings.Repeat("-", 10_000) + "1", strings.Repeat("2^", 10_000) + "2", "$" + strings.Repeat(`(3/7)^900*`, 3_000) + "1$",
		strings.Repeat("$$", 30_000), strings.Repeat("$", 60_001), strings.Repeat("#### ", 20_000), strings.Repeat(`\boxed`, 20_000),
		strings.Repeat("####a", 1_000_000) + "\nb", strings.Repeat(`\frac{`, 5_000), "the answer is " + strings.Repeat("word ", 5_000) + strings.Repeat("5 ", 5_000),
		strings.Repeat("(", 15_000) + "1 2", strings.Repeat("1=", 10_000) + "x+1",
	} {
		a, err := Final(text)
		require.Nil(t, a.value, "%.20s is read as %v", text, a)
		if err != nil {
			require.LessOrEqual(t, len(err.Error()), 1000)
			continue
		}
		require.LessOrEqual(t, len(a.String()), 500)
		five, err := Reference("5")
		require.NoError(t, err)
		relation, _ := Compare(five, a)
		require.NotEqual(t, Same, relation, "%.20s", text)
	}
	for text, want := range map[string]string{
		"$10^{400}$":                           "a number of 1330 bits",
		"$" + strings.Repeat("1+", 400) + "1$": "401",
		strings.Repeat("(", 59) + "1" + strings.Repeat(")", 59): "1",
		`\boxed{1e-5}`: "0.00001",
	} {
		require.Equal(t, want, read(text))
	}
}

// TestFormulaBounds reads and compares what would grow without end, were it expanded or computed to the last bit.
func TestFormulaBounds(t *testing.T) {
	reference, err := Reference("x^2+1")
	require.NoError(t, err)
	for _, text := range []string{
		"$" + strings.Repeat(`(x+\sqrt2)`, 60) + "$", `$(x+\sqrt{2})^{90}>0$`, `$\int_0^1 (x+\sqrt2+y)^{50}dx$`,
		"$" + strings.Repeat(`\begin{vmatrix}x&1&1&1\\1&2&3&4\\5&6&x&8\\7&7&7&`, 60) + "1" + strings.Repeat(`\end{vmatrix}`, 60) + "$",
		`$\sum_{i=1}^{1000}\sum_{j=1}^{1000}\sum_{k=1}^{1000} ijk x$`,
		"$" + strings.Repeat(`\binom{`, 20) + "n" + strings.Repeat(`}{300}`, 20) + "$",
		"$" + strings.Repeat(`\sin(`, 150) + "x" + strings.Repeat(`)`, 150) + "$",
		"$" + strings.Repeat(`\sqrt{x+`, 150) + "x" + strings.Repeat(`}`, 150) + "$",
		"$" + strings.Repeat(`\sin x+`, 3000) + "x$",
		"$" + strings.Repeat(`e^{`, 100) + "x" + strings.Repeat(`}`, 100) + "$",
		`$\{` + strings.Repeat(`\sqrt{2},`, 2000) + `1\}$`,
		`$\begin{pmatrix}` + strings.Repeat(`1&1\\`, 3000) + `\end{pmatrix}$`,
		strings.Repeat(`$1$ and `, 4000) + "$x$",
		strings.Repeat(`$x`, 9000), strings.Repeat(`\(`, 9000), strings.Repeat(`\[x`, 9000), strings.Repeat(`\text{a}`, 3000), "$" + strings.Repeat("x_", 8000) + "$",
		"$" + strings.Repeat("x+", 8000) + "y$", "$" + strings.Repeat(`\pm`, 8000) + "y$", "$" + strings.Repeat(`1\pm`, 4000) + "y$",
		"$" + strings.Repeat(`[1,2]\cup`, 2000) + "[3,4]$", "$" + strings.Repeat("a<", 3000) + "x$",
		`\boxed{` + strings.Repeat("9", 30000) + "x}",
		`\boxed{` + strings.Repeat("x^{9", 90) + strings.Repeat("}", 90) + "}",
		`\boxed{x^{999999}+\pi^{16000000}}`,
		`\boxed{\sin(10^{5}x)+` + strings.Repeat(`\ln(x+\pi)\cdot`, 500) + "1}",
		strings.Repeat("**", 20000) + "a1", strings.Repeat("2**", 10000) + "2",
	} {
		a, err := Final(text)
		if err != nil {
			require.LessOrEqual(t, len(err.Error()), 1000)
			continue
		}
		require.LessOrEqual(t, len(a.String()), 500)
		relation, _ := Compare(reference, a)
		require.NotEqual(t, Same, relation, "%.30s", text)
		relation, _ = Compare(a, a)
		require.NotEqual(t, Different, relation, "%.30s", text)
	}
}

// A comparison whose context is done doesn't go on.
func TestCompareContext(t *testing.T) {
	a, err := Final(`$\sin x+\ln(x+\pi)$`)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b, err := Final(`$\ln(x+\pi)+\sin x$`)
	require.NoError(t, err)
	relation, _ := CompareContext(ctx, a, b)
	require.Equal(t, Undecided, relation)
	relation, _ = Compare(a, b)
	require.Equal(t, Same, relation)
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		reference, given string
		want             Relation
	}{
		{"0.3", "0.30000000000000004", Same},
		{"123456789.123", "123456789.124", Different},
		{"9007199254740993", "9007199254740992", Different},
		{"1/3", "0.333333", Same}, {"1/3", "0.333332", Different}, {"2/3", "0.666666", Undecided}, {"1/3", "0.33", Undecided}, {"1/3", "0.34", Different},
		{"0.33", "1/3", Undecided},
		{"50%", "0.5", Same}, {"50%", "1/2", Same}, {"50", "50%", Undecided}, {"50%", "5", Different},
		{"60 mph", "60 miles per hour", Same}, {`12\text{ m}^2`, "12 square meters", Same}, {`12\text{ m}^2`, "12 cubic meters", Different},
		{"20°C", "68°F", Same}, {"20°C", "20°F", Different}, {"$5", "€5", Different}, {"75 cents", "$0.75", Same}, {"0.75", "75 cents", Same},
		{"5 km", "5 furlongs", Undecided}, {"7 apples", "7", Same}, {"x=5", "5", Same}, {"x=5", "y=5", Different},
		{"-1,500", "−1500", Same}, {"3 1/2", "3.5", Same}, {"6e3", "6,000", Same}, {"2^{64}", "18446744073709551616", Same},
	} {
		a, err := Reference(c.reference)
		require.NoError(t, err, c.reference)
		b, err := Final(c.given)
		require.NoError(t, err, c.given)
		got, why := Compare(a, b)
		require.Equal(t, c.want, got, "%s and %s: %s", c.reference, c.given, why)
	}
}

func FuzzFinal(f *testing.F) {
	pairs, err := os.ReadFile("../../testdata/parity/data/math/pairs.jsonl")
	require.NoError(f, err)
	for i, line := range strings.Split(string(pairs), "\n") {
		if _, text, ok := strings.Cut(line, `"answer_text": "`); ok && i%10 == 0 && len(text) < 200 {
			f.Add(strings.ReplaceAll(text, `\\`, `\`))
		}
	}
	for _, s := range []string{`\frac12`, "1'234'567", "6 x 10^3", "½", "10⁸", `\boxed{\text{5 cm}^2}`, "#### $-1,2.5%", "$a$ b $$c$$", "answer is: **9**",
		`\frac{\frac{0}{1}}0*0!\frac{0{0}0}{0}`, `$\{x \mid x>3\}$`, "(B) 12", "The answer is 2x+1.", "$1$, $2$ and $3$", `\boxed{0.\overline{36}}`, "June 20"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Final(text)
		if err != nil {
			return
		}
		if got, why := Compare(a, a); got == Different || got != Same && a.value != nil { // 0/0 is nothing, and equal to nothing

			t.Fatalf("%q is read as %v, which is not equal to itself: %s", text, a, why)
		}
		if b, err := Final(text); err != nil || b.String() != a.String() {
			t.Fatalf("%q is read as %v and then as %v (%v)", text, a, b, err)
		}
		if len(text) > 0 {
			_, _ = Reference(text)
		}
	})
}
