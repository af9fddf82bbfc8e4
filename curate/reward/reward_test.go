package reward

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse"
)

func FuzzEntry(f *testing.F) {
	for _, s := range []string{"math", "{length: {max_tokens: 40, weight: 0.1}}", "{regex: {pattern: a, negate: true}}", "{math: }", "[1]", "&a {math: *a}", "{math: {<<: {weight: 2}}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var e Entry
		if yaml.Unmarshal([]byte(text), &e) != nil || e.Kind == "" {
			return
		}
		data, err := json.Marshal(e)
		require.NoError(t, err)
		var again Entry
		require.NoError(t, json.Unmarshal(data, &again), "%s", data)
		require.Equal(t, e, again)
	})
}

func TestLength(t *testing.T) {
	l := &Length{MinTokens: 10, MaxTokens: 40}
	for tokens, want := range map[int]float64{1: 0.1, 5: 0.5, 10: 1, 40: 1, 60: 0.5, 80: 0, 1000: 0} {
		s := l.Score(context.Background(), candidate("p", 0, "", "text", tokens))
		require.InDelta(t, want, s.Score, 1e-12, "%d tokens", tokens)
		require.Equal(t, want == 1, s.Verdict == stillhouse.Right)
	}
	require.Equal(t, stillhouse.Unparsable, l.Score(context.Background(), candidate("p", 0, "", "text", 0)).Verdict)
	require.Equal(t, 1.0, (&Length{MaxTokens: 4}).Score(context.Background(), candidate("p", 0, "", "", 0)).Score)
}

func TestRegex(t *testing.T) {
	for _, negate := range []bool{false, true} {
		r, err := Entry{Kind: "regex", Options: &Regex{Pattern: `(?m)^#### \d+$`, Negate: negate}}.New()
		require.NoError(t, err)
		for text, found := range map[string]bool{"a\n#### 12": true, "#### x": false} {
			s := r.Score(context.Background(), candidate("p", 0, "", text, 1))
			require.Equal(t, found != negate, s.Score == 1 && s.Verdict == stillhouse.Right)
		}
	}
}
