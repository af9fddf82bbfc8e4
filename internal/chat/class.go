package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
)

// A class is one of transformers 5.23's tokenizer classes that keeps of a tokenizer.json its vocabulary, its merges, its
// added tokens and what it adds at the ends: how text is normalised, split and put together again is the class's own,
// whatever the file says. SmolLM2's GPT2Tokenizer leaves out the split of digits that its file has: "\n\n1" has other
// ids with it.
type class struct {
	normalizer, preTokenizer, decoder string // as they stand in a tokenizer.json
	fuseUnk, byteFallback             bool
	special                           map[string]string // the special tokens where no file says otherwise
}

// byteLevel turns bytes into letters; with use_regex it splits text as GPT-2 does.
const byteLevel = `{"type":"ByteLevel","add_prefix_space":%t,"trim_offsets":true,"use_regex":%t}`

// qwen2Split is Qwen2Tokenizer's PRETOKENIZE_REGEX.
const qwen2Split = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// classNamed is a class by its name, nil for one that takes the file as it is.
func (c *config) classNamed(name string) *class {
	const text, space = "<|endoftext|>", "▁"
	switch name {
	case "GPT2Tokenizer":
		return &class{preTokenizer: fmt.Sprintf(byteLevel, c.prefixSpace != nil && *c.prefixSpace, true), decoder: fmt.Sprintf(byteLevel, true, true),
			special: map[string]string{"unk_token": text, "bos_token": text, "eos_token": text}}
	case "Qwen2Tokenizer":
		split, _ := json.Marshal(qwen2Split) // a string can always be
		return &class{normalizer: `{"type":"NFC"}`, decoder: fmt.Sprintf(byteLevel, true, true), special: map[string]string{"unk_token": text, "eos_token": text, "pad_token": text},
			preTokenizer: `{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":` + string(split) + `},"behavior":"Isolated","invert":false},` +
				fmt.Sprintf(byteLevel, c.prefixSpace != nil && *c.prefixSpace, false) + `]}`}
	case "LlamaTokenizer":
		scheme, strip := "first", `,{"type":"Strip","content":" ","start":1,"stop":0}`
		switch {
		case c.prefixSpace != nil && !*c.prefixSpace:
			scheme, strip = "never", ""
		case c.legacy:
			scheme = "always"
		}
		return &class{fuseUnk: true, byteFallback: true, special: map[string]string{"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
			preTokenizer: `{"type":"Metaspace","replacement":"` + space + `","prepend_scheme":"` + scheme + `","split":false}`,
			decoder:      `{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"` + space + `"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}` + strip + `]}`}
	}
	return nil
}

// findClass finds the class that transformers' AutoTokenizer takes for the tokenizer in dir, whose tokenizer.json is raw:
// the one that tokenizer_config.json or config.json names; Qwen2Tokenizer for every model of the type qwen2, and for one
// of qwen3 that names none. A LlamaTokenizer whose file works on bytes is taken as it is.
func (c *config) findClass(dir string, raw []byte) error {
	text, err := optional(dir, "config.json")
	if err != nil {
		return err
	}
	var model struct {
		Type  string `json:"model_type"`
		Class string `json:"tokenizer_class"`
	}
	if text != nil && json.Unmarshal(text, &model) != nil {
		return stillhouse.Invalidf("load tokenizer: %s: not the configuration of a model", filepath.Join(dir, "config.json"))
	}
	name := c.className
	if name == "" {
		name = model.Class
	}
	name = strings.TrimSuffix(name, "Fast")
	if model.Type == "qwen2" || model.Type == "qwen3" && name == "" {
		name = "Qwen2Tokenizer"
	}
	if c.className = name; name != "LlamaTokenizer" || !bytes.Contains(raw, []byte(`"ByteLevel"`)) {
		c.class = c.classNamed(name)
	}
	return nil
}

// rebuild makes the parts of a tokenizer.json those of the class, and names the special tokens that no file names. The
// classes are BPE; a file of another kind is left as it is.
func (c *config) rebuild(file map[string]json.RawMessage, v *vocabulary, added []addedToken) error {
	if c.class == nil || v.kind != "BPE" {
		c.class = nil
		return nil
	}
	var model map[string]json.RawMessage
	err := json.Unmarshal(file["model"], &model)
	if err != nil {
		return fmt.Errorf("model: %w", err)
	}
	for _, key := range []string{"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges"} {
		delete(model, key)
	}
	for key, value := range map[string]bool{"fuse_unk": c.class.fuseUnk, "byte_fallback": c.class.byteFallback} {
		model[key] = json.RawMessage(fmt.Sprint(value))
	}
	if file["model"], err = json.Marshal(model); err != nil {
		return err
	}
	for key, value := range map[string]string{"normalizer": c.class.normalizer, "pre_tokenizer": c.class.preTokenizer, "decoder": c.class.decoder} {
		if value == "" {
			value = "null"
		}
		file[key] = json.RawMessage(value)
	}
	for key, content := range c.class.special {
		_, known := v.ids[content]
		known = known || slices.ContainsFunc(added, func(t addedToken) bool { return t.Content == content })
		if known && !c.said[key] {
			c.special[key] = addedToken{Content: content, Special: true}
		}
	}
	return nil
}

// Class is the tokenizer class of transformers that decides how text is split in place of tokenizer.json; "" where the
// file itself does.
func (t *Tokenizer) Class() string {
	if t.config.class == nil {
		return ""
	}
	return t.config.className
}
