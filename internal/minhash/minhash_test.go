package minhash

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBands(t *testing.T) {
	for threshold, want := range map[float64][2]int{0.8: {25, 5}, 0.5: {64, 2}, 0.1: {128, 1}, 1: {1, 128}} {
		n, rows := bands(threshold, 128)
		require.Equal(t, want, [2]int{n, rows}, "threshold %v", threshold)
	}
}

func textOf(x *Index, text string, salt uint64) Text {
	var words []uint64
	for w := range strings.FieldsSeq(text) {
		words = append(words, Hash(w))
	}
	return x.Text(Shingles(words, 3), salt)
}

func TestShingles(t *testing.T) {
	require.Len(t, Shingles([]uint64{1, 2, 3, 4}, 3), 2)
	require.Len(t, Shingles([]uint64{1, 1, 1, 1, 1}, 3), 1, "each once")
	require.Len(t, Shingles([]uint64{1, 2}, 3), 1, "all words where there are fewer")
	require.Empty(t, Shingles(nil, 3))
	require.Equal(t, 0.5, Jaccard([]uint64{1, 2, 3}, []uint64{2, 3, 4}))
	require.Zero(t, Jaccard(nil, nil))
}

// TestNearest compares with looking at all texts: what is found is the nearest one, and hardly any is missed.
func TestNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := New(0.6, 128)
	var texts []Text
	found, missed := 0, 0
	for i := range 600 {
		words := make([]string, 25)
		for j := range words {
			words[j] = fmt.Sprint(r.IntN(9), i/4) // each four texts share a vocabulary
		}
		if i%4 > 0 {
			words = strings.Fields(fmt.Sprint(strings.Repeat(fmt.Sprintf("a%d b%d c%d d%d e%d ", i/4, i/4, i/4, i/4, i/4), 4), i))
		}
		text := textOf(x, strings.Join(words, " "), uint64(i%2))
		best, similarity := -1, 0.0
		for k, other := range texts {
			if s := Jaccard(other.shingles, text.shingles); k%2 == i%2 && s >= 0.6 && s > similarity {
				best, similarity = k, s
			}
		}
		number, s := x.Nearest(text, nil)
		switch {
		case number >= 0:
			require.Equal(t, best, number)
			require.Equal(t, similarity, s)
			found++
			none, _ := x.Nearest(text, func(k int) bool { return k != number && k%2 != i%2 })
			require.Equal(t, -1, none, "none is comparable")
		case best >= 0:
			missed++
		}
		x.Add(text)
		texts = append(texts, text)
	}
	require.Greater(t, found, 100)
	require.Zero(t, missed)
	number, _ := x.Nearest(textOf(x, "", 0), nil)
	require.Equal(t, -1, number)
}
