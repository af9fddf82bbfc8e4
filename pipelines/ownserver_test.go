package pipelines

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
	"stillhouse/distill"
	"stillhouse/internal/chat"
	"stillhouse/internal/serve"
	"stillhouse/internal/student"
	"stillhouse/internal/testkit"
)

// The server that comes with this program, asked in one piece and streamed: the rows are the same.
func TestOwnServerStreamed(t *testing.T) {
	const dir = "../testdata/parity/train/models/tiny-llama"
	model, err := student.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, err := chat.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tokenizer.Close()
	server := serve.New(serve.Options{Model: model, Tokenizer: tokenizer, Name: "tiny"})
	defer server.Close()
	url, _, err := server.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var prompts []stillhouse.Prompt
	for i := range 3 {
		prompts = append(prompts, stillhouse.Prompt{ID: fmt.Sprint(i), Prompt: []stillhouse.Message{{Role: "user", Content: fmt.Sprint("Say ", i)}}})
	}
	ask := func(stream bool) []stillhouse.Candidate {
		d := &distill.Distill{Options: distill.Options{Endpoint: url, Identity: "tiny", Model: "tiny", Samples: distill.Exactly(3), MaxTokens: 12,
			Store: filepath.Join(t.TempDir(), "store.db"), AnswerOptions: distill.AnswerOptions{Stream: stream, LogProbs: true}}}
		defer d.Close()
		sink := &testkit.MemorySink{}
		in := testkit.NewMemorySource(stillhouse.PromptSchema, stillhouse.PromptBatch(memory.DefaultAllocator, prompts))
		if _, err := stillhouse.Run(context.Background(), in, d, sink, stillhouse.Options{}); err != nil {
			t.Fatal(err)
		}
		rows, err := stillhouse.Candidates(sink.Shards()[0].Kept)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	want := ask(false)
	if d := cmp.Diff(want, ask(true)); d != "" || len(want) != 9 {
		t.Errorf("%d rows: %s", len(want), d)
	}
	for _, c := range want {
		if len(c.LogProbs) == 0 || c.PromptTokens == 0 || c.Model != "tiny" || c.CachedTokens != nil {
			t.Errorf("sample %d: %d log-probabilities, %d prompt tokens, model %q, cached tokens %v", c.Sample, len(c.LogProbs), c.PromptTokens, c.Model, c.CachedTokens)
		}
	}
}
