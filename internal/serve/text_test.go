package serve

import (
	"strings"
	"testing"
	"unicode/utf8"

	"stillhouse/internal/chat"
)

func TestWriter(t *testing.T) {
	tokenizer, err := chat.Load(tinyLlama)
	if err != nil {
		t.Fatal(err)
	}
	long := "Grüße, 世界! 👩‍🚀 e\u0301 \u00a0 tabs\tand\nlines, ﷽ end"
	for name, tc := range map[string]struct {
		text  string
		stops []string
		want  string
	}{
		"plain":                 {long, nil, long},
		"empty":                 {"", nil, ""},
		"stop in a character":   {"a 👩‍🚀 b", []string{"🚀"}, "a 👩‍"},
		"across tokens":         {"one two three", []string{"o th"}, "one tw"},
		"begins but goes on":    {"ab ab abc", []string{"abd", "ab abd"}, "ab ab abc"},
		"the earliest of two":   {"hello world", []string{"world", "o w", "llo"}, "he"},
		"nearly at the end":     {"stop at END", []string{"END OF"}, "stop at END"},
		"twice the same prefix": {"aab", []string{"ab"}, "a"},
		"at once":               {"xyz", []string{"x"}, ""},
	} {
		w := &writer{tokenizer: tokenizer, stops: tc.stops}
		var got strings.Builder
		for _, id := range tokenizer.Encode(tc.text) {
			piece := w.add(id)
			if !utf8.ValidString(piece) || strings.Contains(piece, "\uFFFD") {
				t.Errorf("%s: the piece %q is not whole characters", name, piece)
			}
			got.WriteString(piece)
		}
		got.WriteString(w.finish())
		if got.String() != tc.want || w.stopped != (tc.want != tc.text) {
			t.Errorf("%s: %q, stopped %v, not %q", name, got.String(), w.stopped, tc.want)
		}
	}
}

// Any tokens at all: the pieces add up to what decoding them at once gives.
func FuzzWriter(f *testing.F) {
	tokenizer, err := chat.Load(tinyLlama)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("hello"))
	f.Add([]byte{0, 1, 2, 200, 201, 130, 131, 132, 255})
	f.Fuzz(func(t *testing.T, raw []byte) {
		w := &writer{tokenizer: tokenizer}
		var ids []int32
		var got strings.Builder
		for i, b := range raw {
			id := (int32(b) + int32(i%2)*128) % 384
			ids = append(ids, id)
			got.WriteString(w.add(id))
		}
		got.WriteString(w.finish())
		if want := tokenizer.Decode(ids, true); got.String() != want && !strings.Contains(want, "\uFFFD") {
			t.Errorf("%v: in pieces %q, at once %q", ids, got.String(), want)
		}
	})
}
