package serve

import (
	"strings"

	"stillhouse/internal/chat"
)

// maxHeld is the number of tokens after which text is let out even if it seems to end within a character: no character
// has more than four bytes, so by then the bytes are no UTF-8 at all.
const maxHeld = 16

// A writer turns one sample's tokens into text as they come. What it has let out is always whole characters, and never
// part of a stop string. All that it lets out is, joined, the text of the answer.
type writer struct {
	tokenizer *chat.Tokenizer
	stops     []string

	ids        []int32
	from, upTo int    // ids[from:upTo] are the tokens of the last piece, before which the next is decoded in context
	held       string // text that may be the beginning of a stop string
	stopped    bool   // a stop string came; nothing follows
	tokens     int    // that came
}

// add takes a token and returns the text that can be let out.
func (w *writer) add(token int32) string {
	if w.stopped {
		return ""
	}
	w.tokens++
	w.ids = append(w.ids, token)
	return w.release(w.decode(false), false)
}

// finish returns the text that is left after the last token.
func (w *writer) finish() string {
	if w.stopped {
		return ""
	}
	return w.release(w.decode(true), true)
}

// decode returns the text of the tokens after the last piece, in their context: tokenizers join tokens with spaces that
// depend on the one before. A token may end within a character, which then decodes to U+FFFD: that waits for the next.
func (w *writer) decode(all bool) string {
	before := w.tokenizer.Decode(w.ids[w.from:w.upTo], true)
	now := w.tokenizer.Decode(w.ids[w.from:], true)
	if !all && strings.HasSuffix(now, "\uFFFD") && len(w.ids)-w.upTo < maxHeld {
		return ""
	}
	text, grown := strings.CutPrefix(now, before)
	if !grown || text == "" {
		return "" // a special token, or one without text so far
	}
	w.from, w.upTo = w.upTo, len(w.ids)
	return text
}

// release adds text to what is held, and returns what is surely before any stop string.
func (w *writer) release(text string, all bool) string {
	text = w.held + text
	w.held = ""
	first := -1
	for _, stop := range w.stops {
		if at := strings.Index(text, stop); at >= 0 && (first < 0 || at < first) {
			first = at
		}
	}
	if first >= 0 {
		w.stopped = true
		return text[:first]
	}
	if all {
		return text
	}
	keep := 0
	for _, stop := range w.stops {
		for n := min(len(stop)-1, len(text)); n > keep; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				keep = n
			}
		}
	}
	w.held = text[len(text)-keep:]
	return text[:len(text)-keep]
}
