package rouge

import (
	"fmt"
	"math/rand/v2"
	"stillhouse/internal/testkit"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGolden compares with rouge-score, bit by bit.
func TestGolden(t *testing.T) {
	rows := testkit.Lines[struct {
		Target, Prediction   string
		Tokens               []string
		Precision, Recall, F float64
	}](t, "../../testdata/rouge/golden.jsonl")
	for _, row := range rows {
		assert.Equal(t, strings.Join(row.Tokens, " "), strings.Join(Tokens(row.Target), " "), row.Target)
		assert.Equal(t, Score{row.Precision, row.Recall, row.F}, L(row.Target, row.Prediction), row.Target)
	}
	assert.Len(t, rows, 180)
}

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"It's 2.50, snake_case!": "it s 2 50 snake case",
		"naïve café":             "naïve café",
		"写一首 poem です":            "写 一 首 poem で す",
		"Привет, мир":            "привет мир",
		"cafe\u0301 x":           "cafe\u0301 x",
		"":                       "",
	} {
		assert.Equal(t, want, strings.Join(Words(text), " "))
	}
}

func FuzzWords(f *testing.F) {
	f.Add("It's 2.50, snake_case!")
	f.Add("写\x00é")
	f.Fuzz(func(t *testing.T, text string) {
		words := Words(text)
		ascii := strings.IndexFunc(text, func(c rune) bool { return c >= 0x80 }) < 0
		if ascii && strings.Join(words, " ") != strings.Join(Tokens(text), " ") {
			t.Fatalf("%q: %q, not %q", text, words, Tokens(text))
		}
		if s := score(words, words); len(words) > 0 && s.F != 1 {
			t.Fatalf("%q is not like itself: %v", text, s)
		}
	})
}

// slowLCS is the textbook's table.
func slowLCS(a, b []uint32) int {
	row := make([]int, len(b)+1)
	for _, x := range a {
		diagonal := 0
		for j, y := range b {
			above := row[j+1]
			if x == y {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(row[j+1], row[j])
			}
			diagonal = above
		}
	}
	return row[len(b)]
}

func TestLCS(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		draw := func() []uint32 {
			out := make([]uint32, r.IntN(200))
			for i := range out {
				out[i] = uint32(r.IntN(1 + r.IntN(30)))
			}
			return out
		}
		a, b := draw(), draw()
		require.Equal(t, slowLCS(a, b), newPattern(a).lcs(b), "%v %v", a, b)
	}
}

func sentence(r *rand.Rand, vocabulary int) string {
	words := make([]string, 4+r.IntN(30))
	for i := range words {
		words[i] = fmt.Sprint("w", int(float64(vocabulary)*r.Float64()*r.Float64()*r.Float64())) // some are frequent, as in language
	}
	return strings.Join(words, " ")
}

// TestNearest compares with looking at all texts.
func TestNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x := NewIndex()
	number, _ := x.Nearest("a", 0)
	assert.Equal(t, -1, number, "there is none")
	var texts []string
	found := 0
	for range 400 {
		text := sentence(r, 60)
		for _, atLeast := range []float64{0, 0.3, 0.7} {
			best, f := -1, 0.0
			for i, other := range texts {
				if s := L(other, text).F; s > f && s >= atLeast {
					best, f = i, s
				}
			}
			number, got := x.Nearest(text, atLeast)
			require.Equal(t, best, number, text)
			require.Equal(t, f, got, text)
			if atLeast > 0 && number >= 0 {
				found++
			}
		}
		x.Add(text)
		texts = append(texts, text)
	}
	assert.Greater(t, found, 50)
	assert.Equal(t, 400, x.Len())
	number, f := x.Nearest(texts[17], 0.7)
	assert.Equal(t, 17, number)
	assert.Equal(t, 1.0, f)
	number, _ = x.Nearest("!!!", 0.7)
	assert.Equal(t, -1, number)
}

// BenchmarkNearest looks for the nearest of 50,000 kept texts, as growth does for each new one: with the threshold that
// decides, and without one.
func BenchmarkNearest(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	x := NewIndex()
	for range 50_000 {
		x.Add(sentence(r, 20_000))
	}
	for _, atLeast := range []float64{0.7, 0} {
		b.Run(fmt.Sprint(atLeast), func(b *testing.B) {
			for b.Loop() {
				x.Nearest(sentence(r, 20_000), atLeast)
			}
		})
	}
}
