package pipelines

import (
	"context"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// TestAnswerConforms holds the stage that asks a student against the contract: one prompt of the four is longer than
// the model's context and fails alone, once for each of its answers.
func TestAnswerConforms(t *testing.T) {
	m, err := loadModel(context.Background(), "../testdata/models/demo-base", "")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	prompts := []string{
		"Zoe starts with 54 plums. She buys 27 more. How many plums does she have?",
		strings.Repeat("She buys 27 more. ", 200),
		"Leo starts with 48 books. He finds 15 more. How many books does he have?",
		"Mia starts with 12 books. She finds 15 more. How many books does she have?",
	}
	testkit.Conform(t, testkit.Case{
		New: func() stillhouse.Stage {
			return &Answer{Samples: 2, Temperature: 1, TopP: 1, MaxTokens: 12, Seed: 5, Model: "base"}
		},
		Join: func(s stillhouse.Stage) { s.(*Answer).model = m },
		Input: func(mem memory.Allocator) arrow.RecordBatch {
			var rows []stillhouse.Prompt
			for i, p := range prompts {
				rows = append(rows, stillhouse.Prompt{ID: string(rune('a' + i)), Prompt: []stillhouse.Message{{Role: "user", Content: p}}, Source: "test"})
			}
			return stillhouse.PromptBatch(mem, rows)
		},
		Needs:   stillhouse.Needed(stillhouse.PromptSchema),
		Output:  stillhouse.CandidateSchema,
		Account: &stillhouse.Account{In: 12, Kept: 9, Dropped: map[string]int64{}, Failed: map[string]int64{"invalid": 3}},
	})
}
