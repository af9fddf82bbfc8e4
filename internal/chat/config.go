package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"stillhouse"
)

// specialNames are the special tokens that have names, in the order of transformers' SPECIAL_TOKENS_ATTRIBUTES.
// Templates see each as a variable.
var specialNames = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// A config is what is used of tokenizer_config.json and the files beside it.
type config struct {
	special      map[string]addedToken // by name
	extra        []addedToken
	added        []addedToken // added_tokens_decoder, each with its id
	listsAdded   bool         // there is an added_tokens_decoder
	cleanUp      bool
	splitSpecial bool
	className    string // tokenizer_class
	class        *class // nil where tokenizer.json is taken as it is
	legacy       bool
	prefixSpace  *bool             // add_prefix_space
	said         map[string]bool   // the special tokens that a file names, or says there are none of
	templates    map[string]string // by name; "default" is the one that most models have alone
}

func loadConfig(dir string) (*config, error) {
	raw, err := optional(dir, "tokenizer_config.json")
	if err != nil {
		return nil, err
	}
	special, err := optional(dir, "special_tokens_map.json")
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(raw, special)
	if err != nil {
		return nil, stillhouse.Invalidf("load tokenizer: %s: %w", dir, err)
	}
	files := map[string]string{}
	if text, err := optional(dir, "chat_template.jinja"); err != nil {
		return nil, err
	} else if text != nil {
		files["default"] = string(text)
	}
	const more = "additional_chat_templates"
	entries, err := os.ReadDir(filepath.Join(dir, more))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load tokenizer: %w", err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".jinja"); ok && !e.IsDir() {
			text, err := read(dir, filepath.Join(more, e.Name()))
			if err != nil {
				return nil, err
			}
			files[name] = string(text)
		}
	}
	if len(files) > 0 {
		c.templates = files
	}
	return c, nil
}

// optional reads a file of a model directory, nil when it isn't there.
func optional(dir, name string) ([]byte, error) {
	raw, err := read(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

// parseConfig reads tokenizer_config.json and special_tokens_map.json; either may be nil.
func parseConfig(raw, specialMap []byte) (*config, error) {
	c := &config{special: map[string]addedToken{}, said: map[string]bool{}}
	keys := map[string]json.RawMessage{}
	if raw != nil {
		if err := json.Unmarshal(raw, &keys); err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: not a JSON object: %w", err)
		}
	}
	if err := c.readAdded(keys["added_tokens_decoder"]); err != nil {
		return nil, fmt.Errorf("tokenizer_config.json: added_tokens_decoder: %w", err)
	}
	if err := c.readSpecial(keys); err != nil {
		return nil, fmt.Errorf("tokenizer_config.json: %w", err)
	}
	if _, c.listsAdded = keys["added_tokens_decoder"]; !c.listsAdded && specialMap != nil {
		more := map[string]json.RawMessage{}
		if err := json.Unmarshal(specialMap, &more); err != nil {
			return nil, fmt.Errorf("special_tokens_map.json: not a JSON object: %w", err)
		}
		if err := c.readSpecial(more); err != nil {
			return nil, fmt.Errorf("special_tokens_map.json: %w", err)
		}
	}
	c.cleanUp = string(keys["clean_up_tokenization_spaces"]) == "true"
	c.splitSpecial = string(keys["split_special_tokens"]) == "true"
	c.legacy = string(keys["legacy"]) == "true"
	for key, into := range map[string]any{"tokenizer_class": &c.className, "add_prefix_space": &c.prefixSpace} {
		if raw := keys[key]; !null(raw) {
			if err := json.Unmarshal(raw, into); err != nil {
				return nil, fmt.Errorf("tokenizer_config.json: %s: %w", key, err)
			}
		}
	}
	var err error
	if c.templates, err = readTemplates(keys["chat_template"]); err != nil {
		return nil, fmt.Errorf("tokenizer_config.json: chat_template: %w", err)
	}
	return c, nil
}

func null(raw json.RawMessage) bool { return len(raw) == 0 || string(bytes.TrimSpace(raw)) == "null" }

func (c *config) readAdded(raw json.RawMessage) error {
	if null(raw) {
		return nil
	}
	var decoder map[string]addedToken
	if err := json.Unmarshal(raw, &decoder); err != nil {
		return err
	}
	for key, t := range decoder {
		id, err := strconv.ParseInt(key, 10, 64)
		if err != nil {
			return fmt.Errorf("the key %q is not an id", key)
		}
		t.ID = &id
		c.added = append(c.added, t)
	}
	return nil
}

// readSpecial reads the named special tokens and the further ones.
func (c *config) readSpecial(keys map[string]json.RawMessage) error {
	for _, name := range specialNames {
		raw, said := keys[name]
		c.said[name] = c.said[name] || said
		if !null(raw) {
			t, err := readToken(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			c.special[name] = t
		}
	}
	for _, key := range []string{"additional_special_tokens", "extra_special_tokens"} {
		raw := keys[key]
		if null(raw) {
			continue
		}
		var list []json.RawMessage
		var named map[string]json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil && json.Unmarshal(raw, &named) != nil {
			return fmt.Errorf("%s is neither a list nor an object of tokens", key)
		}
		for _, raw := range list {
			t, err := readToken(raw)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			c.extra = append(c.extra, t)
		}
	}
	return nil
}

// readToken reads a token that is written as a string or as an object.
func readToken(raw json.RawMessage) (t addedToken, err error) {
	if json.Unmarshal(raw, &t.Content) == nil {
		t.Special = true
		return t, nil
	}
	if err := json.Unmarshal(raw, &t); err != nil || t.Content == "" {
		return t, fmt.Errorf("%.60s is neither a token nor an object with its content", raw)
	}
	t.ID, t.Special = nil, true
	return t, nil
}

// readTemplates reads chat_template: a template, or a list of templates with names.
func readTemplates(raw json.RawMessage) (map[string]string, error) {
	if null(raw) {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return map[string]string{"default": one}, nil
	}
	var list []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("it is neither a template nor a list of templates with names")
	}
	out := map[string]string{}
	for _, t := range list {
		out[t.Name] = t.Template
	}
	return out, nil
}
