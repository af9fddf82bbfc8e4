package student

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"stillhouse"
	"stillhouse/internal/gguf"
)

// SaveOptions say how a model is written.
type SaveOptions struct {
	From      string // the directory that the model came from: keys of its config.json and generation_config.json that are not ours are kept; "" for none
	Tokenizer string // the directory that tokenizer files are copied from; "" is From
	Dtype     string // float32, bfloat16 or float16; "" is float32

	MaxShardSize int64 // bytes; larger weights are split into shards; 0 never splits
}

var safetensorsDtype = map[string]string{"float32": "F32", "bfloat16": "BF16", "float16": "F16"}

// tokenizerFiles are copied, byte for byte, where they are there.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
	"vocab.json", "merges.txt", "tokenizer.model",
}

// EnsureDefaults fills in what is empty.
func (o *SaveOptions) EnsureDefaults() {
	if o.Tokenizer == "" {
		o.Tokenizer = o.From
	}
	if o.Dtype == "" {
		o.Dtype = "float32"
	}
}

// Validate names the first value that is wrong.
func (o SaveOptions) Validate() error {
	if safetensorsDtype[o.Dtype] == "" {
		return stillhouse.Invalidf("dtype %q cannot be written: float32, bfloat16 and float16 can", o.Dtype)
	}
	return nil
}

// Save writes a model as a Hugging Face directory that transformers loads: config.json, generation_config.json,
// model.safetensors or its shards, and the tokenizer's files. All of it is first written and synced in a directory beside
// dir. Where dir is not there yet, that directory is renamed: the model is there whole or not at all. Where dir is there,
// its other files stay, its config.json goes first and the new one comes last, so that a save cut off leaves the old
// model, the new one, or a directory that says it is none.
func Save(m *Model, dir string, opts SaveOptions) (err error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return err
	}
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".saving-")
	if err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	if err := writeModel(m, tmp, opts); err != nil {
		return fmt.Errorf("save model: %s: %w", dir, err)
	}
	if err := install(tmp, dir); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	return nil
}

func writeModel(m *Model, dir string, opts SaveOptions) error {
	if file, err := gguf.Find(opts.From); err != nil {
		return err
	} else if file != "" {
		opts.From = "" // its metadata has no key that config.json would keep
	}
	if err := writeWeights(m.Params, dir, safetensorsDtype[opts.Dtype], opts.MaxShardSize); err != nil {
		return err
	}
	config, err := configJSON(m.Config, opts)
	if err != nil {
		return err
	}
	generation, err := generationJSON(m.Config, opts.From)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"config.json": config, "generation_config.json": generation} {
		if err := writeFile(filepath.Join(dir, name), func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
			return err
		}
	}
	if err := copyTokenizer(opts.Tokenizer, dir); err != nil {
		return err
	}
	return syncDir(dir)
}

// copyTokenizer copies the tokenizer's files from a directory, or writes those that a GGUF file's metadata stands for.
func copyTokenizer(from, dir string) error {
	file, err := gguf.Find(from)
	if err != nil {
		return err
	}
	if file != "" {
		f, err := gguf.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		files, err := f.TokenizerFiles()
		if err != nil {
			return err
		}
		for name, text := range files {
			if err := writeFile(filepath.Join(dir, name), func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
				return err
			}
		}
		return nil
	}
	if from == "" {
		return nil
	}
	for _, name := range tokenizerFiles {
		if err := copyFile(filepath.Join(from, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return copyTemplates(filepath.Join(from, moreTemplates), filepath.Join(dir, moreTemplates))
}

// moreTemplates is the folder of a model's chat templates besides the default one.
const moreTemplates = "additional_chat_templates"

func copyTemplates(from, dir string) error {
	files, err := filepath.Glob(filepath.Join(escapeGlob(from), "*.jinja"))
	if err != nil || len(files) == 0 {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		if err := copyFile(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// install puts the files of tmp, which are durable, in the place of dir's.
func install(tmp, dir string) error {
	if err := os.Rename(tmp, dir); err == nil { // dir was not there, or empty
		return syncDir(filepath.Dir(dir))
	}
	old, err := filepath.Glob(filepath.Join(escapeGlob(dir), "model*.safetensors*"))
	if err != nil {
		return err
	}
	for _, path := range append([]string{filepath.Join(dir, "config.json")}, old...) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	names := []string{}
	for _, e := range entries {
		if e.IsDir() { // of chat templates: a folder is not renamed over another
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
		if e.Name() != "config.json" {
			names = append(names, e.Name())
		}
	}
	if err := syncDir(dir); err != nil { // config.json is gone before anything else changes
		return err
	}
	for _, name := range append(names, "config.json") {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// configJSON is the config.json of the directory that the model came from, with what may have changed set; or a new one
// in the spelling that every version of transformers reads.
func configJSON(c Config, opts SaveOptions) ([]byte, error) {
	out := map[string]any{}
	if opts.From != "" {
		if err := readObject(filepath.Join(opts.From, "config.json"), &out); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	fam := families[c.Architecture]
	maps.Copy(out, map[string]any{
		"architectures": []string{c.Architecture}, "model_type": fam.modelType, "vocab_size": c.VocabSize,
		"hidden_size": c.HiddenSize, "intermediate_size": c.IntermediateSize, "num_hidden_layers": c.NumHiddenLayers,
		"num_attention_heads": c.NumAttentionHeads, "num_key_value_heads": c.NumKeyValueHeads, "head_dim": c.HeadDim,
		"rms_norm_eps": float(c.RMSNormEps), "max_position_embeddings": c.MaxPositionEmbeddings,
		"tie_word_embeddings": c.TieWordEmbeddings, "hidden_act": "silu",
	})
	if fam.attentionBias {
		out["attention_bias"] = c.AttentionBias
	}
	if fam.mlpBias {
		out["mlp_bias"] = c.MLPBias
	}
	if fam.sliding {
		out["use_sliding_window"] = false
	}
	for key, id := range map[string]int{"bos_token_id": c.BOSTokenID, "pad_token_id": c.PadTokenID} {
		if out[key] = any(id); id < 0 {
			out[key] = nil
		}
	}
	if _, ok := out["eos_token_id"]; !ok {
		out["eos_token_id"] = eosJSON(c)
	}
	setRope(out, c)
	if _, ok := out["dtype"]; ok {
		out["dtype"] = opts.Dtype
		delete(out, "torch_dtype")
	} else {
		out["torch_dtype"] = opts.Dtype
	}
	return indent(out)
}

func generationJSON(c Config, from string) ([]byte, error) {
	out := map[string]any{}
	if from != "" {
		if err := readObject(filepath.Join(from, "generation_config.json"), &out); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	out["eos_token_id"] = eosJSON(c)
	for key, id := range map[string]int{"bos_token_id": c.BOSTokenID, "pad_token_id": c.PadTokenID} {
		if _, ok := out[key]; !ok && id >= 0 {
			out[key] = id
		}
	}
	return indent(out)
}

func eosJSON(c Config) any {
	switch len(c.EOSTokenIDs) {
	case 0:
		return nil
	case 1:
		return c.EOSTokenIDs[0]
	}
	return slices.Clone(c.EOSTokenIDs)
}

// readObject reads a JSON object whose numbers keep their spelling: transformers tells 0 from 0.0.
func readObject(path string, into *map[string]any) error {
	var text json.RawMessage
	if err := readJSON(path, &text); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return stillhouse.Invalidf("%s: %w", path, err)
	}
	return nil
}

// float writes a number so that Python reads a float.
func float(x float64) json.Number {
	s := strconv.FormatFloat(x, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return json.Number(s)
}

func indent(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return writeFile(to, func(w io.Writer) error { _, err := io.Copy(w, in); return err })
}

// writeFile writes a new file and waits until the disk has it.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Sync()); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
