package distill

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/chat"
	"stillhouse/internal/serve"
	"stillhouse/internal/student"
)

// The server that comes with this program, asked in one piece and streamed.
func TestOwnServer(t *testing.T) {
	const dir = "../testdata/parity/train/models/tiny-llama"
	model, err := student.Load(dir)
	require.NoError(t, err)
	tokenizer, err := chat.Load(dir)
	require.NoError(t, err)
	server := serve.New(serve.Options{Model: model, Tokenizer: tokenizer, Name: "tiny"})
	url, wait, err := server.Listen(context.Background(), "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		assert.NoError(t, wait())
		assert.NoError(t, tokenizer.Close())
	})
	ask := func(change func(*Distill)) result {
		d := newStage(t, nil, func(d *Distill) { d.Endpoint, d.Model, d.Samples, d.MaxTokens, d.LogProbs = url, "tiny", 3, 12, true }, change)
		return mustRun(t, d, questions(3))
	}
	want := ask(func(*Distill) {})
	require.Len(t, want.Rows, 9)
	assert.Empty(t, cmp.Diff(want, ask(streamed)))
	for _, c := range want.Rows {
		assert.NotEmpty(t, c.LogProbs)
		assert.Positive(t, c.PromptTokens)
		assert.Equal(t, "tiny", c.Model)
		assert.Nil(t, c.CachedTokens)
	}
}
