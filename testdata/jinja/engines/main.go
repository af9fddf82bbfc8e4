// Command engines scores other template engines written in Go as renderers of chat templates: on ../cases.json, on the
// renders in ../../parity/train/chat, and on templates that would run for ever or take all memory. It is a module of
// its own so that those engines stay out of ours. Run it in this directory: go run . [ENGINE] (SHOW=ENGINE lists its faults).
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"
)

// An engine renders a template. Its variables are nil, bool, int64, float64, string, []any and *object.
type engine struct {
	name   string
	render func(source string, vars *object) (string, error)
}

var engines = []engine{{"gonja", gonjaDicts}, {"ardanlabs", ardanlabsDicts}}

func main() {
	log.SetFlags(0)
	if len(os.Args) == 3 {
		attack(os.Args[1], os.Args[2])
		return
	}
	for _, e := range engines {
		if len(os.Args) == 2 && e.name != os.Args[1] {
			continue
		}
		e.cases()
		e.renders()
		e.bounds()
	}
}

// begin and end mark what a {% generation %} block gives, for engines that don't know the block.
const begin, end = "\ue000", "\ue001"

var (
	opening  = regexp.MustCompile(`{%(-?)\s*generation\s*(-?)%}`)
	closing  = regexp.MustCompile(`{%(-?)\s*endgeneration\s*(-?)%}`)
	unmarked = strings.NewReplacer(begin, "", end, "")
	pieces   = regexp.MustCompile(begin + "([^" + end + "]*)" + end)
)

// safely renders with generation blocks marked, and turns a panic into an error.
func (e engine) safely(source string, vars *object) (text string, err error) {
	defer func() {
		if r := recover(); r != nil {
			text, err = "", fmt.Errorf("panic: %v", r)
		}
	}()
	source = opening.ReplaceAllString(source, `{%$1 if true %}{{ "`+begin+`" }}{% if true $2%}`)
	source = closing.ReplaceAllString(source, `{%$1 endif %}{{ "`+end+`" }}{% endif $2%}`)
	return e.render(source, vars)
}

func read(path string, into any) {
	raw, err := os.ReadFile(path)
	if err == nil && strings.HasSuffix(path, ".gz") {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(raw)); err == nil {
			raw, err = io.ReadAll(z)
		}
	}
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		log.Fatal(path, ": ", err)
	}
}

func (e engine) cases() {
	var golden struct {
		Vars  *object
		Cases []struct {
			Name, Template, Error string
			Vars                  *object
			Text                  *string
		}
	}
	read("../cases.json", &golden)
	right, whole, wholeRight, panics := 0, 0, 0, 0
	wrong := map[string]int{}
	for _, c := range golden.Cases {
		text, err := e.safely(c.Template, golden.Vars.with(c.Vars))
		ok := c.Text != nil && err == nil && unmarked.Replace(text) == *c.Text
		if c.Text == nil && err != nil {
			message, raised := strings.CutPrefix(c.Error, "TemplateError: ")
			ok = !raised || strings.Contains(err.Error(), message)
		}
		if err != nil && strings.HasPrefix(err.Error(), "panic: ") {
			panics++
		}
		if ok {
			right++
		} else if os.Getenv("SHOW") == e.name {
			want := c.Error
			if c.Text != nil {
				want = *c.Text
			}
			fmt.Printf("  %.200q\n    got  %.200q %v\n    want %.200q\n", c.Template, text, err, want)
		}
		if c.Name != "" {
			whole++
			if ok {
				wholeRight++
			} else {
				wrong[c.Name]++
			}
		}
	}
	fmt.Printf("%s: %d of %d cases, %d of %d whole templates (wrong: %v), %d panics\n",
		e.name, right, len(golden.Cases), wholeRight, whole, wrong, panics)
}

// renders compares texts and generated pieces: where both are equal, so are the ids and the masks.
func (e engine) renders() {
	const dir = "../../parity/train/chat/"
	var conversations map[string]*object
	read(dir+"conversations.json", &conversations)
	var config struct {
		ChatTemplate string `json:"chat_template"`
	}
	read("../../qwen3_tokenizer/tokenizer_config.json.gz", &config)
	sources := map[string]string{"qwen3": config.ChatTemplate}
	for _, name := range []string{"smollm2", "generation", "fallback"} {
		source, err := os.ReadFile(dir + name + ".jinja")
		if err != nil {
			log.Fatal(err)
		}
		sources[name] = string(source)
	}
	rows, err := os.ReadFile(dir + "renders.jsonl")
	if err != nil {
		log.Fatal(err)
	}
	n, right, wrong := 0, 0, map[string]int{}
	for line := range bytes.Lines(rows) {
		var row struct {
			Template, Conversation, Text string
			AddGenerationPrompt          bool `json:"add_generation_prompt"`
			Kwargs                       *object
		}
		if err := json.Unmarshal(line, &row); err != nil {
			log.Fatal(err)
		}
		c := conversations[row.Conversation]
		vars := row.Kwargs.with(nil)
		vars.set("messages", c.values["messages"])
		vars.set("tools", c.values["tools"])
		vars.set("documents", nil)
		vars.set("add_generation_prompt", row.AddGenerationPrompt)
		vars.set("eos_token", "<|im_end|>")
		text, err := e.safely(sources[row.Template], vars)
		var got, want []string
		for _, m := range pieces.FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		for _, m := range c.values["messages"].([]any) {
			if m := m.(*object); row.Template == "generation" && m.values["role"] == "assistant" {
				want = append(want, m.values["content"].(string)+"<|im_end|>")
			}
		}
		n++
		if err == nil && unmarked.Replace(text) == row.Text && slices.Equal(got, want) {
			right++
		} else {
			wrong[row.Template]++
			if os.Getenv("SHOW") == e.name {
				fmt.Printf("  %s %s\n    got  %.900q %v\n    want %.900q\n", row.Template, row.Conversation, text, err, row.Text)
			}
		}
	}
	fmt.Printf("%s: %d of %d renders (wrong: %v)\n", e.name, right, n, wrong)
}
