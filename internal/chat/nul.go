package chat

import (
	"encoding/json"
	"strings"

	"github.com/daulet/tokenizers"
)

// The library takes and gives C strings, which end at the first NUL. A text with a NUL goes through a second tokenizer
// made from the same file: its normalizer turns a stand-in into NUL before anything else, its decoder turns NUL back
// into the stand-in. The stand-in is a noncharacter of Unicode, which no text should have; one that has it loses it
// only if it holds a NUL too.
const standIn = "\U0010FFFE"

// withStandIn gives the tokenizer.json of the second tokenizer.
func withStandIn(file []byte) ([]byte, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(file, &keys); err != nil {
		return nil, err
	}
	replace := func(from, to string) map[string]any {
		return map[string]any{"type": "Replace", "pattern": map[string]string{"String": from}, "content": to}
	}
	normalizers := []any{replace(standIn, "\x00")}
	if n := keys["normalizer"]; !null(n) {
		normalizers = append(normalizers, n)
	}
	var err error
	if keys["normalizer"], err = json.Marshal(map[string]any{"type": "Sequence", "normalizers": normalizers}); err != nil {
		return nil, err
	}
	if d := keys["decoder"]; !null(d) { // without a decoder the tokens are joined by spaces, which a sequence can't do
		decoders := []any{d, replace("\x00", standIn)}
		if keys["decoder"], err = json.Marshal(map[string]any{"type": "Sequence", "decoders": decoders}); err != nil {
			return nil, err
		}
	}
	return json.Marshal(keys)
}

// useNUL calls f with the second tokenizer. It does nothing when the tokenizer is closed or can't be made.
func (t *Tokenizer) useNUL(f func(*tokenizers.Tokenizer)) {
	t.mu.Lock()
	if t.nul == nil && !t.closed {
		if file, err := withStandIn(t.file); err == nil {
			t.nul, _ = t.open(file)
		}
	}
	t.mu.Unlock()
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.nul != nil && !t.closed {
		f(t.nul)
	}
}

func (t *Tokenizer) encodeNUL(text string, special, spans bool) (ids []int32, out []Span) {
	text = strings.ReplaceAll(text, standIn, "\uFFFD")
	marked := strings.ReplaceAll(text, "\x00", standIn)
	t.useNUL(func(tk *tokenizers.Tokenizer) { ids, out = encodeWith(tk, marked, special, spans) })
	if len(out) == 0 {
		return ids, out
	}
	at := make([]int, len(marked)+1) // the place in text of each place in marked
	i, j := 0, 0
	for i < len(marked) {
		n := 1
		if strings.HasPrefix(marked[i:], standIn) {
			n = len(standIn)
		}
		for k := range n {
			at[i+k] = j
		}
		i, j = i+n, j+1
	}
	at[len(marked)] = j
	for k, s := range out {
		out[k] = Span{at[min(s.From, len(marked))], at[min(s.To, len(marked))]}
	}
	return ids, out
}

func (t *Tokenizer) decodeNUL(ids []uint32) (text string) {
	t.useNUL(func(tk *tokenizers.Tokenizer) { text = tk.Decode(ids, false) })
	return strings.ReplaceAll(text, standIn, "\x00")
}
