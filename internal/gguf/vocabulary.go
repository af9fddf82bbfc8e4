package gguf

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// keyNFC is a key of our own: whether text is normalised to NFC, where that is not what tokenizer.ggml.pre implies.
const keyNFC = "stillhouse.tokenizer.nfc"

// A Vocabulary is a tokenizer to be written.
type Vocabulary struct {
	JSON               []byte            // tokenizer.json, with all added tokens
	BOS, EOS, Pad, Unk int               // ids, -1 for none
	Templates          map[string]string // chat templates by name; "default" is the one that most models have alone
	Size               int               // of the model's embedding: ids without a token are written as unused
}

// tokenizerFile is what is read of a tokenizer.json.
type tokenizerFile struct {
	Added []struct {
		ID         int    `json:"id"`
		Content    string `json:"content"`
		SingleWord bool   `json:"single_word"`
		LStrip     bool   `json:"lstrip"`
		RStrip     bool   `json:"rstrip"`
		Special    bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    any `json:"normalizer"`
	PreTokenizer  any `json:"pre_tokenizer"`
	PostProcessor any `json:"post_processor"`
	Model         struct {
		Type         string          `json:"type"`
		Vocab        map[string]int  `json:"vocab"`
		Merges       json.RawMessage `json:"merges"`
		Dropout      *float64        `json:"dropout"`
		Prefix       *string         `json:"continuing_subword_prefix"`
		Suffix       *string         `json:"end_of_word_suffix"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
	} `json:"model"`
}

// Pairs is the metadata that stands for the tokenizer, as llama.cpp's converter writes it. A tokenizer that llama.cpp
// would not apply in the same way is refused, with the part that it cannot.
func (v Vocabulary) Pairs() ([]Pair, error) {
	var kind struct {
		Model struct {
			Type string `json:"type"`
		} `json:"model"`
	}
	if err := json.Unmarshal(v.JSON, &kind); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	if kind.Model.Type != "BPE" {
		return nil, fmt.Errorf("the tokenizer's model is %s: byte-level BPE can be written as GGUF", kind.Model.Type)
	}
	var t tokenizerFile
	if err := json.Unmarshal(v.JSON, &t); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	pre, err := t.pre()
	if err != nil {
		return nil, err
	}
	merges, err := t.merges()
	if err != nil {
		return nil, err
	}
	tokens, types, err := t.tokens(v.Size)
	if err != nil {
		return nil, err
	}
	addBOS, addEOS, err := t.ends(v)
	if err != nil {
		return nil, err
	}
	out := []Pair{
		{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.pre", pre}, {"tokenizer.ggml.tokens", tokens}, {"tokenizer.ggml.token_type", types},
		{"tokenizer.ggml.merges", merges}, {"tokenizer.ggml.add_bos_token", addBOS}, {"tokenizer.ggml.add_eos_token", addEOS},
		{"tokenizer.ggml.add_space_prefix", false},
	}
	for _, id := range []struct {
		key string
		id  int
	}{{"bos_token", v.BOS}, {"eos_token", v.EOS}, {"pad_token", v.Pad}, {"unk_token", v.Unk}} {
		if id.id >= len(tokens) {
			return nil, fmt.Errorf("%s has the id %d: the model's vocabulary has %d tokens", id.key, id.id, len(tokens))
		}
		if id.id >= 0 {
			out = append(out, Pair{specialKeys[id.key], uint32(id.id)})
		}
	}
	if implied := pretokenizers[pre].normalizer != ""; implied != (t.Normalizer != nil) {
		out = append(out, Pair{keyNFC, t.Normalizer != nil})
	}
	for _, name := range slices.Sorted(maps.Keys(v.Templates)) {
		key := "tokenizer.chat_template"
		if name != "default" {
			key += "." + name
		}
		out = append(out, Pair{key, v.Templates[name]})
	}
	return out, nil
}

// pre finds the name of the tokenizer's way of splitting text.
func (t *tokenizerFile) pre() (string, error) {
	m := t.Model
	for what, wrong := range map[string]bool{
		"byte_fallback": m.ByteFallback, "dropout": m.Dropout != nil && *m.Dropout != 0,
		"continuing_subword_prefix": m.Prefix != nil && *m.Prefix != "", "end_of_word_suffix": m.Suffix != nil && *m.Suffix != "",
	} {
		if wrong {
			return "", fmt.Errorf("the tokenizer's model has %s, which GGUF cannot say", what)
		}
	}
	if n := t.Normalizer; n != nil && !reflect.DeepEqual(n, any(map[string]any{"type": "NFC"})) {
		text, _ := marshal(n)
		return "", fmt.Errorf("the tokenizer's normalizer %.100s cannot be written as GGUF: none and NFC can", text)
	}
	have := plainSplitter(t.PreTokenizer)
	for _, name := range slices.Sorted(maps.Keys(pretokenizers)) {
		p := pretokenizers[name]
		var splitter any
		if err := json.Unmarshal([]byte(p.splitter), &splitter); err != nil {
			return "", err
		}
		if !reflect.DeepEqual(plainSplitter(splitter), have) {
			continue
		}
		if p.ignoreMerges != m.IgnoreMerges {
			return "", fmt.Errorf("the tokenizer splits text as %s, whose ignore_merges llama.cpp takes to be %t: this one's is %t", name, p.ignoreMerges, m.IgnoreMerges)
		}
		if t.Normalizer != nil && p.normalizer == "" {
			return "", fmt.Errorf("the tokenizer normalises text to NFC, which llama.cpp does not with %s", name)
		}
		return name, nil
	}
	text, _ := marshal(t.PreTokenizer)
	return "", fmt.Errorf("the tokenizer's pre_tokenizer %.200s is none that GGUF has a name for here: those of %s are", text, strings.Join(slices.Sorted(maps.Keys(pretokenizers)), ", "))
}

// plainSplitter leaves out what does not change how text is split: offsets, and sequences of one.
func plainSplitter(p any) any {
	m, ok := p.(map[string]any)
	if !ok {
		return p
	}
	out := maps.Clone(m)
	delete(out, "trim_offsets")
	if out["invert"] == false {
		delete(out, "invert")
	}
	if list, ok := out["pretokenizers"].([]any); ok {
		plain := make([]any, len(list))
		for i, x := range list {
			plain[i] = plainSplitter(x)
		}
		if out["pretokenizers"] = plain; len(plain) == 1 {
			return plain[0]
		}
	}
	return out
}

func (t *tokenizerFile) merges() ([]string, error) {
	var merges []string
	if json.Unmarshal(t.Model.Merges, &merges) == nil {
		return merges, nil
	}
	var pairs [][2]string
	if err := json.Unmarshal(t.Model.Merges, &pairs); err != nil {
		return nil, fmt.Errorf("tokenizer.json: merges: %w", err)
	}
	merges = make([]string, len(pairs))
	for i, p := range pairs {
		if strings.Contains(p[0]+p[1], " ") {
			return nil, fmt.Errorf("the tokenizer's merge %q has a blank, which GGUF cannot say", p)
		}
		merges[i] = p[0] + " " + p[1]
	}
	return merges, nil
}

// tokens are the tokens by id and their types.
func (t *tokenizerFile) tokens(size int) ([]string, []int32, error) {
	if size < 1 || size > maxTokens {
		return nil, nil, fmt.Errorf("a vocabulary of %d tokens cannot be written", size)
	}
	tokens, types := make([]string, size), slices.Repeat([]int32{tokenUnused}, size)
	put := func(token string, id int, typ int32) error {
		if id < 0 || id >= size {
			return fmt.Errorf("token %q has the id %d: the model's vocabulary has %d tokens", token, id, size)
		}
		if tokens[id] != "" && tokens[id] != token {
			return fmt.Errorf("tokens %q and %q have the same id %d", tokens[id], token, id)
		}
		tokens[id], types[id] = token, typ
		return nil
	}
	for token, id := range t.Model.Vocab {
		if err := put(token, id, tokenNormal); err != nil {
			return nil, nil, err
		}
	}
	for _, a := range t.Added {
		if a.SingleWord || a.LStrip || a.RStrip {
			return nil, nil, fmt.Errorf("the added token %q is found by what is beside it (single_word, lstrip, rstrip), which GGUF cannot say", a.Content)
		}
		typ := int32(tokenUser)
		if a.Special {
			typ = tokenControl
		}
		if err := put(a.Content, a.ID, typ); err != nil {
			return nil, nil, err
		}
	}
	for id := range tokens {
		if types[id] == tokenUnused {
			tokens[id] = "[PAD" + strconv.Itoa(id) + "]"
		}
	}
	return tokens, types, nil
}

// ends says what is added at the ends of a text.
func (t *tokenizerFile) ends(v Vocabulary) (bos, eos bool, err error) {
	var walk func(p any) error
	walk = func(p any) error {
		m, _ := p.(map[string]any)
		switch m["type"] {
		case nil, "ByteLevel":
			return nil
		case "Sequence":
			list, _ := m["processors"].([]any)
			for _, x := range list {
				if err := walk(x); err != nil {
					return err
				}
			}
			return nil
		case "TemplateProcessing":
			return templateEnds(m, v, &bos, &eos)
		}
		return fmt.Errorf("the tokenizer's post_processor %v cannot be written as GGUF", m["type"])
	}
	err = walk(t.PostProcessor)
	return bos, eos, err
}

func templateEnds(m map[string]any, v Vocabulary, bos, eos *bool) error {
	wrong := errors.New("the tokenizer's post_processor adds other tokens than bos_token before and eos_token after a text, which GGUF cannot say")
	single, _ := m["single"].([]any)
	special, _ := m["special_tokens"].(map[string]any)
	text := false
	for _, x := range single {
		step, _ := x.(map[string]any)
		if _, ok := step["Sequence"]; ok {
			text = true
			continue
		}
		token, _ := step["SpecialToken"].(map[string]any)
		name, _ := token["id"].(string)
		entry, _ := special[name].(map[string]any)
		ids, _ := entry["ids"].([]any)
		if len(ids) != 1 {
			return wrong
		}
		want, which := v.BOS, bos
		if text {
			want, which = v.EOS, eos
		}
		if id, _ := ids[0].(float64); want < 0 || int(id) != want || *which {
			return wrong
		}
		*which = true
	}
	return nil
}
