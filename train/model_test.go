package train

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stillhouse"
)

// A student whose tokenizer has ids beyond the model's vocabulary is refused before anything is trained, and so is one
// whose weights are not numbers.
func TestStudentRefused(t *testing.T) {
	copied := func(from string, files ...string) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(tiny)); err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(filepath.Join(from, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	small := copied("../testdata/models/demo-base", "config.json", "generation_config.json", "model.safetensors")
	broken := copied(tiny)
	path := filepath.Join(broken, "model.safetensors")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(text[len(text)-4:], []byte{0, 0, 0xc0, 0x7f})
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{small: "vocabulary has 86 tokens: they do not belong together", broken: "is NaN: the model that was saved had diverged"} {
		o := pasted(t, "{max_steps: 1, data: {path: "+golden+"sft/data/pc-20.jsonl}}")
		o.Student = dir
		if _, err := Run(context.Background(), o, t.TempDir(), UI{}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%v, not %q", err, want)
		}
	}
}
