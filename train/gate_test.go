package train

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// thinks is a template with a thinking mode, as Qwen3's: answers have a block of reasoning, which a generation prompt
// closes at once where thinking is off.
const thinks = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}" +
	"{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}"

func templateAt(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "template.jinja")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A row that is trained with another context than the student is asked with is refused, with what to change.
func TestGateRefusesWhatIsAskedOtherwise(t *testing.T) {
	const (
		pair     = `{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]%s}`
		reasoned = `{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b", "reasoning_content": "r"}]}`
		talk     = `{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]%s}`
		system   = "{% if messages[0].role != 'system' %}{{ system or 'Be kind.' }}{% endif %}{% for m in messages %}{{ m.role }}:{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
		late     = "{% if not add_generation_prompt %}Be kind.{% endif %}{% for m in messages %}{{ m.role }}:{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
	)
	with := func(row, more string) string { return strings.Replace(row, "%s", more, 1) }
	for name, c := range map[string]struct {
		template, options, row string
		want                   string // "" where it is right
	}{
		"alike":                              {system, "", with(pair, ""), ""},
		"a conversation alike":               {system, "", with(talk, ""), ""},
		"thinking off":                       {thinks, "", with(pair, ""), ""},
		"a conversation with thinking off":   {thinks, "", with(talk, ""), ""},
		"a conversation that nobody answers": {late, "", `{"messages": [{"role": "user", "content": "a"}]}`, ""},
		"reasoning, asked without thinking":  {thinks, "", reasoned, `on the student is asked with "</think>", and the row has "r</think>b<|im_end|>`},
		"reasoning, asked with thinking":     {thinks, "ask_kwargs: {enable_thinking: true}", reasoned, ""},
		"a row's own system":                 {system, "", with(pair, `, "chat_template_kwargs": {"system": "Be rude."}`), `the chat template has {"system":"Be rude."} in training (the row's chat_template_kwargs) and {"enable_thinking":false} in asking (ask_kwargs)`},
		"a row's own system that is asked":   {system, "ask_kwargs: {system: Be rude.}", with(pair, `, "chat_template_kwargs": {"system": "Be rude."}`), ""},
		"a conversation's own system":        {system, "", with(talk, `, "chat_template_kwargs": {"system": "Be rude."}`), `from byte 3 on the student is asked with "kind.user:a`},
		"a variable that is not read":        {system, "", with(pair, `, "chat_template_kwargs": {"other": 1}`), ""},
		"a system that asking leaves out":    {late, "", with(talk, ""), "use a chat template whose generation prompt is the beginning of an answer"},
	} {
		options := "{chat_template_path: '" + templateAt(t, c.template) + "'"
		if c.options != "" {
			options += ", " + c.options
		}
		_, _, err := encode(t, options+"}", c.row)
		if c.want == "" && err == nil {
			continue
		}
		if c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "line 1: it would be trained with another context") ||
			stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v, not %q", name, err, c.want)
		}
	}
}

// The gate shows a row before it says what is wrong with all of them.
func TestGateShowsARow(t *testing.T) {
	o := pasted(t, "{}")
	o.Student = tiny
	s := load(t, o)
	enc, err := NewEncoder(o, s.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	var fields rowfile.Row
	if err := rowfile.Decode([]byte(`{"prompt": "1 + 1 =\n", "completion": "2, é"}`), &fields); err != nil {
		t.Fatal(err)
	}
	r, err := row("line 1", fields, nil, "text")
	if err != nil {
		t.Fatal(err)
	}
	x, err := enc.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(ui UI, examples ...Example) (string, error) {
		var out bytes.Buffer
		ui.Out = &out
		ui.ensureDefaults()
		err := s.gate(examples, ui)
		return out.String(), err
	}
	got, err := shown(UI{}, x, x)
	if err != nil {
		t.Error(err)
	}
	const want = "line 1: 6 of 12 tokens are trained, shown in brackets\n  1│ +│ │1│ =│↵│\n  [2][,][ ][Ã][©][<|im_end|>]\n2 of 2 rows train the end of a turn\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	coloured, err := shown(UI{Terminal: true, Color: true}, x)
	if err != nil || !strings.Contains(coloured, "\x1b[2m1│\x1b[0m") || !strings.Contains(coloured, "\x1b[32m2│\x1b[0m") || strings.Contains(coloured, "[2]") {
		t.Errorf("%v: %q", err, coloured)
	}
	endless := x
	endless.Labels = append(slices.Clone(x.Labels[:len(x.Labels)-1]), -100)
	got, err = shown(UI{}, endless)
	if err == nil || !strings.Contains(err.Error(), "none of 1 rows trains a token that ends a turn") || !strings.Contains(got, "[é]") && !strings.Contains(got, "[©]<|im_end|>│") {
		t.Errorf("%v: %q", err, got)
	}
}

// A long row is shown where its mask changes.
func TestLongMaskIsShortened(t *testing.T) {
	m := Mask{Row: "long", List: make([]MaskToken, 2000)}
	for i := range m.List {
		m.List[i] = MaskToken{Place: i, Text: "x", Trained: i >= 1000 && i < 1500}
	}
	var out bytes.Buffer
	UI{Out: &out, Width: 80}.mask(m)
	text := out.String()
	if n := strings.Count(text, "[x]"); n != 2*besides {
		t.Errorf("%d trained tokens are shown: %s", n, text)
	}
	if n := strings.Count(text, "x"); n != 6*besides {
		t.Errorf("%d tokens are shown", n)
	}
	for _, want := range []string{"… 920 tokens …", "… 420 tokens …"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("a line has %d columns", n)
		}
	}
}

// The mask of a row as text and as JSON.
func TestMaskOf(t *testing.T) {
	o := pasted(t, "{max_length: 8}")
	o.Student = tiny
	var fields rowfile.Row
	if err := rowfile.Decode([]byte(`{"prompt": "1 + 1 =\n", "completion": "2, é", "prompt_id": "p", "sample": 3}`), &fields); err != nil {
		t.Fatal(err)
	}
	r, err := row("line 1", fields, nil, "text")
	if err != nil {
		t.Fatal(err)
	}
	if !r.Is("p") || !r.Is("p/3") || r.Is("p/4") || r.Is("") || (Row{}).Is("") {
		t.Errorf("%q %q", r.ID, r.Sample)
	}
	m, err := MaskOf(t.Context(), o, r)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := m.WriteText(&out, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"line 1: 2 of 8 tokens are trained, 4 were cut off by max_length\n", "     5     201        -  \"\\n\"\n     6      20  trained  \"2\"\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var back Mask
	if err := json.Unmarshal(text, &back); err != nil || back.Trained != 2 || back.Tokens != 8 || back.Cut != 4 || len(back.List) != 8 || back.List[0].Trained {
		t.Errorf("%v %+v", err, back)
	}
	*o.MaxLength = 3
	if m, err = MaskOf(t.Context(), o, r); err != nil || m.Dropped != NoTrainedToken || m.Trained != 0 {
		t.Errorf("%v %+v", err, m)
	}
}
