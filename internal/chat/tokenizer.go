// Package chat turns conversations into text and text into token ids, as the transformers library does with the same
// files: the tokenizer of a model directory, its special tokens and its chat template.
package chat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/daulet/tokenizers"

	"stillhouse"
	"stillhouse/internal/gguf"
)

// maxFile bounds the files read from a model directory, in bytes. The largest tokenizer.json known has 35 MB.
const maxFile = 256 << 20

// A Tokenizer is the tokenizer of a model directory with its chat template. It may be used from several goroutines
// at once.
type Tokenizer struct {
	vocab  *vocabulary
	config *config

	mu     sync.RWMutex // held for reading while the library is called, for writing by Close and when nul is made
	plain  *tokenizers.Tokenizer
	nul    *tokenizers.Tokenizer // made when it's first needed, see nul.go
	file   []byte                // the tokenizer.json that plain was made from
	closed bool

	templates templates
}

// Load reads the tokenizer of a model directory: tokenizer.json, and where they are there tokenizer_config.json,
// special_tokens_map.json and chat_template.jinja. Files win over one another as in transformers 5: a
// chat_template.jinja over the template in tokenizer_config.json, and special_tokens_map.json counts only when
// tokenizer_config.json has no added_tokens_decoder. config.json and tokenizer_config.json may name a class that splits text
// in its own way, whatever tokenizer.json says. A GGUF file, or a directory that is one, has it all in its metadata.
func Load(dir string) (*Tokenizer, error) {
	if file, err := gguf.Find(dir); err != nil {
		return nil, fmt.Errorf("load tokenizer: %w", err)
	} else if file != "" {
		return loadGGUF(file)
	}
	raw, err := read(dir, "tokenizer.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stillhouse.Invalidf("load tokenizer: %s has no tokenizer.json: give a model directory that transformers saved", dir)
	} else if err != nil {
		return nil, err
	}
	cfg, err := loadConfig(dir)
	if err != nil {
		return nil, err
	}
	if err := cfg.findClass(dir, raw); err != nil {
		return nil, err
	}
	return newTokenizer(filepath.Join(dir, "tokenizer.json"), raw, cfg)
}

// newTokenizer makes a tokenizer of a tokenizer.json that was read from a path.
func newTokenizer(path string, raw []byte, cfg *config) (*Tokenizer, error) {
	vocab, file, err := prepare(raw, cfg)
	if err != nil {
		return nil, stillhouse.Invalidf("load tokenizer: %s: %w", path, err)
	}
	t := &Tokenizer{vocab: vocab, config: cfg, file: file, templates: templates{source: cfg.templates}}
	if t.plain, err = t.open(file); err != nil {
		return nil, stillhouse.Invalidf("load tokenizer: %s: %w", path, err)
	}
	return t, nil
}

// loadGGUF reads the tokenizer in the metadata of a GGUF file.
func loadGGUF(path string) (*Tokenizer, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer: %w", err)
	}
	defer f.Close()
	files, err := f.TokenizerFiles()
	if err != nil {
		return nil, fmt.Errorf("load tokenizer: %w", err)
	}
	cfg, err := parseConfig(files["tokenizer_config.json"], nil)
	if err != nil {
		return nil, stillhouse.Invalidf("load tokenizer: %s: %w", path, err)
	}
	return newTokenizer(path, files["tokenizer.json"], cfg)
}

func (t *Tokenizer) open(file []byte) (*tokenizers.Tokenizer, error) {
	if t.config.splitSpecial {
		return tokenizers.FromBytes(file, tokenizers.WithEncodeSpecialTokens())
	}
	return tokenizers.FromBytes(file)
}

// Close gives the tokenizer's memory back. Later calls encode to nothing and decode to "".
func (t *Tokenizer) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	err := t.plain.Close()
	if t.nul != nil {
		err = errors.Join(err, t.nul.Close())
	}
	return err
}

// Encode gives the ids of text without tokens that the tokenizer would add at the ends, as transformers'
// encode(text, add_special_tokens=False). A special token that stands in the text becomes its id.
func (t *Tokenizer) Encode(text string) []int32 {
	ids, _ := t.encode(text, false, false)
	return ids
}

// EncodeWithSpecial gives the ids of text with the tokens that the tokenizer adds at the ends, such as a
// beginning-of-sequence token: what plain text rows are trained on.
func (t *Tokenizer) EncodeWithSpecial(text string) []int32 {
	ids, _ := t.encode(text, true, false)
	return ids
}

// A Span is a piece of a text: its bytes From up to but not including To.
type Span struct{ From, To int }

// EncodeSpans is Encode with the piece of text that each id stands for.
func (t *Tokenizer) EncodeSpans(text string) (ids []int32, spans []Span) {
	return t.encode(text, false, true)
}

func (t *Tokenizer) encode(text string, special, spans bool) ([]int32, []Span) {
	if text == "" && !special {
		return nil, nil
	}
	if strings.IndexByte(text, 0) >= 0 {
		return t.encodeNUL(text, special, spans)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return nil, nil
	}
	return encodeWith(t.plain, text, special, spans)
}

func encodeWith(tk *tokenizers.Tokenizer, text string, special, spans bool) ([]int32, []Span) {
	var options []tokenizers.EncodeOption
	if spans {
		options = append(options, tokenizers.WithReturnOffsets())
	}
	e := tk.EncodeWithOptions(text, special, options...)
	ids := make([]int32, len(e.IDs))
	for i, id := range e.IDs {
		ids[i] = int32(id)
	}
	if !spans {
		return ids, nil
	}
	out := make([]Span, len(e.Offsets))
	for i, o := range e.Offsets {
		out[i] = Span{int(o[0]), int(o[1])}
	}
	return ids, out
}

// Decode gives the text of ids. Ids that the tokenizer doesn't have are left out, and with skipSpecial so are the
// special tokens.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	known := make([]uint32, 0, len(ids))
	for _, id := range ids {
		token, ok := t.vocab.tokens[id]
		if ok && !(skipSpecial && t.vocab.special[token]) {
			known = append(known, uint32(id))
		}
	}
	if len(known) == 0 {
		return ""
	}
	t.mu.RLock()
	var text string
	if !t.closed {
		text = t.plain.Decode(known, false)
	}
	t.mu.RUnlock()
	if text == "" {
		text = t.decodeNUL(known)
	}
	if t.config.cleanUp && t.vocab.kind != "BPE" {
		for _, pair := range cleanUp {
			text = strings.ReplaceAll(text, pair[0], pair[1])
		}
	}
	return text
}

// cleanUp takes away, one after the other, the spaces that word-piece tokenizers put before punctuation: transformers'
// clean_up_tokenization, which leaves the text of BPE tokenizers alone.
var cleanUp = [][2]string{{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
	{" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}}

// Size is the number of tokens, added ones included: transformers' len(tokenizer).
func (t *Tokenizer) Size() int { return len(t.vocab.tokens) }

// MaxID is the highest id that Encode can give. A model whose embedding has no row MaxID does not fit the tokenizer.
func (t *Tokenizer) MaxID() int32 { return t.vocab.maxID }

// EOS is the id of the end-of-sequence token, -1 when the tokenizer names none.
func (t *Tokenizer) EOS() int32 { return t.named("eos_token", -1) }

// PAD is the id of the padding token, that of EOS when the tokenizer names none.
func (t *Tokenizer) PAD() int32 { return t.named("pad_token", t.EOS()) }

// BOS is the id of the beginning-of-sequence token, if the tokenizer names one.
func (t *Tokenizer) BOS() (int32, bool) {
	id := t.named("bos_token", -1)
	return id, id >= 0
}

func (t *Tokenizer) named(name string, missing int32) int32 {
	if token, ok := t.config.special[name]; ok {
		if id, ok := t.vocab.ids[token.Content]; ok {
			return id
		}
	}
	return missing
}

// Token is the token of an id as it stands in the vocabulary, "" when there is no such id.
func (t *Tokenizer) Token(id int32) string { return t.vocab.tokens[id] }

// ID is the id of a token as it stands in the vocabulary.
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.vocab.ids[token]
	return id, ok
}

// IsSpecial says whether Decode leaves the id out when it skips special tokens.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.vocab.special[t.vocab.tokens[id]] }

// read reads a file of a model directory.
func read(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("load tokenizer: read %s: %w", path, err)
	}
	if len(raw) > maxFile {
		return nil, stillhouse.Invalidf("load tokenizer: %s is larger than %d MiB: this is no tokenizer file", path, maxFile>>20)
	}
	return raw, nil
}

// Vocabulary is the tokenizer as it is written to a GGUF file of a model whose embedding has size rows.
func (t *Tokenizer) Vocabulary(size int) gguf.Vocabulary {
	return gguf.Vocabulary{JSON: t.file, BOS: int(t.named("bos_token", -1)), EOS: int(t.named("eos_token", -1)), Pad: int(t.named("pad_token", -1)),
		Unk: int(t.named("unk_token", -1)), Templates: t.templates.source, Size: size}
}
