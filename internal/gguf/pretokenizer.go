package gguf

import "encoding/json"

// A pretokenizer is what tokenizer.ggml.pre stands for: how a text is split before its pieces are merged, and what goes
// with it.
type pretokenizer struct {
	normalizer   string // of tokenizer.json, as JSON
	splitter     string // pre_tokenizer of tokenizer.json, as JSON
	ignoreMerges bool   // a piece that is a token is taken as it is
	addBOS       bool   // where tokenizer.ggml.add_bos_token is not there
}

const (
	// byteLevel turns bytes into letters and splits nothing.
	byteLevel = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,"use_regex":false}`
	// gpt2 does so too, and splits as GPT-2 does.
	gpt2 = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`
	// qwen2 and llama3 split alike but for the digits: one by one, or in threes.
	qwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	llama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// pretokenizers are those that are read, by tokenizer.ggml.pre. The expressions are those of llama.cpp's llama-vocab.cpp
// in the spelling of the models' own tokenizer.json; "default" is llama.cpp's own, for files without the key.
var pretokenizers = map[string]pretokenizer{
	"gpt-2":  {splitter: gpt2},
	"smollm": {splitter: `{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` + gpt2 + `]}`},
	// Qwen's tokenizer.json normalises; llama.cpp leaves that out.
	"qwen2":     {splitter: split(qwen2), normalizer: `{"type":"NFC"}`},
	"llama-bpe": {splitter: split(llama3), ignoreMerges: true, addBOS: true},
	"default": {splitter: split(`[\p{P}\$\+<=>\^~\|]+`,
		`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`, `\p{N}+`, `[0-9][0-9][0-9]`)},
}

// aliases are other names of the same.
var aliases = map[string]string{"": "default", "llama3": "llama-bpe", "llama-v3": "llama-bpe", "deepseek-r1-qwen": "qwen2"}

// split is a pre_tokenizer that applies expressions one after the other, each to the pieces of the one before.
func split(expressions ...string) string {
	steps := make([]json.RawMessage, 0, len(expressions)+1)
	for _, x := range expressions {
		pattern, _ := marshal(x) // a string can always be
		steps = append(steps, json.RawMessage(`{"type":"Split","pattern":{"Regex":`+string(pattern)+`},"behavior":"Isolated","invert":false}`))
	}
	text, _ := marshal(map[string]any{"type": "Sequence", "pretokenizers": append(steps, json.RawMessage(byteLevel))})
	return string(text)
}
