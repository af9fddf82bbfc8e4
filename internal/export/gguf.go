package export

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/gguf"
	"stillhouse/internal/student"
)

var ggufTypes = map[string]gguf.Type{"f32": gguf.F32, "f16": gguf.F16, "bf16": gguf.BF16, "q8_0": gguf.Q8_0, "q4_0": gguf.Q4_0}

// writeGGUF writes NAME-TYPE.gguf and the Modelfile with which Ollama takes it in.
func writeGGUF(m Model, dir string, o Options, r *Report, x *copied) error {
	typ := ggufTypes[o.Dtype]
	tokenizer, err := tokenizerPairs(m)
	if err != nil {
		return stillhouse.Invalidf("%w; --format safetensors keeps the tokenizer as it is", err)
	}
	name := fileName(m.Name) + "-" + typ.String() + ".gguf"
	path := filepath.Join(dir, name)
	err = writeFile(path, func(w io.Writer) error {
		return student.WriteGGUF(w, m.Weights, student.GGUFOptions{Name: m.Name, Type: typ, Tokenizer: tokenizer})
	})
	if err != nil {
		return err
	}
	text, notes, err := modelfile(m, name)
	if err != nil {
		return err
	}
	r.Notes = append(r.Notes, notes...)
	x.tokens = path
	x.load = func() (*student.Model, error) { return student.Load(path) }
	x.round = func() error { return student.RoundGGUF(m.Weights, typ) }
	return writeFile(filepath.Join(dir, "Modelfile"), func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
}

// tokenizerPairs is the tokenizer's metadata with the model's own tokens that end an answer, where they are others than
// the tokenizer's.
func tokenizerPairs(m Model) ([]gguf.Pair, error) {
	v := m.Tokenizer.Vocabulary(m.Weights.Config.VocabSize)
	ends := slices.Clone(m.Weights.Config.EOSTokenIDs)
	if v.EOS < 0 && len(ends) > 0 {
		v.EOS = ends[0]
	}
	ends = slices.DeleteFunc(ends, func(id int) bool { return id == v.EOS })
	pairs, err := v.Pairs()
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"eot", "eom"} {
		if len(ends) > 0 {
			pairs = append(pairs, gguf.Pair{Key: "tokenizer.ggml." + key + "_token_id", Value: uint32(ends[0])})
			ends = ends[1:]
		}
	}
	if len(ends) > 0 {
		return nil, fmt.Errorf("more than three tokens end an answer, which GGUF cannot say")
	}
	return pairs, nil
}

// fileName is a name without what paths and Modelfiles take for something else.
func fileName(name string) string {
	name = strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c) {
			return c
		}
		return '-'
	}, name)
	if name = strings.Trim(name, ".-"); name == "" {
		return "model"
	}
	return name
}

// stops are the texts of the tokens that end an answer.
func stops(m Model) (out []string) {
	ids := []int32{m.Tokenizer.EOS()}
	for _, id := range m.Weights.Config.EOSTokenIDs {
		ids = append(ids, int32(id))
	}
	for _, id := range ids {
		if text := m.Tokenizer.Token(id); text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// render is a conversation in the model's own template, without a beginning-of-sequence token that the tokenizer adds.
func render(m Model, prompt bool, messages ...chat.Message) (string, error) {
	text, err := m.Tokenizer.Render(messages, chat.RenderOptions{AddGenerationPrompt: prompt})
	if err != nil {
		return "", err
	}
	if bos, ok := m.Tokenizer.BOS(); ok && slices.Contains(m.Tokenizer.EncodeWithSpecial(""), bos) {
		text = strings.TrimPrefix(text, m.Tokenizer.Token(bos))
	}
	return text, nil
}
