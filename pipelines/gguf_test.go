package pipelines

import (
	"context"
	"reflect"
	"testing"

	"stillhouse/internal/student"
)

// A GGUF file can be asked as a directory can, and says the same.
func TestAskGGUF(t *testing.T) {
	ask := func(model string) []Asked {
		out, err := Ask(context.Background(), model, []string{"How are you?"}, AskOptions{MaxTokens: 12, TopP: 1})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	file, dir := ask("../testdata/parity/train/gguf/tiny-llama.F32.gguf"), ask("../testdata/parity/train/models/tiny-llama")
	if !reflect.DeepEqual(file, dir) || file[0].Answer == "" {
		t.Errorf("%+v, not %+v", file, dir)
	}
}

// The type of the weights is refused before anything is loaded, or asked with.
func TestAskWeights(t *testing.T) {
	for _, w := range []student.Weights{"", "f32", "bf16", "q8_0"} {
		out, err := Ask(context.Background(), "../testdata/parity/train/models/tiny-llama", []string{"How are you?"}, AskOptions{MaxTokens: 12, TopP: 1, Weights: w})
		if err != nil || out[0].Answer == "" {
			t.Errorf("%q: %+v, %v", w, out, err)
		}
	}
	const want = `weights "q4": they can be f32, bf16 or q8_0`
	if _, err := Ask(context.Background(), "nowhere", []string{"?"}, AskOptions{Weights: "q4"}); err == nil || err.Error() != want {
		t.Errorf("asking: %v", err)
	}
	if err := Serve(context.Background(), "nowhere", ServeOptions{Weights: "q4"}); err == nil || err.Error() != want {
		t.Errorf("serving: %v", err)
	}
}
