package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"stillhouse"
	"stillhouse/internal/chat"
)

// modelfile is the file with which Ollama takes the model in: where the weights are, the chat template in the form of a
// Go template, the texts that end an answer, and how it samples. A chat template that puts no more than fixed texts
// before and after each message (ChatML, Llama 3 and the like) can be told in that form; of any other the file has none,
// and Ollama reads the Jinja template in the GGUF file's metadata or falls back on its own.
func modelfile(m Model, weights string) (text string, notes []string, err error) {
	var b strings.Builder
	fmt.Fprintf(&b, "FROM ./%s\n", weights)
	if !m.Tokenizer.HasTemplate() {
		notes = append(notes, "Modelfile: the model has no chat template, so there is no TEMPLATE")
	} else if t, err := goTemplate(m); err != nil {
		notes = append(notes, "Modelfile: the chat template cannot be told as a Go template, so there is no TEMPLATE: "+err.Error())
	} else {
		fmt.Fprintf(&b, "TEMPLATE \"\"\"%s\"\"\"\n", t)
	}
	for _, stop := range stops(m) {
		if strings.ContainsAny(stop, "\"\n") {
			notes = append(notes, fmt.Sprintf("Modelfile: the end %q cannot be written as a stop", stop))
			continue
		}
		fmt.Fprintf(&b, "PARAMETER stop \"%s\"\n", stop)
	}
	sampling, err := sampling(m.Dir)
	if err != nil {
		return "", nil, err
	}
	b.WriteString(sampling)
	return b.String(), notes, nil
}

// sampling is what generation_config.json says of it; without do_sample the likeliest token is taken, as `ask` does.
func sampling(dir string) (string, error) {
	path := filepath.Join(dir, "generation_config.json")
	text, err := os.ReadFile(path)
	if info, is := os.Stat(dir); is == nil && !info.IsDir() || errors.Is(err, fs.ErrNotExist) {
		return "PARAMETER temperature 0\n", nil
	} else if err != nil {
		return "", err
	}
	var c struct {
		Sample      bool     `json:"do_sample"`
		Temperature *float64 `json:"temperature"`
		TopP        *float64 `json:"top_p"`
		TopK        *int     `json:"top_k"`
		Penalty     *float64 `json:"repetition_penalty"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return "", stillhouse.Invalidf("%s: %w", path, err)
	}
	if !c.Sample {
		return "PARAMETER temperature 0\n", nil
	}
	var b strings.Builder
	number := func(key string, x *float64) {
		if x != nil {
			fmt.Fprintf(&b, "PARAMETER %s %s\n", key, strconv.FormatFloat(*x, 'g', -1, 64))
		}
	}
	if c.Temperature == nil {
		one := 1.0
		c.Temperature = &one
	}
	number("temperature", c.Temperature)
	number("top_p", c.TopP)
	if c.TopK != nil {
		fmt.Fprintf(&b, "PARAMETER top_k %d\n", *c.TopK)
	}
	number("repeat_penalty", c.Penalty)
	return b.String(), nil
}

// Contents that no template has.
const markS, markU, markA, markV = "\x01S\x01", "\x01U\x01", "\x01A\x01", "\x01V\x01"

// goTemplate tells the chat template as a Go template: it looks what the template puts around the messages of some
// conversations, and checks the outcome on others.
func goTemplate(m Model) (string, error) {
	user, again := chat.Message{Role: "user", Content: markU}, chat.Message{Role: "user", Content: markV}
	assistant, system := chat.Message{Role: "assistant", Content: markA}, chat.Message{Role: "system", Content: markS}
	var failed error
	cut := func(marks []string, messages ...chat.Message) []string {
		text, err := render(m, false, messages...)
		if err != nil {
			failed = err
			return make([]string, len(marks)+1)
		}
		var out []string
		for _, mark := range marks {
			before, rest, found := strings.Cut(text, mark)
			if !found {
				failed = errors.New("it does not give every message once and as it is")
			}
			out, text = append(out, before), rest
		}
		return append(out, text)
	}
	alone := cut([]string{markU}, user)
	pair := cut([]string{markU, markA}, user, assistant)
	chain := cut([]string{markU, markA, markV}, user, assistant, again)
	told := cut([]string{markS, markU}, system, user)
	text, err := render(m, true, user)
	if err != nil || failed != nil {
		return "", errors.Join(err, failed)
	}
	afterU, afterA := alone[1], pair[2]
	beforeU, okU := strings.CutPrefix(chain[2], afterA)
	beforeA, okA := strings.CutPrefix(chain[1], afterU)
	first, okF := strings.CutSuffix(alone[0], beforeU) // what comes before a conversation without a system message
	beforeS := told[0]
	afterS, okS := strings.CutSuffix(told[1], beforeU)
	prompt, okP := strings.CutPrefix(text, alone[0]+markU+afterU)
	if !okU || !okA || !okF || !okS || !okP {
		return "", errors.New("what it puts around a message depends on the others")
	}
	var b strings.Builder
	if first != "" {
		fmt.Fprintf(&b, `{{ if or (not .Messages) (ne (index .Messages 0).Role "system") }}%s{{ end }}`, literal(first))
	}
	b.WriteString("{{ range .Messages }}")
	for i, role := range []struct{ name, before, after string }{{"system", beforeS, afterS}, {"user", beforeU, afterU}, {"assistant", beforeA, afterA}} {
		word := "if"
		if i > 0 {
			word = "else if"
		}
		fmt.Fprintf(&b, `{{ %s eq .Role "%s" }}%s{{ .Content }}%s`, word, role.name, literal(role.before), literal(role.after))
	}
	b.WriteString("{{ end }}{{ end }}" + literal(prompt))
	if strings.Contains(b.String(), `"""`) {
		return "", errors.New(`it holds """, which ends a TEMPLATE`)
	}
	return b.String(), checkTemplate(m, b.String())
}

// literal is text that a Go template gives as it is.
func literal(text string) string {
	if strings.Contains(text, "{{") {
		return "{{ " + strconv.Quote(text) + " }}"
	}
	return text
}

// checkTemplate compares the Go template with the chat template on conversations that end with a question.
func checkTemplate(m Model, source string) error {
	t, err := template.New("chat").Parse(source)
	if err != nil {
		return err
	}
	say := func(pairs ...string) (out []chat.Message) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, chat.Message{Role: pairs[i], Content: pairs[i+1]})
		}
		return out
	}
	for _, conversation := range [][]chat.Message{
		say("user", questions[0]),
		say("system", "Be brief.", "user", questions[1]),
		say("user", questions[0], "assistant", "17", "user", "Why?", "assistant", "3 + 14 is 17.", "user", "Thanks."),
		say("system", "Be\n\nbrief.", "user", "One.\nTwo.", "assistant", "Both.", "user", texts[1]+"x"),
	} {
		want, err := render(m, true, conversation...)
		if err != nil {
			return err
		}
		var got strings.Builder
		if err := t.Execute(&got, map[string]any{"Messages": conversation}); err != nil {
			return err
		}
		if got.String() != want {
			return errors.New("it changes what a message says, or treats some conversations in another way")
		}
	}
	return nil
}
