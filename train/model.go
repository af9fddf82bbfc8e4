package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/gguf"
	"stillhouse/internal/hub"
	"stillhouse/internal/student"
)

// A Student is a model with its tokenizer, ready to be asked and trained.
type Student struct {
	Dir       string // where it was read from
	Options   Options
	Model     *student.Model
	Tokenizer *chat.Tokenizer
}

// Load loads the student that the options name, downloading it when it is a name on the Hub. With from_scratch its
// weights are drawn anew. progress, unless nil, is called as the bytes of a file arrive; total is -1 when it is not known.
func Load(ctx context.Context, o Options, progress func(file string, done, total int64)) (*Student, error) {
	dir, err := hub.Resolve(ctx, o.Student, hub.Options{Progress: progress})
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	if student.IsAdapter(dir) {
		return nil, stillhouse.Invalidf("student: %s is an adapter: name its base as student, and this directory as peft.init_adapter to go on from it", dir)
	}
	s := &Student{Dir: dir, Options: o}
	if o.FromScratch {
		s.Model, err = scratch(dir, *o.Seed)
	} else {
		s.Model, err = student.Load(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	if o.PEFT != nil {
		a, err := o.adapter(ctx, s.Model, progress)
		if err == nil {
			err = s.Model.Attach(a)
		}
		if err != nil {
			return nil, fmt.Errorf("peft: %w", err)
		}
	}
	if s.Tokenizer, err = LoadTokenizer(dir, o); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	if last, size := int(s.Tokenizer.MaxID()), s.Model.Config.VocabSize; last >= size {
		return nil, stillhouse.Invalidf("student: the tokenizer in %s has the token id %d, but the model's vocabulary has %d tokens: they do not belong together", dir, last, size)
	}
	return s, s.special()
}

// maxTemplate bounds the size of a chat template, in bytes.
const maxTemplate = 4 << 20

// LoadTokenizer loads the tokenizer in a directory, with the chat template that the options name.
func LoadTokenizer(dir string, o Options) (*chat.Tokenizer, error) {
	tok, err := chat.Load(dir)
	if err != nil || o.ChatTemplatePath == "" {
		return tok, err
	}
	template, err := readTemplate(o.ChatTemplatePath)
	if err != nil {
		return nil, errors.Join(err, tok.Close())
	}
	tok.SetTemplate(template)
	return tok, nil
}

// readTemplate reads a Jinja file, or the template of the tokenizer in a directory.
func readTemplate(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", stillhouse.Invalidf("chat_template_path: %w: name a Jinja file or a directory with a tokenizer", err)
	case info.IsDir():
		other, err := chat.Load(path)
		if err != nil {
			return "", fmt.Errorf("chat_template_path: %w", err)
		}
		defer other.Close()
		if !other.HasTemplate() {
			return "", stillhouse.Invalidf("chat_template_path: the tokenizer in %s has no chat template", path)
		}
		return other.Template(), nil
	case info.Size() > maxTemplate:
		return "", stillhouse.Invalidf("chat_template_path: %s has %d bytes: no template is larger than %d", path, info.Size(), maxTemplate)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("chat_template_path: %w", err)
	}
	return string(text), nil
}

// special tells the model of the end-of-sequence token that the options set.
func (s *Student) special() error {
	if name := s.Options.EOSToken; name != "" {
		id, ok := s.Tokenizer.ID(name)
		if !ok {
			return stillhouse.Invalidf("eos_token %q is not in the vocabulary of the tokenizer in %s", name, s.Dir)
		}
		c := &s.Model.Config
		c.EOSTokenIDs = append([]int{int(id)}, remove(c.EOSTokenIDs, int(id))...)
	}
	if name := s.Options.PadToken; name != "" {
		if _, ok := s.Tokenizer.ID(name); !ok {
			return stillhouse.Invalidf("pad_token %q is not in the vocabulary of the tokenizer in %s", name, s.Dir)
		}
	}
	return nil
}

// padding is the padding token that is written to the student's configuration: that of the options, else the
// tokenizer's, else the end-of-sequence token. While it is trained, the model has the one that it came with: as in
// transformers, that one decides what the embedding learns.
func (s *Student) padding() int {
	id, ok := s.Tokenizer.ID(s.Options.PadToken)
	if s.Options.PadToken == "" || !ok {
		id = s.Tokenizer.PAD()
	}
	if id < 0 && len(s.Model.Config.EOSTokenIDs) > 0 {
		return s.Model.Config.EOSTokenIDs[0]
	}
	return int(id)
}

func remove(ids []int, id int) (out []int) {
	for _, i := range ids {
		if i != id {
			out = append(out, i)
		}
	}
	return out
}

// scratch is a model with new weights of the configuration in dir.
func scratch(dir string, seed int64) (*student.Model, error) {
	c, err := student.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	text := []byte("{}") // a GGUF file does not say
	if file, err := gguf.Find(dir); err != nil {
		return nil, err
	} else if file == "" {
		if text, err = os.ReadFile(filepath.Join(dir, "config.json")); err != nil {
			return nil, err
		}
	}
	init := struct {
		Range float64 `json:"initializer_range"`
	}{0.02} // transformers' default
	if err := json.Unmarshal(text, &init); err != nil {
		return nil, stillhouse.Invalidf("%s: %w", filepath.Join(dir, "config.json"), err)
	}
	if !(init.Range > 0 && init.Range < 10) {
		return nil, stillhouse.Invalidf("%s: initializer_range is %v: it must be above 0 and below 10", filepath.Join(dir, "config.json"), init.Range)
	}
	return student.New(c, uint64(seed), init.Range), nil
}

// adapterDir is the folder of the adapter beside a student that it is merged into.
const adapterDir = "adapter"

// Save writes the student as a Hugging Face directory, or as a PEFT adapter directory where an adapter was trained that
// is not to be merged. Files that are in dir already and are none of a model's stay.
func (s *Student) Save(dir string) error {
	if a := s.Model.Adapter; a != nil {
		if !s.Options.PEFT.Merge {
			return s.saveAdapter(a, dir)
		}
		if err := a.Save(filepath.Join(dir, adapterDir)); err != nil {
			return err
		}
	}
	merged, err := s.Model.Merged()
	if err != nil {
		return err
	}
	m := *merged
	m.Config.PadTokenID = s.padding()
	if err := student.Save(&m, dir, student.SaveOptions{From: s.Dir}); err != nil {
		return err
	}
	if err := s.saveTemplate(dir); err != nil {
		return err
	}
	return s.saveTokens(dir)
}

// saveAdapter writes an adapter and the tokenizer.
func (s *Student) saveAdapter(a *student.Adapter, dir string) error {
	if err := a.Save(dir); err != nil {
		return err
	}
	if err := student.CopyTokenizer(s.Dir, dir); err != nil {
		return err
	}
	if err := s.saveTemplate(dir); err != nil {
		return err
	}
	return s.saveTokens(dir)
}

// saveTemplate writes the chat template where it is not the one in the tokenizer's own files.
func (s *Student) saveTemplate(dir string) error {
	if s.Options.ChatTemplatePath == "" && s.Tokenizer.HasTemplate() {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(s.Tokenizer.Template()), 0o644)
}

// saveTokens sets the special tokens that the options change in the files that transformers reads them from.
func (s *Student) saveTokens(dir string) error {
	o := s.Options
	if class := s.Tokenizer.Class(); class != "" && !student.IsModel(dir) { // nothing else there says which model it belongs to
		if err := setKeys(filepath.Join(dir, "tokenizer_config.json"), map[string]any{"tokenizer_class": class}); err != nil {
			return err
		}
	}
	if o.EOSToken != "" {
		if id, _ := s.Tokenizer.ID(o.EOSToken); student.IsModel(dir) {
			if err := setKeys(filepath.Join(dir, "config.json"), map[string]any{"eos_token_id": id}); err != nil {
				return err
			}
		}
		if err := setKeys(filepath.Join(dir, "tokenizer_config.json"), map[string]any{"eos_token": o.EOSToken}); err != nil {
			return err
		}
	}
	if o.PadToken != "" {
		return setKeys(filepath.Join(dir, "tokenizer_config.json"), map[string]any{"pad_token": o.PadToken})
	}
	return nil
}

// setKeys changes keys of a JSON object in a file, which is made when it is not there.
func setKeys(path string, set map[string]any) error {
	all := map[string]json.RawMessage{}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, err)
	}
	for k, v := range set {
		if all[k], err = json.Marshal(v); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
