package export

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func qwen3Template(t *testing.T) string {
	t.Helper()
	f, err := os.Open("../../testdata/qwen3_tokenizer/tokenizer_config.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Template string `json:"chat_template"`
	}
	if err := json.Unmarshal(text, &c); err != nil || c.Template == "" {
		t.Fatal(err)
	}
	return c.Template
}

const chatML = "{{ range .Messages }}{{ if eq .Role \"system\" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n{{ else if eq .Role \"user\" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n" +
	"{{ else if eq .Role \"assistant\" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n{{ end }}{{ end }}<|im_start|>assistant\n"

func TestModelfile(t *testing.T) {
	header := "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
	for name, tc := range map[string]struct{ template, want, note string }{
		"SmolLM2's": {"", "FROM ./x.gguf\nTEMPLATE \"\"\"{{ if or (not .Messages) (ne (index .Messages 0).Role \"system\") }}<|im_start|>system\n" +
			"You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n{{ end }}" + chatML + "\"\"\"\nPARAMETER stop \"<|im_end|>\"\nPARAMETER temperature 0\n", ""},
		"Qwen3's":                       {qwen3Template(t), "TEMPLATE \"\"\"" + chatML + "\"\"\"\n", ""},
		"Llama 3's":                     {header, "{{ if eq .Role \"system\" }}<|start_header_id|>system<|end_header_id|>\n\n{{ .Content }}<|eot_id|>{{ else if", ""},
		"braces":                        {"{% for m in messages %}{{ '{{' + m.role + '}}' + m.content }};{% endfor %}{{ 'assistant:' if add_generation_prompt }}", "{{ \"{{user}}\" }}{{ .Content }};", ""},
		"shouts":                        {"{% for m in messages %}{{ m.role }}: {{ m.content | upper }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}", "", "it changes what a message says"},
		"counts":                        {"{% for m in messages %}{{ loop.index }} {{ m.role }}: {{ m.content }}\n{% endfor %}assistant:", "", "what it puts around a message depends on the others"},
		"leaves out the system message": {"{% for m in messages %}{% if m.role != 'system' %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}assistant:", "", "it does not give every message once"},
		"raises":                        {"{{ raise_exception('no') }}", "", "no"},
		"quotes":                        {"{% for m in messages %}\"\"\"{{ m.role }}: {{ m.content }}{% endfor %}", "", `it holds """`},
	} {
		m := tiny(t)
		if tc.template != "" {
			m.Tokenizer.SetTemplate(tc.template)
		}
		text, notes, err := modelfile(m, "x.gguf")
		if err != nil {
			t.Fatal(err)
		}
		told := strings.Contains(text, "TEMPLATE")
		if !strings.Contains(text, tc.want) || told == (tc.note != "") || strings.Join(notes, "") != "" != (tc.note != "") || !strings.Contains(strings.Join(notes, ""), tc.note) {
			t.Errorf("%s: %s\n%q", name, text, notes)
		}
	}
}

func TestSampling(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "PARAMETER temperature 0\n",
		`{"temperature": 0.6}`: "PARAMETER temperature 0\n",
		`{"do_sample": true}`:  "PARAMETER temperature 1\n",
		`{"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.05}`: "PARAMETER temperature 0.6\nPARAMETER top_p 0.95\nPARAMETER top_k 20\nPARAMETER repeat_penalty 1.05\n",
	} {
		dir := t.TempDir()
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := sampling(dir); got != want || err != nil {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	if got, err := sampling(parity + "gguf/tiny-llama.F16.gguf"); got != "PARAMETER temperature 0\n" || err != nil {
		t.Errorf("a GGUF file: %q, %v", got, err)
	}
}

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{"demo": "demo", "Qwen/Qwen3-0.6B": "Qwen-Qwen3-0.6B", "a b\"c": "a-b-c", "..": "model", "": "model", "über": "ber"} {
		if got := fileName(name); got != want {
			t.Errorf("%q: %q, not %q", name, got, want)
		}
	}
}
