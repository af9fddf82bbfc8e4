package formula

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func relate(t testing.TB, reference, given string) Relation {
	a, err := Parse(reference)
	require.NoError(t, err, reference)
	b, err := Parse(given)
	require.NoError(t, err, given)
	return Compare(context.Background(), a, b)
}

func TestElementary(t *testing.T) {
	for _, c := range [][2]string{
		{`\exp(\ln 3)`, "3"}, {`\sin\frac{\pi}{6}`, `\frac12`}, {`\cos 36^\circ`, `\frac{1+\sqrt5}{4}`}, {`\arctan 1`, `\frac{\pi}{4}`},
		{`\tan\frac{\pi}{8}`, `\sqrt2-1`}, {`4\arctan\frac15-\arctan\frac{1}{239}`, `\frac{\pi}{4}`}, {`e^{i\pi}`, "-1"}, {`\log_2 1024`, "10"},
		{`\sqrt[3]{-8}`, "-2"}, {`\sqrt{-4}`, "2i"}, {`(1+i)^8`, "16"}, {`\arcsin\frac{\sqrt3}{2}`, `\frac{\pi}{3}`}, {`\sinh(\ln 2)`, `\frac34`},
		{`\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}`, "1"}, {`\ln 1000000`, `6\ln 10`}, {`\sin 900000`, `\sin(900000-2\pi)`},
	} {
		require.Equal(t, Same, relate(t, c[0], c[1]), "%v", c)
	}
}

// ways writes one rational number in many ways.
func ways(r *rand.Rand, n, d int64) []string {
	k := r.Int64N(8) + 2
	a := r.Int64N(200) - 100
	return []string{
		fmt.Sprintf(`\frac{%d}{%d}`, n, d), fmt.Sprintf(`\frac{%d}{%d}`, n*k, d*k), fmt.Sprintf("%d/%d", n, d), fmt.Sprintf(`-\frac{%d}{%d}`, -n, d),
		fmt.Sprintf(`%d+\frac{%d}{%d}`, a, n-a*d, d), fmt.Sprintf(`\left(\frac{%d}{%d}\right)^{-1}`, d, n), fmt.Sprintf(`\frac{%d}{%d}\cdot\frac{%d}{%d}`, n, k, k, d),
		fmt.Sprintf(`\frac{\sqrt{%d}}{%d}`, n*n, sign(n)*d), fmt.Sprintf(`\sqrt[3]{\frac{%d}{%d}}`, n*n*n, d*d*d), fmt.Sprintf(`\frac{%d\pi}{%d\pi}`, n, d),
		fmt.Sprintf(`\frac{%d(\sqrt2+1)}{%d}(\sqrt2-1)`, n, d), fmt.Sprintf(`\frac{%d}{%d}(\sin^2 %d+\cos^2 %d)`, n, d, k, k), fmt.Sprintf(`\frac{%d}{%d}e^{\ln %d}`, n, d*k, k),
		fmt.Sprintf(`-\frac{%d}{%d} i^2`, n, d), fmt.Sprintf(`\sum_{j=1}^{%d}\frac{%d}{%d}`, k, n, d*k), fmt.Sprintf(`\begin{vmatrix}%d&0\\%d&\frac{1}{%d}\end{vmatrix}`, n, a, d),
	}
}

func sign(n int64) int64 {
	if n < 0 {
		return -1
	}
	return 1
}

// Every way to write a number equals every other, and no way to write a number close to it.
func TestNumbersInManyWays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		n, d := r.Int64N(400)-200, r.Int64N(60)+1
		if n == 0 {
			n = 7
		}
		same, other := ways(r, n, d), ways(r, n*1000+1, d*1000)
		for i := range same {
			j := r.IntN(len(same))
			require.Equal(t, Same, relate(t, same[i], same[j]), "%s and %s", same[i], same[j])
			require.Equal(t, Different, relate(t, same[i], other[j]), "%s and %s", same[i], other[j])
		}
	}
}

// expressions makes an expression, the same one written otherwise, and another one.
func expressions(r *rand.Rand, depth int) (a, same, other string) {
	if depth == 0 {
		leaf := []string{"x", "y", "2", "7", `\pi`, `\sqrt{3}`, `\frac{1}{3}`, "z_1"}
		i := r.IntN(len(leaf))
		return leaf[i], leaf[i], leaf[(i+1+r.IntN(len(leaf)-1))%len(leaf)]
	}
	a1, s1, o1 := expressions(r, depth-1)
	a2, s2, _ := expressions(r, depth-1)
	switch r.IntN(5) {
	case 0:
		return fmt.Sprintf("(%s)+(%s)", a1, a2), fmt.Sprintf("(%s)+(%s)", s2, s1), fmt.Sprintf("(%s)+(%s)", o1, a2)
	case 1:
		return fmt.Sprintf("(%s)-(%s)", a1, a2), fmt.Sprintf("-((%s)-(%s))", s2, s1), fmt.Sprintf("(%s)-(%s)", o1, a2)
	case 2:
		return fmt.Sprintf("(%s)(%s)^2", a1, a2), fmt.Sprintf(`(%s)\cdot(%s)\cdot(%s)`, s2, s1, s2), fmt.Sprintf("(%s)+(%s)^2+1000", o1, a2)
	case 3:
		return fmt.Sprintf(`\frac{%s}{1+(%s)^2}`, a1, a2), fmt.Sprintf(`(%s)(1+(%s)^2)^{-1}`, s1, s2), fmt.Sprintf(`\frac{%s}{1+(%s)^2}`, o1, a2)
	}
	return fmt.Sprintf(`((%s)+(%s))^2`, a1, a2), fmt.Sprintf(`(%s)^2+2(%s)(%s)+(%s)^2`, s1, s1, s2, s2), fmt.Sprintf(`((%s)+(%s))^2+\frac{1}{10^{20}}`, a1, a2)
}

func TestExpressionsInManyWays(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		a, same, other := expressions(r, 1+r.IntN(3))
		require.Equal(t, Same, relate(t, a, same), "%s and %s", a, same)
		require.Equal(t, Same, relate(t, same, a), "%s and %s", a, same)
		require.NotEqual(t, Same, relate(t, a, "("+a+")+1"), a)
		if relate(t, a, other) == Same { // by chance 2·7 is 7·2
			require.Equal(t, Same, relate(t, other, same), "%s and %s", a, other)
		}
	}
}

// Sets of intervals are the same whatever their order, and however they are cut into pieces.
func TestIntervalsInManyWays(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 100 {
		a := r.Int64N(40) - 20
		b, c := a+1+r.Int64N(9), a+20+r.Int64N(9)
		d := c + 1 + r.Int64N(9)
		whole := fmt.Sprintf(`[%d,%d)\cup(%d,%d]`, a, b, c, d)
		for _, s := range []string{
			fmt.Sprintf(`(%d,%d]\cup[%d,%d)`, c, d, a, b), fmt.Sprintf(`[%d,%d]\setminus[%d,%d]`, a, d, b, c), fmt.Sprintf(`%d\le x<%d \text{ or } %d<x\le %d`, a, b, c, d),
			fmt.Sprintf(`[%d,\frac{%d}{2})\cup[\frac{%d}{2},%d)\cup(%d,%d]`, a, a+b, a+b, b, c, d), fmt.Sprintf(`x\in[%d,\sqrt{%d}\cdot\sqrt{%d})\cup(%d,%d]`, a, b*b, 1, c, d),
			fmt.Sprintf(`%d\le 2x<%d \text{ or } -%d>-x\ge -%d`, 2*a, 2*b, c, d),
		} {
			if b < 0 && strings.Contains(s, "sqrt") || c < 0 && strings.Contains(s, "--") {
				continue
			}
			require.Equal(t, Same, relate(t, whole, s), "%s and %s", whole, s)
		}
		for _, s := range []string{fmt.Sprintf(`[%d,%d]\cup(%d,%d]`, a, b, c, d), fmt.Sprintf(`[%d,%d]`, a, d), fmt.Sprintf(`(%d,%d)\cup(%d,%d]`, a, b, c, d),
			fmt.Sprintf(`[%d,%d)\cap(%d,%d]`, a, b, c, d), fmt.Sprintf(`[%d,%d)\cup(%d,%d]`, a, b, c, d+1)} {
			require.Equal(t, Different, relate(t, whole, s), "%s and %s", whole, s)
		}
	}
}

func FuzzCompare(f *testing.F) {
	for _, s := range [][2]string{{`\frac12`, "0.5"}, {"x^2+2x+1", "(x+1)^2"}, {"[1,2)", "1≤x<2"}, {`\{1,2\}`, "2,1"}, {"y=2x", `x=\frac y2`}, {`1\pm\sqrt2`, `\sum_{k=1}^3 k`},
		{`\begin{pmatrix}1&2\end{pmatrix}`, `\int_0^1 x\,dx`}, {"3:4", "6:8"}, {`\log_2 8`, `\binom{5}{2}`}, {"101_2", "0x2A"}, {`\sin^{-1} x`, "|x|"}, {`\mathbb{R}\setminus\{0\}`, "x≠0"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, x, y string) {
		a, errA := Parse(x)
		b, errB := Parse(y)
		if errA == nil && Compare(context.Background(), a, a) == Different {
			t.Fatalf("%q is different from itself", x)
		}
		if errA != nil || errB != nil {
			return
		}
		if there, back := Compare(context.Background(), a, b), Compare(context.Background(), b, a); there == Same && back == Different || there == Different && back == Same {
			t.Fatalf("%q and %q: %d, the other way round %d", x, y, there, back)
		}
	})
}
