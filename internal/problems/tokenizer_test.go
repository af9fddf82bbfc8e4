package problems

import (
	"strings"
	"testing"

	"github.com/daulet/tokenizers"
	"github.com/stretchr/testify/require"
)

func load(t testing.TB) *tokenizers.Tokenizer {
	t.Helper()
	files, err := ModelFiles()
	require.NoError(t, err)
	tk, err := tokenizers.FromBytes(files["tokenizer.json"])
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tk.Close()) })
	return tk
}

// The library that the program runs and the rule in Go agree, nothing is unknown, and nothing is lost.
func TestRoundTrip(t *testing.T) {
	tk := load(t)
	for _, r := range rows(t, Generator{Seed: 9, Slip: 0.5}, 3000) {
		for _, text := range []string{r.Question, r.Given} {
			ids, _ := tk.Encode(text, false)
			mine := Encode(text)
			require.Len(t, ids, len(mine), text)
			for i, id := range ids {
				require.EqualValues(t, id, mine[i], text)
				require.GreaterOrEqual(t, int(id), len(special), text)
			}
			require.Equal(t, text, tk.Decode(ids, true))
		}
		require.LessOrEqual(t, Tokens(r.Question)+Tokens(r.Given)+3, 80)
	}
}

func TestOneTokenATurn(t *testing.T) {
	tk := load(t)
	ids, tokens := tk.Encode("<|user|>Tom has 14 pens.<|assistant|>#### 14<|end|>", false)
	require.Equal(t, []string{"<|user|>", "Tom", " has ", "1", "4", " pens", ".", "<|assistant|>", "#### ", "1", "4", "<|end|>"}, tokens)
	require.Equal(t, "Tom has 14 pens.#### 14", tk.Decode(ids, true))
}

func TestUnknownWordsAreOneToken(t *testing.T) {
	tk := load(t)
	for _, text := range []string{"Zebra", "é", "Tom\nhas", "日本", "\xff\xfe", "🙂", "  ", strings.Repeat("x", 5000)} {
		ids, _ := tk.Encode(text, false)
		require.Contains(t, ids, uint32(0), "%q", text)
		require.NotContains(t, tk.Decode(ids, true), Unknown)
	}
}

func TestVocabulary(t *testing.T) {
	words := Vocabulary()
	require.Less(t, len(words), 110)
	require.Equal(t, words, Vocabulary(), "the ids are fixed")
	seen := map[string]bool{}
	for _, w := range words {
		require.False(t, seen[w], w)
		seen[w] = true
	}
	require.Equal(t, special, words[:len(special)])
}

// Whatever the text, the pieces are the text, none is empty, and the library cuts it into as many.
func FuzzPieces(f *testing.F) {
	for _, s := range []string{"", " ", "  a", "Tom has 14 apples. He", "23. #### 17", "## 1 #2  3", "é 9é", "a\nb\t1", "x# 1 y"} {
		f.Add(s)
	}
	tk := load(f)
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "?")
		got := pieces(s)
		require.Equal(t, s, strings.Join(got, ""))
		require.NotContains(t, got, "")
		for _, name := range special {
			if strings.Contains(s, name) {
				return // special tokens are cut out before the pieces
			}
		}
		ids, _ := tk.Encode(s, false)
		require.Len(t, ids, len(got), "%q: %q", s, got)
	})
}
