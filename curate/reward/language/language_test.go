package language

import (
	"stillhouse/internal/testkit"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// Every text whose language langdetect is sure of has that language here.
func TestDetect(t *testing.T) {
	rows := testkit.Lines[struct{ Text, Language string }](t, "testdata/texts.jsonl")
	for _, row := range rows {
		code, p, err := Detect(row.Text)
		require.NoError(t, err)
		require.Equal(t, row.Language, code, "%s: %v", row.Text, p)
		require.Equal(t, code != "", p > 0.5, "%s: %v", row.Text, p)
		again, q, err := Detect(row.Text)
		require.NoError(t, err)
		require.Equal(t, code, again)
		require.Equal(t, p, q)
	}
	require.Len(t, rows, 48)
}

func TestLanguages(t *testing.T) {
	all, err := Languages()
	require.NoError(t, err)
	require.Len(t, all, 55)
	require.Subset(t, all, strings.Fields("en es pt ar hi fr ru de ja it bn uk th ur ta te bg ko pl he fa vi ne sw kn mr gu pa ml fi"), "those that IFEval asks for")
}

func TestDetectHostile(t *testing.T) {
	for name, text := range map[string]string{
		"long":      strings.Repeat("the children walk home ", 500_000),
		"addresses": strings.Repeat("a@b.c http://", 1_000_000),
		"invalid":   "the children walk home \xff\xfe\x80 for their dinner",
		"marks":     "a" + strings.Repeat("\u0301", 5_000_000),
	} {
		code, p, err := Detect(text)
		require.NoError(t, err, name)
		require.True(t, p >= 0 && p <= 1, name)
		if name == "long" || name == "invalid" {
			require.Equal(t, "en", code, name)
		}
	}
}

func TestLoadProblems(t *testing.T) {
	_, err := load([]byte("no gzip"))
	require.ErrorContains(t, err, "profiles")
}

func FuzzDetect(f *testing.F) {
	for _, s := range []string{"", "The children walk home.", "NASA", "日本語", "\xff", "a@b.c", "ạ́"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		code, p, err := Detect(text)
		require.NoError(t, err)
		require.True(t, utf8.ValidString(code))
		require.True(t, p >= 0 && p <= 1, "%v", p)
		require.Equal(t, code == "", p == 0)
	})
}
