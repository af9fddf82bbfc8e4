package chat

import (
	"os"
	"path/filepath"
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
