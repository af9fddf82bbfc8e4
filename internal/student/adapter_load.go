package student

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"stillhouse"
	"stillhouse/internal/hub"
)

const adapterWeights = "adapter_model.safetensors"

// baseKey is where the metadata of our adapters' weights says which base they were trained on.
const baseKey = "base_fingerprint"

// LoadAdapter reads a PEFT adapter directory: adapter_config.json and adapter_model.safetensors in F32, BF16 or F16. Which
// tensors it must have depends on the base: [Adapter.Fits], [Model.Attach] and [Adapter.Merge] check that.
func LoadAdapter(dir string) (*Adapter, error) {
	c, err := readAdapterConfig(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, adapterWeights)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, stillhouse.Invalidf("%s: there is no such file: an adapter's weights are read in the safetensors format only", path)
	}
	weights, err := hub.OpenSafetensors(path)
	if err != nil {
		return nil, err
	}
	defer weights.Close()
	a := &Adapter{Config: c, base: weights.Metadata[baseKey]}
	for _, name := range weights.Names() {
		t := weights.Tensor(name)
		p := &Param{Name: plainName(name), Shape: t.Shape, Data: make([]float32, t.Len())}
		if err := t.Floats(p.Data); err != nil {
			return nil, err
		}
		if i := notFinite(p.Data); i >= 0 {
			return nil, stillhouse.Invalidf("%s: tensor %s: element %d is %v: the adapter that was saved had diverged", path, name, i, p.Data[i])
		}
		a.Params = append(a.Params, p)
	}
	return a, nil
}

// plainName is a tensor's name as PEFT writes it since 0.5; older ones name a magnitude's tensor weight.
func plainName(name string) string {
	if s, ok := strings.CutSuffix(name, suffixMagnitude+".weight"); ok {
		return s + suffixMagnitude
	}
	return name
}

// OpenStudent reads a model, or a base and its adapter where dir is an adapter directory; resolve finds the directory of
// the base by what the adapter calls it. It returns the directory of the base too, which is dir for a model.
func OpenStudent(dir string, resolve func(base string) (string, error)) (m *Model, base string, err error) {
	if !IsAdapter(dir) {
		m, err := Load(dir)
		return m, dir, err
	}
	a, err := LoadAdapter(dir)
	if err != nil {
		return nil, "", err
	}
	name, err := baseOf(dir, a.Config)
	if err != nil {
		return nil, "", err
	}
	if base, err = resolve(name); err != nil {
		return nil, "", fmt.Errorf("the base of the adapter in %s: %w", dir, err)
	}
	if IsAdapter(base) {
		return nil, "", stillhouse.Invalidf("%s: its base %s is an adapter itself: merge that one first", dir, base)
	}
	if m, err = Load(base); err != nil {
		return nil, "", fmt.Errorf("the base of the adapter in %s: %w", dir, err)
	}
	if err := m.Attach(a); err != nil {
		return nil, "", fmt.Errorf("%s: %w", dir, err)
	}
	return m, base, nil
}

// Save writes the adapter as a directory that PEFT loads: adapter_config.json and adapter_model.safetensors in float32.
// Other files that are in dir stay. adapter_config.json goes first and comes last, so that a save cut off leaves a
// directory that says it is no adapter.
func (a *Adapter) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("save adapter: %w", err)
	}
	if err := a.write(dir); err != nil {
		return fmt.Errorf("save adapter: %s: %w", dir, err)
	}
	return nil
}

func (a *Adapter) write(dir string) error {
	config, err := a.Config.json()
	if err != nil {
		return err
	}
	var tensors []hub.FloatTensor
	for _, p := range a.Params {
		tensors = append(tensors, hub.FloatTensor{Name: p.Name, Shape: p.Shape, Data: p.Data})
	}
	metadata := map[string]string{}
	if a.base != "" {
		metadata[baseKey] = a.base
	}
	for _, name := range []string{AdapterConfigFile, adapterWeights} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := writeFile(filepath.Join(dir, adapterWeights), func(w io.Writer) error { return hub.WriteSafetensorsWith(w, "F32", metadata, tensors) }); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, AdapterConfigFile), func(w io.Writer) error { _, err := w.Write(config); return err }); err != nil {
		return err
	}
	return syncDir(dir)
}

// CopyTokenizer copies the tokenizer's files of a model directory into another, over those that are there.
func CopyTokenizer(from, to string) error {
	for _, name := range tokenizerFiles {
		if err := os.Remove(filepath.Join(to, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(to, moreTemplates)); err != nil {
		return err
	}
	return copyTokenizer(from, to)
}

// TokenizerDir is the directory of a student's tokenizer: the adapter's own where it has one, else that of its base.
func TokenizerDir(dir, base string) string {
	if _, err := os.Stat(filepath.Join(dir, "tokenizer.json")); err != nil && IsAdapter(dir) {
		return base
	}
	return dir
}
