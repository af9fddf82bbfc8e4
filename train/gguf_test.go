package train

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"stillhouse/internal/student"
)

// A student from a GGUF file of the same weights is trained to the same model, to the bit, and saved as a directory with
// the file's tokenizer and chat template.
func TestStudentFromGGUF(t *testing.T) {
	fit := func(from string) (*Student, *student.Model) {
		o := pasted(t, "{max_steps: 2, per_device_train_batch_size: 2}")
		o.Student = from
		s := load(t, o)
		enc, err := NewEncoder(o, s.Tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		examples, _, err := enc.EncodeRows(context.Background(), readAll(t, Data{Path: golden + "sft/data/messages.jsonl"}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Fit(context.Background(), o, s.Model, examples, Hooks{Now: ticking()}); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "student")
		if err := s.Save(dir); err != nil {
			t.Fatal(err)
		}
		o.Student = dir
		saved := load(t, o)
		if saved.Tokenizer.Template() != s.Tokenizer.Template() {
			t.Errorf("%s: the chat template was not saved", from)
		}
		return saved, s.Model
	}
	fromFile, a := fit("../testdata/parity/train/gguf/tiny-llama.F32.gguf")
	fromDir, b := fit(tiny)
	if !reflect.DeepEqual(a.Params, b.Params) || !reflect.DeepEqual(fromFile.Model.Params, a.Params) {
		t.Error("the students differ")
	}
	if !reflect.DeepEqual(fromFile.Model.Config, fromDir.Model.Config) {
		t.Errorf("%+v, not %+v", fromFile.Model.Config, fromDir.Model.Config)
	}
}

// The shape of a GGUF file is enough to draw new weights.
func TestFromScratchGGUF(t *testing.T) {
	o := pasted(t, "{from_scratch: true}")
	o.Student = "../testdata/parity/train/gguf/tiny-llama.Q4_0.gguf"
	if s := load(t, o); len(s.Model.Params) != 29 {
		t.Errorf("%d parameters", len(s.Model.Params))
	}
}
