package chat

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
)

type conversation struct {
	Messages []Message       `json:"messages"`
	Tools    json.RawMessage `json:"tools"`
}

func conversations(t testing.TB) (out map[string]conversation) {
	t.Helper()
	raw, err := os.ReadFile(parity + "chat/conversations.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &out))
	return out
}

func templateFile(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile(parity + "chat/" + name + ".jinja")
	require.NoError(t, err)
	return string(raw)
}

// marks are {% generation %} blocks around what the assistant says, for templates that come without them.
var marks = map[string]func(string) string{
	"smollm2": func(source string) string {
		const all = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
		return strings.Replace(source, all, "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}"+
			"{% generation %}{{message['content'] + '<|im_end|>'}}{% endgeneration %}{% else %}{{message['content'] + '<|im_end|>'}}{% endif %}{{'\n'}}", 1)
	},
	"qwen3": func(source string) string {
		// From the reasoning of a turn to the mark that ends it.
		source = strings.Replace(source, "{%- if loop.index0 > ns.last_query_index %}", "{{- '<|im_start|>' + message.role + '\\n' }}{%- generation %}{%- if loop.index0 > ns.last_query_index %}", 1)
		begin := strings.Index(source, "generation %}")
		end := strings.Index(source, "{%- elif message.role == \"tool\" %}")
		turn := strings.ReplaceAll(source[begin:end], "'<|im_start|>' + message.role + '\\n' + content", "content")
		turn = strings.ReplaceAll(turn, "'<|im_start|>' + message.role + '\\n<think>", "'<think>")
		turn = strings.Replace(turn, "{{- '<|im_end|>\\n' }}", "{{- '<|im_end|>' }}{%- endgeneration %}{{- '\\n' }}", 1)
		return source[:begin] + turn + source[end:]
	},
	"generation": func(source string) string { return source },
}

// TestMaskIsThatOfMarks compares the mask that renders tell with the one that {% generation %} blocks tell, on every
// golden conversation. Where the renders cannot tell it they must say so.
func TestMaskIsThatOfMarks(t *testing.T) {
	refused := map[string]string{ // by template and conversation: Qwen3 leaves out the reasoning of turns that have been answered
		"qwen3 multi-turn-closed": "renders it otherwise", "qwen3 multi-turn": "renders it otherwise", "qwen3 think-in-content": "renders it otherwise",
		"qwen3 reasoning-content-middle": "renders it otherwise", "qwen3 tool-call-dict": "renders it otherwise",
		"qwen3 tool-call-string-args": "renders it otherwise",
	}
	for name, mark := range marks {
		source := qwen3(t).Template()
		make := func(source string) *Tokenizer { return tokenizer(t, source) }
		if name == "qwen3" {
			make = func(source string) *Tokenizer {
				q := qwen3(t)
				return &Tokenizer{vocab: q.vocab, config: q.config, plain: q.plain, file: q.file, templates: templates{source: map[string]string{"default": source}}}
			}
		} else {
			source = templateFile(t, name)
		}
		plain, marked := make(source), make(mark(source))
		require.True(t, marked.Marked(false), name)
		told := 0
		for id, c := range conversations(t) {
			o := RenderOptions{Tools: c.Tools}
			ids, got, err := plain.differential(c.Messages, o)
			if why, bad := refused[name+" "+id]; bad {
				require.ErrorContains(t, err, why, "%s %s", name, id)
				var e *MaskError
				require.True(t, errors.As(err, &e) && c.Messages[e.Turn-1].Role == "assistant", "%s %s", name, id)
				require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
				continue
			}
			require.NoError(t, err, "%s %s", name, id)
			wantIDs, want, err := marked.EncodeChat(c.Messages, o)
			require.NoError(t, err)
			require.Equal(t, wantIDs, ids, "%s %s", name, id)
			require.Equal(t, want, got, "%s %s", name, id)
			for i, m := range got {
				if m && (i+1 == len(got) || !got[i+1]) {
					told++
					require.Equal(t, "<|im_end|>", plain.Token(ids[i]), "%s %s: a turn ends with its mark", name, id)
				}
			}
		}
		require.Greater(t, told, 5, name)
	}
}

// said are the runs of ids that a mask marks, as text.
func said(tk *Tokenizer, ids []int32, mask []bool) (out []string) {
	for i := 0; i < len(ids); i++ {
		from := i
		for i < len(ids) && mask[i] {
			i++
		}
		if i > from {
			out = append(out, tk.Decode(ids[from:i], false))
		}
	}
	return out
}

// TestMaskOfTemplates checks what the assistant says under templates of other families.
func TestMaskOfTemplates(t *testing.T) {
	const each = "{% for m in messages %}"
	two := []Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}, {Role: "user", Content: "c"}, {Role: "assistant", Content: "d"}}
	calls := []Message{{Role: "user", Content: "a"}, {Role: "assistant", ToolCalls: json.RawMessage(`[1]`)}, {Role: "tool", Content: "c"}, {Role: "assistant", Content: "d"}}
	for name, c := range map[string]struct {
		template string
		messages []Message
		vars     map[string]any
		want     []string
	}{
		"end of sequence without a line break": {each + "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}", two, nil, []string{" b<|im_end|>", " d<|im_end|>"}},
		"a space before the end":               {each + "{% if m.role == 'user' %}U:{{ m.content }}\nA:{% else %} {{ m.content }} <|im_end|>\n{% endif %}{% endfor %}", two, nil, []string{" b <|im_end|>", " d <|im_end|>"}},
		"an end of all at the end": {each + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|endoftext|>{% endif %}",
			two, nil, []string{"b<|im_end|>", "d<|im_end|>"}},
		"no mark at all": {each + "{% if m.role == 'user' %}### U\n{{ m.content }}\n### A\n{% else %}{{ m.content }}\n{% endif %}{% endfor %}", two, nil, []string{"b\n", "d\n"}},
		"a trimmed content": {each + "<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
			[]Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "\n b \n"}}, nil, []string{"b<|im_end|>"}},
		"the mark in the content": {each + "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
			[]Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "x<|im_end|>y"}}, nil, []string{"x<|im_end|>y<|im_end|>"}},
		"a call that ends otherwise": {each + "{% if m.tool_calls %}!call<|endoftext|>\n{% elif m.role == 'assistant' %}{{ m.content }}<|im_end|>\n{% else %}{{ m.role }} {{ m.content }}\nA:{% endif %}{% endfor %}",
			calls, nil, []string{"!call<|endoftext|>", "d<|im_end|>"}},
		"thinking that is off": {each + "{% if m.role == 'assistant' %}A:{% if not think %}<>{% endif %}{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}A:{% if not think %}<>{% endif %}{% endif %}",
			two, map[string]any{"think": false}, []string{"b<|im_end|>", "d<|im_end|>"}},
		"nobody answers": {each + "{{ m.content }}{% endfor %}", two[:1], nil, nil},
		"marks win":      {each + "{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>{% else %}{{ m.content }}{% endif %}{% endfor %}", two, nil, []string{"b", "d"}},
	} {
		tk := tokenizer(t, c.template)
		ids, mask, err := tk.AssistantMask(c.messages, RenderOptions{Vars: c.vars})
		require.NoError(t, err, name)
		text, err := tk.Render(c.messages, RenderOptions{Vars: c.vars})
		require.NoError(t, err)
		require.Equal(t, tk.Encode(text), ids, name)
		require.Len(t, mask, len(ids), name)
		require.Equal(t, c.want, said(tk, ids, mask), name)
	}
}

// TestMaskRefused checks that a template whose renders do not tell the mask is refused, with the turn and the reason.
func TestMaskRefused(t *testing.T) {
	const each = "{% for m in messages %}"
	two := []Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}, {Role: "user", Content: "c"}, {Role: "assistant", Content: "d"}}
	for name, c := range map[string]struct {
		template string
		messages []Message
		turn     int
		want     string
	}{
		"another prompt":          {each + "{{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}bot: {% endif %}", two, 2, `the one has "bot: " and the other "assistant: b<|im_end|>`},
		"a count of all messages": {"{{ messages | length }}" + each + "{{ m.content }}<|im_end|>{% endfor %}", two, 2, "is not the beginning of what it is trained on"},
		"the last turn is rendered otherwise": {each + "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content }}<|im_end|>{% endfor %}", two, 2,
			"renders it otherwise once further messages follow: after "},
		"only the last messages":   {each + "{% if loop.revindex < 3 %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}", two, 2, "renders it otherwise"},
		"a token over the border":  {each + "{{ m.content }}{% endfor %}", []Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "n"}}, 2, "does not begin and end where tokens do"},
		"an answer to nothing":     {each + "{{ m.content }}{% endfor %}", two[1:2], 1, "begin with a system or a user message"},
		"a prompt that is refused": {"{% if add_generation_prompt %}{{ raise_exception('never asked') }}{% endif %}x", two, 2, "does not render what comes before it: chat template: never asked"},
		"a beginning that is refused": {"{% if messages | length == 2 %}{{ raise_exception('too short') }}{% endif %}" + each + "{{ m.content }}<|im_end|>{% endfor %}", two, 2,
			"does not render the conversation up to it: chat template: too short"},
	} {
		_, _, err := tokenizer(t, c.template).AssistantMask(c.messages, RenderOptions{})
		require.ErrorContains(t, err, c.want, name)
		var e *MaskError
		require.True(t, errors.As(err, &e), name)
		require.Equal(t, c.turn, e.Turn, name)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)
	}
	var e *MaskError
	_, _, err := tokenizer(t, "{{ raise_exception('no') }}").AssistantMask(two, RenderOptions{})
	require.ErrorContains(t, err, "chat template: no")
	require.False(t, errors.As(err, &e), "a conversation that cannot be rendered at all is no matter of its mask")
}

// FuzzAssistantMask looks for templates and contents that give a mask of another length than the ids, or one that marks
// what is not told by the renders.
func FuzzAssistantMask(f *testing.F) {
	f.Add(templateFile(f, "smollm2"), "hi", "there<|im_end|>")
	f.Add(FallbackTemplate, "a\x00", "")
	f.Add("{% for m in messages %}{{ m.content }}{% endfor %}", "a", "n")
	dir := f.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		raw, err := os.ReadFile(parity + "models/tiny-llama/" + name)
		require.NoError(f, err)
		require.NoError(f, os.WriteFile(dir+"/"+name, raw, 0o644))
	}
	base, err := Load(dir)
	require.NoError(f, err)
	f.Cleanup(func() { _ = base.Close() })
	f.Fuzz(func(t *testing.T, template, user, answer string) {
		tk := &Tokenizer{vocab: base.vocab, config: base.config, plain: base.plain, file: base.file}
		tk.SetTemplate(template)
		talk := []Message{{Role: "user", Content: user}, {Role: "assistant", Content: answer}, {Role: "user", Content: user}, {Role: "assistant", Content: answer}}
		ids, mask, err := tk.AssistantMask(talk, RenderOptions{})
		if err != nil {
			return
		}
		if len(ids) != len(mask) {
			t.Fatalf("%d ids have a mask of %d", len(ids), len(mask))
		}
		if tk.Marked(false) {
			return
		}
		head, err := tk.Render(talk[:1], RenderOptions{AddGenerationPrompt: true})
		if err != nil {
			t.Fatal(err)
		}
		for i := range tk.Encode(head) {
			if mask[i] {
				t.Fatalf("id %d is of the first prompt and trained", i)
			}
		}
	})
}
