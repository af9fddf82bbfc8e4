package chat

import (
	"unicode/utf8"

	"stillhouse/internal/chat/jinja"
)

// mask marks the ids that lie in the generated pieces of text, from the id of a piece's first character to that of its
// last, as transformers' return_assistant_tokens_mask does; where it finds no id for a piece's first character it
// stops, and where there is none for the last it marks all that follow, and so does this.
func mask(text string, spans []Span, generated []jinja.Span) []bool {
	out := make([]bool, len(spans))
	at := func(place int) int { // the id of the character at that place, -1 for none
		for i, s := range spans {
			if s.From <= place && place < s.To {
				return i
			}
		}
		return -1
	}
	for _, g := range generated {
		first := at(g.From)
		if first < 0 {
			break
		}
		_, size := utf8.DecodeLastRuneInString(text[:g.To])
		last := at(g.To - size)
		if last <= 0 {
			last = len(out) - 1
		}
		for i := first; i <= last; i++ {
			out[i] = true
		}
	}
	return out
}
