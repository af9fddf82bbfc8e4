package export

import (
	"fmt"
	"os"
	"path/filepath"

	"stillhouse/internal/gguf"
	"stillhouse/internal/student"
)

// merge adds the model's adapter to its weights, in place.
func merge(m *student.Model) error {
	a := m.Adapter
	if a == nil {
		return nil
	}
	m.Adapter = nil
	return a.Merge(m)
}

// writeAdapter writes the adapter as PEFT's directory, with the tokenizer and the chat template. What its configuration
// calls the base stays; a local path is made absolute, so that the directory can lie anywhere on the machine.
func writeAdapter(m Model, dir string, r *Report, x *copied) error {
	a := *m.Weights.Adapter
	if info, err := os.Stat(m.Dir); err == nil && a.Config.Base != "" {
		// A name on the Hub is none of this machine's paths, though the base lies in a folder of the cache.
		if named, err := os.Stat(a.Config.Base); err == nil && os.SameFile(info, named) {
			if a.Config.Base, err = filepath.Abs(a.Config.Base); err != nil {
				return err
			}
		}
	}
	if a.Config.Base == "" {
		var err error
		if a.Config.Base, err = filepath.Abs(m.Dir); err != nil {
			return err
		}
	}
	if file, err := gguf.Find(m.Dir); err == nil && file != "" {
		r.Notes = append(r.Notes, fmt.Sprintf("the adapter's base %s is a GGUF file, which peft does not load: export the base as safetensors, and set base_model_name_or_path in adapter_config.json", file))
	}
	if err := a.Save(dir); err != nil {
		return err
	}
	if err := student.CopyTokenizer(m.TokenizerDir, dir); err != nil {
		return err
	}
	x.load = func() (*student.Model, error) {
		back, _, err := student.OpenStudent(dir, func(string) (string, error) { return m.Dir, nil })
		return back, err
	}
	x.round = func() error { return nil }
	return nil
}
