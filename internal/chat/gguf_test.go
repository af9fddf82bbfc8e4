package chat

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse/internal/gguf"
)

const tinyGGUF = parity + "gguf/tiny-llama.Q4_0.gguf"

// The tokenizer in a GGUF file is the one that the model's directory has: ids, text, special tokens, template.
func TestGGUFTokenizer(t *testing.T) {
	tk, want := load(t, tinyGGUF), load(t, parity+"models/tiny-llama")
	lines(t, parity+"chat/tiny_strings.jsonl", func(row struct {
		Text               string
		IDs                []int32
		Decoded            string
		DecodedSkipSpecial string `json:"decoded_skip_special"`
	}) {
		require.Equal(t, row.IDs, append([]int32{}, tk.Encode(row.Text)...), row.Text)
		require.Equal(t, row.IDs, append([]int32{}, tk.EncodeWithSpecial(row.Text)...), row.Text)
		require.Equal(t, row.Decoded, tk.Decode(row.IDs, false))
		require.Equal(t, row.DecodedSkipSpecial, tk.Decode(row.IDs, true))
		_, spans := tk.EncodeSpans(row.Text)
		_, same := want.EncodeSpans(row.Text)
		require.Equal(t, same, spans, row.Text)
	})
	require.Equal(t, want.Template(), tk.Template())
	require.Equal(t, want.EOS(), tk.EOS())
	require.Equal(t, want.PAD(), tk.PAD())
	require.Equal(t, want.MaxID(), tk.MaxID())
	bos, ok := tk.BOS()
	require.True(t, ok)
	require.EqualValues(t, 1, bos)
	for id := range int32(4) {
		require.Equal(t, want.Token(id), tk.Token(id))
		require.Equal(t, want.IsSpecial(id), tk.IsSpecial(id))
	}
}

// A directory with nothing but one GGUF file is that file.
func TestGGUFDirectory(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(tinyGGUF)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.gguf"), text, 0o644))
	require.EqualValues(t, 383, load(t, dir).MaxID())
}

// tokenizerGGUF writes the tiny tokenizer with other metadata. A nil value leaves a key out.
func tokenizerGGUF(t *testing.T, set map[string]any) string {
	t.Helper()
	f, err := gguf.Open(tinyGGUF)
	require.NoError(t, err)
	defer f.Close()
	tokens, _, err := f.Texts("tokenizer.ggml.tokens")
	require.NoError(t, err)
	merges, _, err := f.Texts("tokenizer.ggml.merges")
	require.NoError(t, err)
	types := make([]int32, len(tokens))
	for i := range types {
		if types[i] = 1; i < 3 {
			types[i] = 3
		}
	}
	var pairs []gguf.Pair
	add := func(key string, v any) {
		if other, ok := set[key]; ok {
			v = other
		}
		if v != nil {
			pairs = append(pairs, gguf.Pair{Key: key, Value: v})
		}
		delete(set, key)
	}
	add("general.architecture", "llama")
	add("llama.context_length", uint32(512))
	add("tokenizer.ggml.model", "gpt2")
	add("tokenizer.ggml.pre", "smollm")
	add("tokenizer.ggml.tokens", tokens)
	add("tokenizer.ggml.merges", merges)
	add("tokenizer.ggml.token_type", types)
	add("tokenizer.ggml.bos_token_id", uint32(1))
	add("tokenizer.ggml.eos_token_id", uint32(2))
	for key := range set {
		add(key, nil)
	}
	path := filepath.Join(t.TempDir(), "tokenizer.gguf")
	out, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, gguf.Write(out, pairs, nil))
	require.NoError(t, out.Close())
	return path
}

// What llama.cpp makes of the strings with each pre-tokenizer, see testdata/gguf/README.md.
func TestGGUFPretokenizers(t *testing.T) {
	tokenizers := map[string]*Tokenizer{}
	lines(t, "../../testdata/gguf/pre.jsonl", func(row struct {
		Pre, Text string
		IDs       []int32
	}) {
		tk := tokenizers[row.Pre]
		if tk == nil {
			tk = load(t, tokenizerGGUF(t, map[string]any{"tokenizer.ggml.pre": row.Pre}))
			tokenizers[row.Pre] = tk
		}
		require.Equal(t, row.IDs, append([]int32{}, tk.Encode(row.Text)...), "%s: %q", row.Pre, row.Text)
	})
	require.Len(t, tokenizers, 5)
}

func TestGGUFEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		set         map[string]any
		before, end int32
	}{
		"llama-bpe begins":   {map[string]any{"tokenizer.ggml.pre": "llama-bpe"}, 1, -1},
		"unless told not to": {map[string]any{"tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": false}, -1, -1},
		"told to":            {map[string]any{"tokenizer.ggml.add_bos_token": true}, 1, -1},
		"both":               {map[string]any{"tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.add_eos_token": true}, 1, 2},
	} {
		tk := load(t, tokenizerGGUF(t, tc.set))
		want := tk.Encode("abc")
		if tc.before >= 0 {
			want = append([]int32{tc.before}, want...)
		}
		if tc.end >= 0 {
			want = append(want, tc.end)
		}
		require.Equal(t, want, tk.EncodeWithSpecial("abc"), name)
	}
}

func TestGGUFTemplates(t *testing.T) {
	tk := load(t, tokenizerGGUF(t, map[string]any{"tokenizer.chat_template": "a", "tokenizer.chat_template.tool_use": "b"}))
	require.Equal(t, "a", tk.Template())
	require.False(t, load(t, tokenizerGGUF(t, nil)).HasTemplate())
}

// An unused id is no token.
func TestGGUFUnused(t *testing.T) {
	f, err := gguf.Open(tinyGGUF)
	require.NoError(t, err)
	defer f.Close()
	tokens, _, err := f.Texts("tokenizer.ggml.tokens")
	require.NoError(t, err)
	tokens = append(append([]string{}, tokens...), "[PAD384]", "<tool>", "[PAD384]")
	types := make([]int32, len(tokens))
	for i := range types {
		types[i] = 1
	}
	types[384], types[385], types[386] = 5, 4, 5
	tk := load(t, tokenizerGGUF(t, map[string]any{"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}))
	require.Equal(t, append(append(tk.Encode("a"), 385), tk.Encode("b")...), tk.Encode("a<tool>b"))
	require.NotContains(t, tk.Encode("[PAD384]"), int32(384))
	require.False(t, tk.IsSpecial(385))
}

func TestGGUFTokenizersRefused(t *testing.T) {
	short := []int32{1, 1}
	byteType := make([]int32, 384)
	for i := range byteType {
		byteType[i] = 1
	}
	byteType[7] = 6
	for name, tc := range map[string]struct {
		set  map[string]any
		want string
	}{
		"sentencepiece":      {map[string]any{"tokenizer.ggml.model": "llama"}, `tokenizer.ggml.model "llama" is not supported: gpt2`},
		"no tokenizer":       {map[string]any{"tokenizer.ggml.model": nil}, `tokenizer.ggml.model "" is not supported`},
		"another pre":        {map[string]any{"tokenizer.ggml.pre": "tekken"}, `tokenizer.ggml.pre "tekken" is not supported: default, gpt-2, llama-bpe, qwen2, smollm are`},
		"types missing":      {map[string]any{"tokenizer.ggml.token_type": short}, "has 2 entries for 384 tokens"},
		"a byte token":       {map[string]any{"tokenizer.ggml.token_type": byteType}, "token 7"},
		"no tokens":          {map[string]any{"tokenizer.ggml.tokens": []string{}, "tokenizer.ggml.token_type": []int32{}}, "has 0 tokens"},
		"a token twice":      {map[string]any{"tokenizer.ggml.tokens": []string{"a", "b", "a"}, "tokenizer.ggml.token_type": []int32{1, 1, 1}}, `tokens 0 and 2 are both "a"`},
		"no UTF-8":           {map[string]any{"tokenizer.ggml.tokens": []string{"a", "\xff", "c"}, "tokenizer.ggml.token_type": []int32{1, 1, 1}}, "token 1 "},
		"a merge of nothing": {map[string]any{"tokenizer.ggml.merges": []string{"ab"}}, `merge 0 ("ab") is not two tokens`},
		"a merge of unknown": {map[string]any{"tokenizer.ggml.merges": []string{"a zzzz"}}, `needs the token "zzzz"`},
		"eos beyond":         {map[string]any{"tokenizer.ggml.eos_token_id": uint32(384)}, "tokenizer.ggml.eos_token_id is 384"},
		"eos of text":        {map[string]any{"tokenizer.ggml.eos_token_id": "end"}, "is of type string"},
		"add without bos":    {map[string]any{"tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.bos_token_id": nil}, "there is no tokenizer.ggml.bos_token_id"},
		"tokens of numbers":  {map[string]any{"tokenizer.ggml.tokens": []int32{1}}, "is of type an array of int32"},
	} {
		_, err := Load(tokenizerGGUF(t, tc.set))
		require.ErrorContains(t, err, tc.want, name)
	}
}

// pairsOf writes a tokenizer as GGUF metadata and reads it back.
func pairsOf(t *testing.T, tk *Tokenizer, size int) *Tokenizer {
	t.Helper()
	pairs, err := tk.Vocabulary(size).Pairs()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "written.gguf")
	out, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, gguf.Write(out, append([]gguf.Pair{{Key: "general.architecture", Value: "llama"}}, pairs...), nil))
	require.NoError(t, out.Close())
	return load(t, path)
}

// The real Qwen3 tokenizer comes back from a GGUF file as it was, though the model's vocabulary has ids without a token.
func TestQwen3ThroughGGUF(t *testing.T) {
	want := qwen3(t)
	tk := pairsOf(t, want, 151936)
	require.Equal(t, want.MaxID(), tk.MaxID())
	require.Equal(t, want.Template(), tk.Template())
	require.Equal(t, want.EOS(), tk.EOS())
	require.Equal(t, want.PAD(), tk.PAD())
	for id := range want.MaxID() + 1 {
		require.Equal(t, want.Token(id), tk.Token(id))
		require.Equal(t, want.IsSpecial(id), tk.IsSpecial(id))
	}
	lines(t, parity+"chat/qwen3_strings.jsonl", func(row struct {
		Text string
		IDs  []int32
	}) {
		require.Equal(t, row.IDs, append([]int32{}, tk.Encode(row.Text)...), row.Text)
	})
}

// tokenizerJSON is tiny-llama's tokenizer.json with a change.
func tokenizerJSON(t *testing.T, change func(file, model map[string]any)) *Tokenizer {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		raw, err := os.ReadFile(parity + "models/tiny-llama/" + name)
		require.NoError(t, err)
		if name == "tokenizer.json" {
			var file map[string]any
			require.NoError(t, json.Unmarshal(raw, &file))
			change(file, file["model"].(map[string]any))
			raw, err = json.Marshal(file)
			require.NoError(t, err)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), raw, 0o644))
	}
	return load(t, dir)
}

func object(t *testing.T, text string) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

const (
	wordSplit = `{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N} ?[^\\s\\p{L}\\p{N}]+"},"behavior":"Isolated","invert":false}`
	llama3    = `{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false}`
	qwen2     = `{"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false}`
	level     = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}`
	ends      = `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"%s","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"<|im_end|>","type_id":0}}],
		"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
		"special_tokens":{"%s":{"id":"%s","ids":[%d],"tokens":["%s"]},"<|im_end|>":{"id":"<|im_end|>","ids":[2],"tokens":["<|im_end|>"]}}}`
)

// Tokenizers of each kind come back as they were.
func TestThroughGGUF(t *testing.T) {
	for name, change := range map[string]func(file, model map[string]any){
		"smollm": func(_, _ map[string]any) {},
		"gpt-2": func(file, _ map[string]any) {
			file["pre_tokenizer"] = object(t, strings.Replace(level, `"use_regex":false`, `"use_regex":true`, 1))
		},
		"llama-bpe": func(file, model map[string]any) {
			file["pre_tokenizer"] = object(t, `{"type":"Sequence","pretokenizers":[`+llama3+`,`+level+`]}`)
			file["post_processor"] = object(t, `{"type":"Sequence","processors":[`+level+`,`+fmt.Sprintf(ends, "<|im_start|>", "<|im_start|>", "<|im_start|>", 1, "<|im_start|>")+`]}`)
			model["ignore_merges"] = true
		},
		"qwen2, not normalised": func(file, _ map[string]any) {
			file["pre_tokenizer"] = object(t, `{"type":"Sequence","pretokenizers":[`+qwen2+`,`+level+`]}`)
		},
		"merges as text": func(_, model map[string]any) {
			for i, m := range model["merges"].([]any) {
				if pair, ok := m.([]any); ok {
					model["merges"].([]any)[i] = pair[0].(string) + " " + pair[1].(string)
				}
			}
		},
		"a token of the user's": func(file, _ map[string]any) {
			file["added_tokens"] = append(file["added_tokens"].([]any), object(t, `{"id":384,"content":"<tool>","special":false,"normalized":false,"single_word":false,"lstrip":false,"rstrip":false}`))
		},
	} {
		want := tokenizerJSON(t, change)
		tk := pairsOf(t, want, 400)
		require.Equal(t, want.MaxID(), tk.MaxID(), name)
		lines(t, parity+"chat/tiny_strings.jsonl", func(row struct{ Text string }) {
			for _, text := range []string{row.Text, row.Text + "<tool>'LL 12345"} {
				require.Equal(t, want.Encode(text), tk.Encode(text), "%s: %q", name, text)
				require.Equal(t, want.EncodeWithSpecial(text), tk.EncodeWithSpecial(text), "%s: %q", name, text)
			}
		})
	}
}

// What GGUF cannot say is refused, and not written as something else.
func TestNotAsGGUF(t *testing.T) {
	for name, tc := range map[string]struct {
		size   int
		change func(file, model map[string]any)
		want   string
	}{
		"another split": {384, func(file, _ map[string]any) { file["pre_tokenizer"] = object(t, wordSplit) }, "is none that GGUF has a name for here: those of default, gpt-2, llama-bpe, qwen2, smollm are"},
		"a prefix": {384, func(file, _ map[string]any) {
			file["pre_tokenizer"] = object(t, strings.Replace(level, "false", "true", 1))
		}, "is none that GGUF has a name for"},
		"merges ignored":  {384, func(_, model map[string]any) { model["ignore_merges"] = true }, "whose ignore_merges llama.cpp takes to be false: this one's is true"},
		"byte fallback":   {384, func(_, model map[string]any) { model["byte_fallback"] = true }, "byte_fallback"},
		"lower case":      {384, func(file, _ map[string]any) { file["normalizer"] = object(t, `{"type":"Lowercase"}`) }, `normalizer {"type":"Lowercase"}`},
		"NFC with smollm": {384, func(file, _ map[string]any) { file["normalizer"] = object(t, `{"type":"NFC"}`) }, "which llama.cpp does not with smollm"},
		"other ends": {384, func(file, _ map[string]any) {
			file["post_processor"] = object(t, fmt.Sprintf(ends, "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", 0, "<|endoftext|>"))
		}, "adds other tokens than bos_token"},
		"a blank is eaten": {384, func(file, _ map[string]any) { file["added_tokens"].([]any)[0].(map[string]any)["rstrip"] = true }, `the added token "<|endoftext|>" is found by what is beside it`},
		"a small model":    {300, func(_, _ map[string]any) {}, "the model's vocabulary has 300 tokens"},
	} {
		_, err := tokenizerJSON(t, tc.change).Vocabulary(tc.size).Pairs()
		require.ErrorContains(t, err, tc.want, name)
	}
	_, err := load(t, "../../testdata/tokenizers/unigram").Vocabulary(400).Pairs()
	require.ErrorContains(t, err, "the tokenizer's model is Unigram")
}
