package gguf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"stillhouse"
)

// The types of tokens in tokenizer.ggml.token_type.
const (
	tokenNormal  = 1
	tokenUnknown = 2
	tokenControl = 3 // found in the text before it is split; left out when text is made of ids
	tokenUser    = 4 // found in the text before it is split
	tokenUnused  = 5 // an id without a token
	tokenByte    = 6
)

// specialKeys are the keys of the special tokens' ids, by their names in tokenizer_config.json.
var specialKeys = map[string]string{
	"bos_token": "tokenizer.ggml.bos_token_id", "eos_token": "tokenizer.ggml.eos_token_id", "unk_token": "tokenizer.ggml.unknown_token_id",
	"sep_token": "tokenizer.ggml.seperator_token_id", "pad_token": "tokenizer.ggml.padding_token_id", "mask_token": "tokenizer.ggml.mask_token_id",
}

// maxTokens bounds a vocabulary: more than any real one has.
const maxTokens = 1 << 24

// TokenizerFiles gives the tokenizer in the metadata as the files of a Hugging Face directory that make the same ids of
// every text: tokenizer.json and tokenizer_config.json with the chat template. Byte-level BPE is read
// (tokenizer.ggml.model gpt2) with the pre-tokenizers that are known; anything else is refused by name.
func (f *File) TokenizerFiles() (map[string][]byte, error) {
	v, err := f.vocabulary()
	if err != nil {
		return nil, stillhouse.Invalidf("%s: tokenizer: %w", f.Path, err)
	}
	tokenizer, err := v.tokenizerJSON()
	if err != nil {
		return nil, err
	}
	config, err := f.tokenizerConfig(v)
	if err != nil {
		return nil, stillhouse.Invalidf("%s: tokenizer: %w", f.Path, err)
	}
	return map[string][]byte{"tokenizer.json": tokenizer, "tokenizer_config.json": config}, nil
}

// A vocabulary is what the metadata says of the tokenizer.
type vocabulary struct {
	pre            pretokenizer
	tokens, merges []string
	types          []int64
	special        map[string]int // ids by name in tokenizer_config.json
	addBOS, addEOS bool
}

func (f *File) vocabulary() (*vocabulary, error) {
	model, ok, err := f.Text("tokenizer.ggml.model")
	if err != nil {
		return nil, err
	}
	if !ok || model != "gpt2" {
		return nil, fmt.Errorf("tokenizer.ggml.model %q is not supported: gpt2 (byte-level BPE) is; take the model's Hugging Face directory", model)
	}
	name, _, err := f.Text("tokenizer.ggml.pre")
	if err != nil {
		return nil, err
	}
	if other, ok := aliases[name]; ok {
		name = other
	}
	v := &vocabulary{special: map[string]int{}}
	if v.pre, ok = pretokenizers[name]; !ok {
		return nil, fmt.Errorf("tokenizer.ggml.pre %q is not supported: %s are; take the model's Hugging Face directory", name, strings.Join(slices.Sorted(maps.Keys(pretokenizers)), ", "))
	}
	if nfc, ok, err := f.Bool(keyNFC); err != nil {
		return nil, err
	} else if ok {
		if v.pre.normalizer = ""; nfc {
			v.pre.normalizer = `{"type":"NFC"}`
		}
	}
	if v.tokens, _, err = f.Texts("tokenizer.ggml.tokens"); err != nil {
		return nil, err
	}
	if v.merges, _, err = f.Texts("tokenizer.ggml.merges"); err != nil {
		return nil, err
	}
	if v.types, ok, err = f.Ints("tokenizer.ggml.token_type"); err != nil {
		return nil, err
	}
	if !ok {
		v.types = slices.Repeat([]int64{tokenNormal}, len(v.tokens))
	}
	if err := v.check(); err != nil {
		return nil, err
	}
	return v, f.readSpecial(v)
}

// check finds what no tokenizer can have.
func (v *vocabulary) check() error {
	switch {
	case len(v.tokens) == 0 || len(v.tokens) > maxTokens:
		return fmt.Errorf("tokenizer.ggml.tokens has %d tokens: 1 to %d are read", len(v.tokens), maxTokens)
	case len(v.types) != len(v.tokens):
		return fmt.Errorf("tokenizer.ggml.token_type has %d entries for %d tokens", len(v.types), len(v.tokens))
	}
	seen := make(map[string]int, len(v.tokens))
	for id, token := range v.tokens {
		if v.types[id] == tokenUnused {
			continue
		}
		other, twice := seen[token]
		switch {
		case v.types[id] == tokenByte:
			return fmt.Errorf("token %d (%q) is of the type byte, which byte-level BPE does not have", id, token)
		case v.types[id] < 0 || v.types[id] > tokenByte:
			return fmt.Errorf("token %d (%q) is of type %d, which does not exist", id, token, v.types[id])
		case token == "" || !utf8.ValidString(token):
			return fmt.Errorf("token %d (%q) is empty or no UTF-8", id, token)
		case twice:
			return fmt.Errorf("tokens %d and %d are both %q", other, id, token)
		}
		seen[token] = id
	}
	for i, m := range v.merges {
		a, b, ok := mergeParts(m)
		if !ok {
			return fmt.Errorf("merge %d (%q) is not two tokens with a space between", i, m)
		}
		for _, part := range []string{a, b, a + b} {
			if _, ok := seen[part]; !ok {
				return fmt.Errorf("merge %d (%q) needs the token %q, which is not there", i, m, part)
			}
		}
	}
	return nil
}

// mergeParts cuts a merge at its space, which is not the first byte.
func mergeParts(merge string) (a, b string, ok bool) {
	if len(merge) < 3 {
		return "", "", false
	}
	at := strings.IndexByte(merge[1:], ' ') + 1
	if at == 0 || at == len(merge)-1 {
		return "", "", false
	}
	return merge[:at], merge[at+1:], true
}

func (f *File) readSpecial(v *vocabulary) error {
	for name, key := range specialKeys {
		id, ok, err := f.Uint(key)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if id >= uint64(len(v.tokens)) || v.types[id] == tokenUnused {
			return fmt.Errorf("%s is %d, which is no token: there are %d", key, id, len(v.tokens))
		}
		v.special[name] = int(id)
	}
	for _, add := range []struct {
		key, token string
		into       *bool
		otherwise  bool
	}{{"tokenizer.ggml.add_bos_token", "bos_token", &v.addBOS, v.pre.addBOS}, {"tokenizer.ggml.add_eos_token", "eos_token", &v.addEOS, false}} {
		yes, ok, err := f.Bool(add.key)
		if err != nil {
			return err
		}
		_, known := v.special[add.token]
		if *add.into = yes; !ok {
			*add.into = add.otherwise && known
		}
		if *add.into && !known {
			return fmt.Errorf("%s is true, but there is no %s", add.key, specialKeys[add.token])
		}
	}
	return nil
}

// marshal writes JSON as Python would: <, > and & stay as they are.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

func object(text string) json.RawMessage {
	if text == "" {
		return json.RawMessage("null")
	}
	return json.RawMessage(text)
}

// tokenizerJSON is the tokenizer.json. All tokens are in the model's vocabulary, so that each keeps its id.
func (v *vocabulary) tokenizerJSON() ([]byte, error) {
	ids := make(map[string]int, len(v.tokens))
	var added []map[string]any
	for id, token := range v.tokens {
		switch v.types[id] {
		case tokenUnused:
			continue
		case tokenControl, tokenUnknown, tokenUser:
			added = append(added, map[string]any{"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
				"normalized": false, "special": v.types[id] != tokenUser})
		}
		ids[token] = id
	}
	merges := make([][2]string, len(v.merges))
	for i, m := range v.merges {
		merges[i][0], merges[i][1], _ = mergeParts(m)
	}
	return marshal(map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added,
		"normalizer": object(v.pre.normalizer), "pre_tokenizer": object(v.pre.splitter), "post_processor": v.ends(), "decoder": object(byteLevel),
		"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": v.pre.ignoreMerges, "vocab": ids, "merges": merges},
	})
}

// ends is the post_processor, which adds tokens at the ends of a text.
func (v *vocabulary) ends() any {
	special := map[string]any{}
	sequence := func(name string) (out []any) {
		put := func(add bool, which string) {
			if !add {
				return
			}
			id := v.special[which]
			token := v.tokens[id]
			special[token] = map[string]any{"id": token, "ids": []int{id}, "tokens": []string{token}}
			out = append(out, map[string]any{"SpecialToken": map[string]any{"id": token, "type_id": 0}})
		}
		put(v.addBOS, "bos_token")
		out = append(out, map[string]any{"Sequence": map[string]any{"id": name, "type_id": 0}})
		put(v.addEOS, "eos_token")
		return out
	}
	single := sequence("A")
	return map[string]any{"type": "TemplateProcessing", "single": single, "pair": append(slices.Clone(single), sequence("B")...), "special_tokens": special}
}

// tokenizerConfig is the tokenizer_config.json: the special tokens by name and the chat template.
func (f *File) tokenizerConfig(v *vocabulary) ([]byte, error) {
	out := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false}
	for name, id := range v.special {
		out[name] = v.tokens[id]
	}
	if arch, _, err := f.Text("general.architecture"); err == nil {
		if n, ok, err := f.Uint(arch + ".context_length"); ok && err == nil {
			out["model_max_length"] = n
		}
	}
	const key = "tokenizer.chat_template"
	var templates []map[string]string
	for _, k := range f.keys {
		name, named := strings.CutPrefix(k, key+".")
		if k != key && !named {
			continue
		}
		text, _, err := f.Text(k)
		if err != nil {
			return nil, err
		}
		if !named {
			name = "default"
		}
		templates = append(templates, map[string]string{"name": name, "template": text})
	}
	switch {
	case len(templates) == 1 && templates[0]["name"] == "default":
		out["chat_template"] = templates[0]["template"]
	case len(templates) > 0:
		out["chat_template"] = templates
	}
	return marshal(out)
}
