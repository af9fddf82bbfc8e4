package curate

import (
	"encoding/json"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/curate/reward"
	"stillhouse/internal/testkit"
)

var candidate = testkit.Candidate

// someCandidates are the candidates of five prompts: of all kinds that matter to a choice.
func someCandidates() []stillhouse.Candidate {
	return []stillhouse.Candidate{
		candidate("p1", 0, "17", "9+8=17. #### 17", 12),
		candidate("p1", 1, "17", "9+8=16. #### 16", 12),
		candidate("p1", 2, "17", "#### 17", 3),
		candidate("p2", 0, "5", "I don't know.", 4),
		candidate("p2", 1, "5", "#### 6", 3),
		candidate("p3", 0, "1,234", "The answer is 1234.", 60),
		candidate("p3", 1, "1,234", "The answer is 1234.", 90),
		candidate("p4", 0, "", "#### 3", 3),
		candidate("p5", 0, "1/2", `\boxed{0.5}`, 5),
		candidate("p5", 1, "1/2", `\boxed{50\%}`, 5),
	}
}

func demoRewards(t testing.TB) []reward.Entry {
	t.Helper()
	var entries []reward.Entry
	require.NoError(t, json.Unmarshal([]byte(`["math", {"length": {"max_tokens": 40, "weight": 0.1}}]`), &entries))
	return entries
}

func candidateBatch(mem memory.Allocator) arrow.RecordBatch {
	return stillhouse.CandidateBatch(mem, someCandidates())
}
