package pipelines

import (
	"context"
	"reflect"
	"testing"
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
