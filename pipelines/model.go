package pipelines

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/hub"
	"stillhouse/internal/serve"
	"stillhouse/internal/student"
)

// loaded is a model that can be asked.
type loaded struct {
	dir       string // of the model; of an adapter's base
	adapter   string // the adapter's directory, "" for a model
	tokens    string // the directory of the tokenizer
	tokenizer *chat.Tokenizer
	model     *student.Model
	generator *student.Generator
	stop      []int32 // the tokens that end an answer
}

// loadModel loads a model by its directory, its GGUF file or its name on the Hub, to be asked with weights of a type. A
// directory that is an adapter is its base with the adapter merged.
func loadModel(ctx context.Context, nameOrPath string, weights student.Weights) (*loaded, error) {
	if err := weights.Validate(); err != nil {
		return nil, err
	}
	l, err := loadWeights(ctx, nameOrPath)
	if err != nil {
		return nil, err
	}
	if l.model, err = l.model.Merged(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.generator = student.NewGenerator(l.model, student.GeneratorOptions{Weights: weights})
	return l, nil
}

// loadWeights loads a model that is not to be asked, with its adapter apart.
func loadWeights(ctx context.Context, nameOrPath string) (*loaded, error) {
	dir, err := hub.Resolve(ctx, nameOrPath, hub.Options{})
	if err != nil {
		return nil, err
	}
	l := &loaded{}
	l.model, l.dir, err = student.OpenStudent(dir, func(base string) (string, error) { return hub.Resolve(ctx, base, hub.Options{}) })
	if err != nil {
		return nil, err
	}
	if dir != l.dir {
		l.adapter = dir
	}
	l.tokens = student.TokenizerDir(dir, l.dir)
	if l.tokenizer, err = chat.Load(l.tokens); err != nil {
		return nil, err
	}
	if last, size := int(l.tokenizer.MaxID()), l.model.Config.VocabSize; last >= size {
		_ = l.tokenizer.Close()
		return nil, stillhouse.Invalidf("the tokenizer in %s has the token id %d, but the model's vocabulary has %d tokens: they do not belong together", l.tokens, last, size)
	}
	l.stop = stopTokens(l.model, l.tokenizer)
	return l, nil
}

func (l *loaded) Close() error {
	if l.generator != nil {
		l.generator.Close()
	}
	return l.tokenizer.Close()
}

// stopTokens are the tokens that the model's configuration and its tokenizer call the end.
func stopTokens(m *student.Model, tok *chat.Tokenizer) []int32 {
	stop := []int32{tok.EOS()}
	for _, id := range m.Config.EOSTokenIDs {
		if int32(id) != tok.EOS() {
			stop = append(stop, int32(id))
		}
	}
	return stop
}

// AskOptions say how questions are asked.
type AskOptions struct {
	MaxTokens         int
	Temperature, TopP float64
	Seed              uint64
	System            string
	Thinking          bool
	Weights           student.Weights
}

// An Asked is a question and its answer.
type Asked struct {
	Question     string `json:"question"`
	Answer       string `json:"answer"`
	FinishReason string `json:"finish_reason"`
}

// Ask asks a model questions, each on its own.
func Ask(ctx context.Context, model string, questions []string, o AskOptions) ([]Asked, error) {
	m, err := loadModel(ctx, model, o.Weights)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	var out []Asked
	for _, q := range questions {
		ms := []chat.Message{{Role: "user", Content: q}}
		if o.System != "" {
			ms = append([]chat.Message{{Role: "system", Content: o.System}}, ms...)
		}
		text, err := m.tokenizer.Render(ms, chat.RenderOptions{AddGenerationPrompt: true, Vars: map[string]any{"enable_thinking": o.Thinking}})
		if err != nil {
			return nil, err
		}
		done, err := m.generator.Generate(ctx, student.Request{Tokens: m.tokenizer.Encode(text), N: 1, MaxTokens: o.MaxTokens,
			Temperature: o.Temperature, TopP: o.TopP, Seed: o.Seed, Stop: m.stop}, nil)
		if err != nil {
			return nil, fmt.Errorf("ask %q: %w", q, err)
		}
		reason := "length"
		if done[0].Stopped {
			reason = "stop"
		}
		out = append(out, Asked{Question: q, Answer: m.tokenizer.Decode(done[0].Tokens, true), FinishReason: reason})
	}
	return out, nil
}

// ServeOptions say where a model is served.
type ServeOptions struct {
	Host string
	Port int
	Name string
	// AllowRemote lets other machines ask, when Host is an address that they reach. The server asks for no key.
	AllowRemote bool
	Weights     student.Weights
	UI          UI
}

// Serve serves a model until ctx ends.
func Serve(ctx context.Context, model string, o ServeOptions) error {
	if err := o.Weights.Validate(); err != nil {
		return err
	}
	m, err := loadWeights(ctx, model)
	if err != nil {
		return err
	}
	defer m.Close()
	if o.Name == "" {
		o.Name = filepath.Base(filepath.Clean(model))
	}
	s := serve.New(serve.Options{Model: m.model, Tokenizer: m.tokenizer, Name: o.Name, AllowRemote: o.AllowRemote, Weights: o.Weights})
	defer s.Close()
	url, wait, err := s.Listen(ctx, net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		return err
	}
	o.UI.say("Serving %s at %s (Ctrl-C ends it).", o.Name, url)
	return wait()
}

// embeddedModels is where the models lie that come with the program.
const embeddedModels = "testdata/models"

// embedded finds the model that `endpoint: embedded` names: a directory, one that comes with the program, or a name on
// the Hub.
func embedded(name string) string {
	if student.IsModel(name) || student.IsAdapter(name) {
		return name
	}
	for _, root := range append([]string{"."}, besideProgram()...) {
		if dir := filepath.Join(root, embeddedModels, name); filepath.IsLocal(name) && exists(filepath.Join(dir, "config.json")) {
			return dir
		}
	}
	return name
}

// besideProgram is the project's folder when the program was started from its bin/.
func besideProgram() []string {
	exe, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{filepath.Dir(filepath.Dir(exe))}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
