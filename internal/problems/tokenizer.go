package problems

import (
	"strconv"
)

// The special tokens. A turn opens with the token of its role; the assistant's turn ends with End.
const (
	Unknown   = "<unk>"
	Padding   = "<pad>"
	End       = "<|end|>"
	System    = "<|system|>"
	User      = "<|user|>"
	Assistant = "<|assistant|>"
)

var special = []string{Unknown, Padding, End, System, User, Assistant}

// ChatTemplate is the template of the conversations: one token a turn, and one that ends an answer.
const ChatTemplate = `{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}` +
	`{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}`

// splitPattern cuts text into words, single digits and signs, so that nothing is lost: a space before a digit or a #
// stays with the piece before it, every other space goes with the piece after it. A number's digits are so the same
// two tokens wherever it stands. [pieces] is the same rule in Go.
const splitPattern = ` ?(?:[A-Za-z]+|#+|[^ ])(?: (?=[0-9#]))?| `

// pieces cuts text as [splitPattern] does.
func pieces(text string) (out []string) {
	r := []rune(text)
	for i := 0; i < len(r); {
		from := i
		if r[i] == ' ' && i+1 < len(r) && r[i+1] != ' ' {
			i++
		}
		switch {
		case letter(r[i]):
			for i < len(r) && letter(r[i]) {
				i++
			}
		case r[i] == '#':
			for i < len(r) && r[i] == '#' {
				i++
			}
		default:
			i++
		}
		if r[i-1] != ' ' && i+1 < len(r) && r[i] == ' ' && (r[i+1] == '#' || digit(r[i+1])) {
			i++
		}
		out = append(out, string(r[from:i]))
	}
	return out
}

func letter(c rune) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func digit(c rune) bool  { return '0' <= c && c <= '9' }

// Vocabulary is every token in the order of its id: the special ones, the digits, the signs of an answer, then the
// words of the questions in the order in which the sentences have them.
func Vocabulary() []string {
	tokens := append([]string(nil), special...)
	seen := map[string]bool{}
	add := func(text string) {
		for _, p := range pieces(text) {
			if !seen[p] {
				seen[p] = true
				tokens = append(tokens, p)
			}
		}
	}
	add("0123456789")
	add("0+0-0*0=0. 0. #### 0")
	for _, s := range everySentence() {
		add(s + " He") // what follows a sentence is never a number
		add(" " + s)
	}
	return tokens
}

// Tokens is the number of tokens of a text without special ones.
func Tokens(text string) int { return len(pieces(text)) }

// Encode is the ids of a text without special tokens; what is no word of ours is the id of [Unknown].
func Encode(text string) []int {
	ids := make([]int, 0, len(text)/3)
	for _, p := range pieces(text) {
		ids = append(ids, idOf[p])
	}
	return ids
}

var idOf = func() map[string]int {
	ids := map[string]int{}
	for i, t := range Vocabulary() {
		ids[t] = i
	}
	return ids
}()

// tokenizerJSON is tokenizer.json: a word-level model whose decoder joins the tokens as they are.
func tokenizerJSON() any {
	vocabulary := map[string]int{}
	var added []any
	for i, t := range Vocabulary() {
		vocabulary[t] = i
		if i < len(special) {
			added = append(added, map[string]any{"id": i, "content": t, "single_word": false, "lstrip": false,
				"rstrip": false, "normalized": false, "special": true})
		}
	}
	return map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": nil,
		"pre_tokenizer": map[string]any{"type": "Split", "pattern": map[string]any{"Regex": splitPattern},
			"behavior": "Isolated", "invert": false},
		"post_processor": nil,
		"decoder":        map[string]any{"type": "Fuse"},
		"model":          map[string]any{"type": "WordLevel", "vocab": vocabulary, "unk_token": Unknown},
	}
}

// tokenizerConfig is tokenizer_config.json.
func tokenizerConfig() any {
	added := map[string]any{}
	for i, t := range special {
		added[strconv.Itoa(i)] = map[string]any{"content": t, "single_word": false, "lstrip": false, "rstrip": false,
			"normalized": false, "special": true}
	}
	return map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": maxPositions,
		"unk_token": Unknown, "pad_token": Padding, "eos_token": End, "bos_token": nil,
		"additional_special_tokens":    []string{System, User, Assistant},
		"clean_up_tokenization_spaces": false, "added_tokens_decoder": added,
		"chat_template": ChatTemplate,
	}
}
