package curate

import (
	"bufio"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

var update = flag.Bool("update", false, "write the golden tables anew")

// readLines decodes a file of JSON lines.
func readLines[T any](t testing.TB, path string) (out []T) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var v T
		require.NoError(t, json.Unmarshal(s.Bytes(), &v), "%s", path)
		out = append(out, v)
	}
	require.NoError(t, s.Err())
	require.NotEmpty(t, out, "%s", path)
	return out
}

// golden compares text with a file that -update writes.
func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strings.Split(string(want), "\n"), strings.Split(text, "\n"))
}

// candidate is one answer to a prompt with the reference answer ref.
func candidate(id string, sample int, ref, text string, tokens int) stillhouse.Candidate {
	c := stillhouse.Candidate{Sample: int32(sample), FinishReason: "stop", CompletionTokens: int32(tokens), Model: "m", RequestKey: id,
		Completion: []stillhouse.Message{{Role: "assistant", Content: text}}}
	c.ID, c.Prompt.Prompt = id, []stillhouse.Message{{Role: "user", Content: "How many, " + id + "?"}}
	if ref != "" {
		c.Reference = &ref
	}
	return c
}

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

func demoRewards(t testing.TB) []RewardEntry {
	t.Helper()
	var entries []RewardEntry
	require.NoError(t, json.Unmarshal([]byte(`["math", {"length": {"max_tokens": 40, "weight": 0.1}}]`), &entries))
	return entries
}

func candidateBatch(mem memory.Allocator) arrow.RecordBatch {
	return stillhouse.CandidateBatch(mem, someCandidates())
}
