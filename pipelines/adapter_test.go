package pipelines

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stillhouse/internal/export"
	"stillhouse/internal/student"
)

const goldens = "../testdata/parity/train/"

// adapterStudent is an adapter directory beside its base, which it calls by a relative path, without a tokenizer.
func adapterStudent(t *testing.T, run, base string) string {
	t.Helper()
	parent := t.TempDir()
	dir := filepath.Join(parent, "student")
	for to, from := range map[string]string{dir: "sft/" + run + "/adapter_final", filepath.Join(dir, base): "models/" + base} {
		if err := os.CopyFS(to, os.DirFS(goldens+from)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A student that is an adapter directory is asked as the model is that it makes of its base.
func TestAskAdapter(t *testing.T) {
	for run, base := range map[string]string{"g-dora": "tiny-llama", "m-qwen3-lora": "tiny-qwen3"} {
		dir := adapterStudent(t, run, base)
		ask := func(model string) []Asked {
			out, err := Ask(context.Background(), model, []string{"How are you?"}, AskOptions{MaxTokens: 12, TopP: 1})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		merged := filepath.Join(t.TempDir(), "merged")
		r, err := ExportModel(context.Background(), dir, merged, export.Options{Format: export.Safetensors, Dtype: "f32"})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(r.Files, func(f export.File) bool { return f.Name == "tokenizer.json" }) {
			t.Errorf("%+v: the tokenizer is not there", r.Files)
		}
		answers := ask(dir)
		if !reflect.DeepEqual(answers, ask(merged)) || reflect.DeepEqual(answers, ask(goldens+"models/"+base)) {
			t.Errorf("%s: %+v, merged %+v, the base %+v", run, answers, ask(merged), ask(goldens+"models/"+base))
		}
		m, err := student.Load(merged)
		if err != nil {
			t.Fatal(err)
		}
		want, err := student.Load(goldens + "models/" + base)
		if err != nil {
			t.Fatal(err)
		}
		a, err := student.LoadAdapter(dir)
		if err == nil {
			err = a.Merge(want)
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range want.Params {
			if !slices.Equal(p.Data, m.Params[i].Data) {
				t.Errorf("%s: %s was not exported as it is merged", run, p.Name)
			}
		}
	}
}

// The identity of a teacher changes with its adapter.
func TestAdapterIdentity(t *testing.T) {
	dir := adapterStudent(t, "g-lora", "tiny-llama")
	base, err := fingerprint(filepath.Join(dir, "tiny-llama"), "")
	if err != nil {
		t.Fatal(err)
	}
	with, err := fingerprint(filepath.Join(dir, "tiny-llama"), dir)
	if err != nil || with == base {
		t.Errorf("%s with an adapter, %s without, %v", with, base, err)
	}
}

func TestAdapterWithoutItsBase(t *testing.T) {
	dir := adapterStudent(t, "g-lora", "tiny-llama")
	if err := os.Rename(filepath.Join(dir, "tiny-llama"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HF_HUB_OFFLINE", "1")
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	_, err := loadModel(context.Background(), dir, student.WeightsF32)
	if err == nil || !strings.Contains(err.Error(), "the base of the adapter in "+dir) {
		t.Errorf("%v", err)
	}
}
