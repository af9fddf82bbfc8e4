package export

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"stillhouse"
	"stillhouse/internal/student"
)

// adapted is the tiny model with an adapter that PEFT has trained.
func adapted(t *testing.T, run string) Model {
	t.Helper()
	m := tiny(t)
	a, err := student.LoadAdapter(parity + "sft/" + run + "/adapter_final")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Weights.Attach(a); err != nil {
		t.Fatal(err)
	}
	m.Name = run
	return m
}

func TestAdapters(t *testing.T) {
	for _, run := range []string{"g-lora", "g-rslora", "g-dora"} {
		for _, o := range []Options{{Format: PEFT}, {Format: Merged}, {Format: Merged, Dtype: "bf16"}, {Format: Safetensors}, {Format: GGUF, Dtype: "f32"}, {Format: GGUF, Dtype: "q8_0"}} {
			dir, r := export(t, adapted(t, run), o)
			c := r.Comparison
			// Merged and apart, an adapter computes the same but for rounding; what is stored apart is the same.
			exact, rounded := o.Format == PEFT, o.Dtype == "bf16" || o.Dtype == "q8_0"
			if c.MaxDiff != 0 || (c.MaxDiffUnrounded == 0) != exact || (c.MaxDiffUnrounded > 1e-4) != rounded {
				t.Errorf("%s as %s %s: %+v", run, o.Format, o.Dtype, c)
			}
			if student.IsAdapter(dir) != exact || len(r.Notes) > 0 {
				t.Errorf("%s as %s: an adapter: %t, notes %q", run, o.Format, student.IsAdapter(dir), r.Notes)
			}
		}
	}
}

// A stored adapter finds its base from wherever it lies, by an absolute path where it was trained on a local directory.
func TestAdapterFindsItsBase(t *testing.T) {
	for name, base := range map[string]string{"none": "", "local": parity + "models/tiny-llama", "on the Hub": "org/tiny-llama"} {
		m := adapted(t, "g-lora")
		m.Weights.Adapter.Config.Base = base
		dir, _ := export(t, m, Options{Format: PEFT})
		a, err := student.LoadAdapter(dir)
		if err != nil {
			t.Fatal(err)
		}
		if local := base != "org/tiny-llama"; local != filepath.IsAbs(a.Config.Base) || !strings.HasSuffix(a.Config.Base, "tiny-llama") {
			t.Errorf("%s: the base is %q", name, a.Config.Base)
		}
	}
}

func TestAdapterOnGGUF(t *testing.T) {
	m := load(t, parity+"gguf/tiny-llama.F32.gguf")
	a, err := student.LoadAdapter(parity + "sft/g-lora/adapter_final")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Weights.Attach(a); err != nil {
		t.Fatal(err)
	}
	if _, r := export(t, m, Options{Format: PEFT}); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "is a GGUF file, which peft does not load") {
		t.Errorf("%q", r.Notes)
	}
}

func TestNoAdapter(t *testing.T) {
	for _, o := range []Options{{Format: Merged}, {Format: PEFT}, {Format: PEFT, Dtype: "bf16"}} {
		_, err := Write(context.Background(), tiny(t), filepath.Join(t.TempDir(), "out"), o)
		if stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), o.Format) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
