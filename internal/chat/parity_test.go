package chat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const parity = "../../testdata/parity/train/"

// lines calls f for each line of a golden file.
func lines[T any](t *testing.T, path string, f func(T)) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	s := bufio.NewScanner(bytes.NewReader(raw))
	s.Buffer(nil, 1<<20)
	n := 0
	for s.Scan() {
		var row T
		require.NoError(t, json.Unmarshal(s.Bytes(), &row))
		f(row)
		n++
	}
	require.NoError(t, s.Err())
	require.NotZero(t, n)
}

// tokenizer loads tiny-llama's tokenizer with another chat template.
func tokenizer(t *testing.T, template string) *Tokenizer {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		raw, err := os.ReadFile(parity + "models/tiny-llama/" + name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), raw, 0o644))
	}
	if template != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o644))
	}
	return load(t, dir)
}

func load(t *testing.T, dir string) *Tokenizer {
	t.Helper()
	tk, err := Load(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tk.Close()) })
	return tk
}

var loaded *Tokenizer

// qwen3 loads the real tokenizer of Qwen3, which is kept compressed, once for all tests.
func qwen3(t *testing.T) *Tokenizer {
	t.Helper()
	if loaded != nil {
		return loaded
	}
	dir := t.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		f, err := os.Open("../../testdata/qwen3_tokenizer/" + name + ".gz")
		require.NoError(t, err)
		defer f.Close()
		z, err := gzip.NewReader(f)
		require.NoError(t, err)
		raw, err := io.ReadAll(z)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), raw, 0o644))
	}
	tk, err := Load(dir)
	require.NoError(t, err)
	loaded = tk
	return tk
}

type render struct {
	Template            string         `json:"template"`
	Conversation        string         `json:"conversation"`
	AddGenerationPrompt bool           `json:"add_generation_prompt"`
	Kwargs              map[string]any `json:"kwargs"`
	Text                string         `json:"text"`
	IDs                 []int32        `json:"ids"`
	AssistantMask       []int          `json:"assistant_mask"`
}

// TestRenders compares every rendering, its ids and its assistant mask with those of transformers.
func TestRenders(t *testing.T) {
	var conversations map[string]struct {
		Messages []Message       `json:"messages"`
		Tools    json.RawMessage `json:"tools"`
	}
	raw, err := os.ReadFile(parity + "chat/conversations.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &conversations))
	by := map[string]*Tokenizer{"qwen3": qwen3(t)}
	for _, name := range []string{"smollm2", "generation", "fallback"} {
		source, err := os.ReadFile(parity + "chat/" + name + ".jinja")
		require.NoError(t, err)
		by[name] = tokenizer(t, string(source))
	}
	masks := 0
	lines(t, parity+"chat/renders.jsonl", func(want render) {
		c := conversations[want.Conversation]
		o := RenderOptions{AddGenerationPrompt: want.AddGenerationPrompt, Tools: c.Tools, Vars: want.Kwargs}
		text, err := by[want.Template].Render(c.Messages, o)
		require.NoError(t, err, "%s %s", want.Template, want.Conversation)
		require.Equal(t, want.Text, text, "%s %s", want.Template, want.Conversation)
		ids, assistant, err := by[want.Template].EncodeChat(c.Messages, o)
		require.NoError(t, err)
		require.Equal(t, want.IDs, ids, "%s %s", want.Template, want.Conversation)
		require.Equal(t, want.IDs, by[want.Template].Encode(text))
		if want.AssistantMask != nil {
			masks++
			for i, m := range want.AssistantMask {
				require.Equal(t, m == 1, assistant[i], "%s id %d", want.Conversation, i)
			}
		}
	})
	require.NotZero(t, masks)
}

type golden struct {
	Text               string   `json:"text"`
	IDs                []int32  `json:"ids"`
	Tokens             []string `json:"tokens"`
	Decoded            string   `json:"decoded"`
	DecodedSkipSpecial string   `json:"decoded_skip_special"`
}

// TestStrings compares encoding and decoding with those of the tokenizers library of Python.
func TestStrings(t *testing.T) {
	for file, tk := range map[string]*Tokenizer{"qwen3_strings": qwen3(t), "tiny_strings": tokenizer(t, "")} {
		lines(t, parity+"chat/"+file+".jsonl", func(want golden) {
			ids, spans := tk.EncodeSpans(want.Text)
			require.Equal(t, append([]int32{}, want.IDs...), append([]int32{}, ids...), "%q", want.Text)
			require.Len(t, spans, len(ids))
			require.Equal(t, want.Decoded, tk.Decode(ids, false), "%q", want.Text)
			require.Equal(t, want.DecodedSkipSpecial, tk.Decode(ids, true), "%q", want.Text)
			for i, token := range want.Tokens {
				require.Equal(t, token, tk.Token(ids[i]))
				id, ok := tk.ID(token)
				require.True(t, ok)
				require.Equal(t, ids[i], id)
			}
		})
	}
}
