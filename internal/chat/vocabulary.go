package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sort"
)

// A vocabulary is what tokenizer.json says of its tokens, added ones included.
type vocabulary struct {
	kind    string // of the model: BPE, WordPiece, WordLevel or Unigram
	ids     map[string]int32
	tokens  map[int32]string
	special map[string]bool
	maxID   int32
}

// An addedToken is a token that is found in the text before the model sees it.
type addedToken struct {
	ID         *int64 `json:"id,omitempty"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// prepare reads a tokenizer.json and gives the one to encode with: without truncation and padding, and with the tokens
// that only tokenizer_config.json knows. That is what transformers makes of the same files before it encodes; which
// tokens are added at the ends is for tokenizer.json to say, not for add_bos_token in tokenizer_config.json.
func prepare(raw []byte, cfg *config) (*vocabulary, []byte, error) {
	var file map[string]json.RawMessage
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, nil, fmt.Errorf("not valid JSON: %w", err)
	}
	v, err := readModel(file["model"])
	if err != nil {
		return nil, nil, err
	}
	var added []addedToken
	if a, ok := file["added_tokens"]; ok {
		if err := json.Unmarshal(a, &added); err != nil {
			return nil, nil, fmt.Errorf("added_tokens: %w", err)
		}
	}
	if err := cfg.rebuild(file, v, added); err != nil {
		return nil, nil, err
	}
	if cfg.class != nil && cfg.listsAdded { // then the list is all that such a class knows of added tokens
		added = nil
	}
	added = append(added, cfg.missing(added)...)
	if err := v.add(added); err != nil {
		return nil, nil, err
	}
	for i := range added {
		id := int64(v.ids[added[i].Content])
		added[i].ID = &id
	}
	if file["added_tokens"], err = json.Marshal(added); err != nil {
		return nil, nil, err
	}
	file["truncation"], file["padding"] = json.RawMessage("null"), json.RawMessage("null")
	out, err := json.Marshal(file)
	if err != nil {
		return nil, nil, err
	}
	if len(out) > math.MaxInt32 {
		return nil, nil, errors.New("the file is too large")
	}
	return v, out, nil
}

func readModel(raw json.RawMessage) (*vocabulary, error) {
	var model struct {
		Type  string          `json:"type"`
		Vocab json.RawMessage `json:"vocab"`
	}
	if err := json.Unmarshal(raw, &model); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	v := &vocabulary{kind: model.Type, tokens: map[int32]string{}, special: map[string]bool{}, maxID: -1}
	var byToken map[string]int64
	if err := json.Unmarshal(model.Vocab, &byToken); err != nil {
		var pieces [][2]any // Unigram: [token, score]; the place is the id
		if json.Unmarshal(model.Vocab, &pieces) != nil {
			return nil, fmt.Errorf("model.vocab: %w", err)
		}
		byToken = make(map[string]int64, len(pieces))
		for i, p := range pieces {
			token, ok := p[0].(string)
			if !ok {
				return nil, fmt.Errorf("model.vocab: entry %d has no token", i)
			}
			byToken[token] = int64(i)
		}
	}
	v.ids = make(map[string]int32, len(byToken))
	for token, id := range byToken {
		if err := v.set(token, id); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *vocabulary) set(token string, id int64) error {
	if id < 0 || id >= math.MaxInt32 {
		return fmt.Errorf("token %q has the id %d: ids run from 0 to 2^31-2", token, id)
	}
	if other, ok := v.tokens[int32(id)]; ok && other != token {
		return fmt.Errorf("tokens %q and %q have the same id %d", other, token, id)
	}
	v.ids[token], v.tokens[int32(id)] = int32(id), token
	v.maxID = max(v.maxID, int32(id))
	return nil
}

// add gives the added tokens their ids, as the library does: the model's id where it knows the token, else the next
// one after the model's and the added ones.
func (v *vocabulary) add(added []addedToken) error {
	size := int64(len(v.ids))
	next := size
	for _, a := range added {
		if a.Content == "" {
			return errors.New("added_tokens: a token without content")
		}
		id, known := v.ids[a.Content]
		if !known {
			if err := v.set(a.Content, next); err != nil {
				return fmt.Errorf("added_tokens: %w", err)
			}
			id = int32(next)
		}
		if int64(id) >= size {
			next = max(next, int64(id)+1)
		}
		v.special[a.Content] = v.special[a.Content] || a.Special
	}
	return nil
}

// missing are the tokens of tokenizer_config.json that the added tokens of tokenizer.json lack: first those of
// added_tokens_decoder by id, then the named special tokens.
func (c *config) missing(have []addedToken) (out []addedToken) {
	seen := map[string]bool{}
	for _, t := range have {
		seen[t.Content] = true
	}
	named := map[string]bool{}
	for _, t := range c.special {
		named[t.Content] = true
	}
	add := func(t addedToken) {
		if t.Content == "" || seen[t.Content] {
			return
		}
		seen[t.Content] = true
		t.ID = nil
		t.Special = t.Special || named[t.Content]
		out = append(out, t)
	}
	decoder := append([]addedToken{}, c.added...)
	sort.SliceStable(decoder, func(i, j int) bool { return *decoder[i].ID < *decoder[j].ID })
	for _, t := range decoder {
		add(t)
	}
	for _, name := range specialNames {
		if t, ok := c.special[name]; ok {
			add(t)
		}
	}
	for _, t := range c.extra {
		t.Special = true
		add(t)
	}
	return out
}
