package chat

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

// TestTokenizers compares tokenizers of each kind, and ways to configure them, with transformers.
// testdata/tokenizers/make.py makes the cases.
func TestTokenizers(t *testing.T) {
	var want struct {
		Messages []Message `json:"messages"`
		Cases    map[string]struct {
			Len           int
			BOS, EOS, PAD *int32
			Render        string
			Strings       []struct {
				golden
				WithSpecial []int32 `json:"with_special"`
			}
		}
	}
	raw, err := os.ReadFile("../../testdata/tokenizers/cases.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &want))
	require.NotEmpty(t, want.Cases)
	for name, c := range want.Cases {
		t.Run(name, func(t *testing.T) {
			tk := load(t, "../../testdata/tokenizers/"+name)
			require.Equal(t, c.Len, tk.Size())
			or := func(id *int32, missing int32) int32 {
				if id == nil {
					return missing
				}
				return *id
			}
			eos := or(c.EOS, -1)
			require.Equal(t, eos, tk.EOS())
			require.Equal(t, or(c.PAD, eos), tk.PAD())
			bos, ok := tk.BOS()
			require.Equal(t, c.BOS != nil, ok)
			require.Equal(t, or(c.BOS, -1), bos)
			for _, s := range c.Strings {
				ids := tk.Encode(s.Text)
				require.Equal(t, append([]int32{}, s.IDs...), append([]int32{}, ids...), "%q", s.Text)
				ids = tk.EncodeWithSpecial(s.Text)
				require.Equal(t, append([]int32{}, s.WithSpecial...), append([]int32{}, ids...), "%q", s.Text)
				require.Equal(t, s.Decoded, tk.Decode(s.WithSpecial, false), "%q", s.Text)
				require.Equal(t, s.DecodedSkipSpecial, tk.Decode(s.WithSpecial, true), "%q", s.Text)
				for _, id := range ids {
					require.LessOrEqual(t, id, tk.MaxID())
					back, ok := tk.ID(tk.Token(id))
					require.True(t, ok)
					require.Equal(t, id, back)
				}
			}
			text, err := tk.Render(want.Messages, RenderOptions{AddGenerationPrompt: true})
			require.NoError(t, err)
			require.Equal(t, c.Render, text)
		})
	}
}

func TestFallbackTemplate(t *testing.T) {
	want, err := os.ReadFile(parity + "chat/fallback.jinja")
	require.NoError(t, err)
	require.Equal(t, string(want), FallbackTemplate)
	dir := t.TempDir()
	copyTokenizer(t, dir)
	tk := load(t, dir)
	require.False(t, tk.HasTemplate())
	require.Equal(t, FallbackTemplate, tk.Template())
	require.Equal(t, int32(-1), tk.EOS())
	text, err := tk.Render([]Message{{Role: "user", Content: "hi"}}, RenderOptions{})
	require.NoError(t, err)
	require.Equal(t, "User: hi\n\n", strings.TrimLeft(text, " "))
}

func copyTokenizer(t *testing.T, dir string) {
	raw, err := os.ReadFile(parity + "models/tiny-llama/tokenizer.json")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), raw, 0o644))
}

// TestTemplateFiles checks which of several templates is taken.
func TestTemplateFiles(t *testing.T) {
	dir := t.TempDir()
	copyTokenizer(t, dir)
	put := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	hi := []Message{{Role: "user", Content: "hi"}}
	tools := RenderOptions{Tools: json.RawMessage(`[{"name": "f"}]`)}
	check := func(o RenderOptions, want string) {
		text, err := load(t, dir).Render(hi, o)
		require.NoError(t, err)
		require.Equal(t, want, text)
	}
	put("tokenizer_config.json", `{"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools {{ tools }}"}]}`)
	check(RenderOptions{}, "plain")
	check(tools, "tools [{'name': 'f'}]")
	put("chat_template.jinja", "file {{ x }} {{ strftime_now('%Y') }}")
	check(RenderOptions{Vars: map[string]any{"x": []any{1, "a", nil}}, Now: time.Unix(0, 0).UTC()}, "file [1, 'a', None] 1970")
	put("additional_chat_templates/tool_use.jinja", "tools file")
	check(tools, "tools file")
	require.NoError(t, os.Remove(filepath.Join(dir, "chat_template.jinja")))
	_, err := load(t, dir).Render(hi, RenderOptions{})
	require.ErrorContains(t, err, "none is named default")
}

func TestRenderErrors(t *testing.T) {
	hi := []Message{{Role: "user", Content: "hi"}}
	for source, want := range map[string]string{
		"{% if %}": "chat template: line 1: expected an expression",
		"{{ raise_exception('roles must alternate') }}":                                "chat template: roles must alternate",
		"{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}": "does it loop for ever?",
	} {
		_, err := tokenizer(t, source).Render(hi, RenderOptions{})
		require.ErrorContains(t, err, want)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
	tk := tokenizer(t, "x")
	for _, c := range []struct {
		messages []Message
		o        RenderOptions
		want     string
	}{
		{nil, RenderOptions{}, "no message"},
		{hi, RenderOptions{Tools: json.RawMessage(`[`)}, "tools: not valid JSON"},
		{hi, RenderOptions{Vars: map[string]any{"messages": 1}}, "leave it out"},
		{hi, RenderOptions{Vars: map[string]any{"x": func() {}}}, "variable x"},
		{hi, RenderOptions{Vars: map[string]any{"chat_template": "x"}}, "chat_template is an argument of transformers' apply_chat_template"},
		{[]Message{{Role: "assistant", ToolCalls: json.RawMessage(`{`)}}, RenderOptions{}, "message 1: tool_calls: not valid JSON"},
	} {
		_, err := tk.Render(c.messages, c.o)
		require.ErrorContains(t, err, c.want)
	}
}

func TestMessageJSON(t *testing.T) {
	tk := tokenizer(t, "{{ messages[0] | tojson }}")
	for in, want := range map[string]string{
		`{"role": "user", "content": "x", "name": null, "tool_calls": null}`:                                          `{"role": "user", "content": "x"}`,
		`{"role": "user", "content": ""}`:                                                                             `{"role": "user", "content": ""}`,
		`{"content": null, "role": "assistant"}`:                                                                      `{"role": "assistant"}`,
		`{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}`:                 `{"role": "user", "content": "ab"}`,
		`{"role": "assistant", "content": "x", "reasoning_content": ""}`:                                              `{"thinking": "", "role": "assistant", "content": "x", "reasoning_content": ""}`,
		`{"role": "assistant", "content": "x", "tool_calls": [{"b": 1, "a": 2.0}], "tool_call_id": "i", "name": "n"}`: `{"role": "assistant", "content": "x", "tool_calls": [{"b": 1, "a": 2.0}], "tool_call_id": "i", "name": "n"}`,
		// What transformers 5.23 makes of these: fields of other names, and reasoning under each of its names.
		`{"weight": 0, "content": "x", "role": "user", "meta": {"a": null}, "gone": null}`:       `{"weight": 0, "content": "x", "role": "user", "meta": {"a": null}}`,
		`{"role": "assistant", "reasoning": "r", "content": "x"}`:                                `{"thinking": "r", "role": "assistant", "reasoning": "r", "content": "x", "reasoning_content": "r"}`,
		`{"role": "assistant", "content": "x", "thinking": "t"}`:                                 `{"thinking": "t", "role": "assistant", "content": "x", "reasoning_content": "t"}`,
		`{"role": "assistant", "thinking": "t", "reasoning_content": "c", "content": "x"}`:       `{"thinking": "t", "role": "assistant", "reasoning_content": "c", "content": "x"}`,
		`{"role": "assistant", "reasoning_content": null, "reasoning": "r", "tool_calls": [{}]}`: `{"thinking": "r", "role": "assistant", "reasoning": "r", "tool_calls": [{}], "reasoning_content": "r"}`,
	} {
		var m Message
		require.NoError(t, json.Unmarshal([]byte(in), &m))
		text, err := tk.Render([]Message{m}, RenderOptions{})
		require.NoError(t, err)
		require.Equal(t, want, text)
	}
	for in, want := range map[string]string{
		`{"role": "user", "content": [{"type": "image_url"}]}`: "only text is supported",
		`{"role": "user", "content": 5}`:                       "give a string or a list of text parts",
	} {
		require.ErrorContains(t, json.Unmarshal([]byte(in), new(Message)), want)
	}
}

// TestTemplateVars checks that a template sees variables as they were written.
func TestTemplateVars(t *testing.T) {
	var vars TemplateVars
	require.NoError(t, json.Unmarshal([]byte(`{"x": {"b": 1, "a": 12345678901234567890, "c": 1.0}, "none": null}`), &vars))
	text, err := tokenizer(t, "{{ x }}{{ x | tojson }}{{ none }}").Render([]Message{{Role: "user"}}, RenderOptions{Vars: vars})
	require.NoError(t, err)
	require.Equal(t, `{'b': 1, 'a': 12345678901234567890, 'c': 1.0}{"b": 1, "a": 12345678901234567890, "c": 1.0}None`, text)
	require.Error(t, json.Unmarshal([]byte(`[1]`), &vars))
}

// TestBadDirectories checks that each fault of a model directory is an error that says what is wrong.
func TestBadDirectories(t *testing.T) {
	_, err := Load(t.TempDir())
	require.ErrorContains(t, err, "has no tokenizer.json")
	for _, c := range []struct{ name, text, want string }{
		{"tokenizer.json", "", "not valid JSON"},
		{"tokenizer.json", "{}", "model"},
		{"tokenizer.json", `{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}`, "the id -1"},
		{"tokenizer.json", `{"model": {"type": "BPE", "vocab": {"a": 99999999999}, "merges": []}}`, "the id 99999999999"},
		{"tokenizer.json", `{"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}}`, "the same id 0"},
		{"tokenizer.json", `{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a z"]}}`, "tokenizer.json"},
		{"tokenizer.json", `{"model": {"type": "Unigram", "vocab": [[1, 2]]}}`, "entry 0 has no token"},
		{"tokenizer.json", `{"added_tokens": [{"id": 0, "content": ""}], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}`, "a token without content"},
		{"tokenizer_config.json", "[]", "not a JSON object"},
		{"tokenizer_config.json", `{"eos_token": 5}`, "eos_token"},
		{"tokenizer_config.json", `{"added_tokens_decoder": {"x": {"content": "a"}}}`, "is not an id"},
		{"tokenizer_config.json", `{"chat_template": 5}`, "chat_template"},
		{"tokenizer_config.json", `{"extra_special_tokens": 5}`, "extra_special_tokens"},
		{"special_tokens_map.json", "[]", "special_tokens_map.json"},
	} {
		dir := t.TempDir()
		copyTokenizer(t, dir)
		require.NoError(t, os.WriteFile(filepath.Join(dir, c.name), []byte(c.text), 0o644))
		_, err := Load(dir)
		require.ErrorContains(t, err, c.want, c.text)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), c.text)
	}
}

func TestUnknownIDs(t *testing.T) {
	tk := tokenizer(t, "")
	ids := tk.Encode("hi")
	require.Equal(t, "hi", tk.Decode(append([]int32{-1, 1 << 30}, ids...), false))
	require.Equal(t, "", tk.Token(-1))
	_, ok := tk.ID("no such token")
	require.False(t, ok)
	require.True(t, tk.IsSpecial(tk.EOS()))
	require.False(t, tk.IsSpecial(ids[0]))
	require.Equal(t, "", tk.Decode([]int32{tk.EOS()}, true))
	require.Equal(t, "a\x00\x00b", tk.Decode(tk.Encode("a\x00\x00b"), true))
	require.Equal(t, "a\uFFFDb", tk.Decode(tk.Encode("a\xffb"), true))
}

func TestNULSpans(t *testing.T) {
	const text = "é\x00 x\x00\x00y"
	ids, spans := tokenizer(t, "").EncodeSpans(text)
	require.Len(t, spans, len(ids))
	at := 0
	for _, s := range spans {
		require.GreaterOrEqual(t, s.To, s.From)
		require.GreaterOrEqual(t, s.To, at)
		at = s.To
	}
	require.Equal(t, len(text), at)
}

// TestTogether uses one tokenizer from several goroutines, one of which closes it.
func TestTogether(t *testing.T) {
	dir := t.TempDir()
	copyTokenizer(t, dir)
	tk, err := Load(dir)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				tk.Decode(tk.Encode("hello\x00 world"), false)
				_, _ = tk.Render([]Message{{Role: "user", Content: "hi"}}, RenderOptions{})
			}
			if i == 0 {
				_ = tk.Close()
			}
		})
	}
	wg.Wait()
	require.NoError(t, tk.Close())
	require.Empty(t, tk.Encode("x"))
	require.Empty(t, tk.Decode([]int32{5}, false))
}

// FuzzConfig looks for tokenizer_config.json and special_tokens_map.json files that end the process.
func FuzzConfig(f *testing.F) {
	raw, err := os.ReadFile(parity + "models/tiny-llama/tokenizer_config.json")
	require.NoError(f, err)
	f.Add(raw, []byte(`{"eos_token": {"content": "x"}}`))
	f.Add([]byte(`{"added_tokens_decoder": {"3": {"content": "a", "special": true}}, "chat_template": [{"name": "default", "template": "x"}]}`), []byte(nil))
	file, err := os.ReadFile(parity + "models/tiny-llama/tokenizer.json")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, config, special []byte) {
		c, err := parseConfig(config, special)
		if err != nil {
			return
		}
		v, _, err := prepare(file, c)
		if err == nil && len(v.ids) != len(v.tokens) {
			t.Fatalf("%d tokens have %d ids", len(v.ids), len(v.tokens))
		}
	})
}
