package reward

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse/internal/testkit"
)

// The reward says of every row of the goldens what the reference says, strict and loose.
func TestIFEvalParity(t *testing.T) {
	type row struct {
		ID            string
		InstructionID string `json:"instruction_id"`
		Kwargs        json.RawMessage
		Response      string
		Strict, Loose bool
	}
	rows := testkit.Lines[row](t, "../../testdata/parity/data/ifeval/checks.jsonl")
	require.Len(t, rows, 380)
	for _, r := range rows {
		meta, err := json.Marshal(map[string]any{"instruction_id_list": []string{r.InstructionID}, "kwargs": []json.RawMessage{r.Kwargs}, "key": 1})
		require.NoError(t, err)
		for mode, want := range map[string]bool{"strict": r.Strict, "loose": r.Loose} {
			c := candidate("p", 0, "", r.Response, 1)
			c.Meta = new(string(meta))
			s := (&IFEval{Mode: mode}).Score(context.Background(), c)
			require.Equal(t, map[bool]string{true: "right", false: "wrong"}[want], s.Verdict, "%s %s: %s", r.ID, mode, s.Evidence)
		}
	}
}

func TestIFEval(t *testing.T) {
	const two = `{"instruction_id_list":["punctuation:no_comma","startend:quotation"],"kwargs":[{},{}]}`
	for _, c := range []struct {
		meta, text, verdict string
		score               float64
		evidence            string
	}{
		{two, `"No pause."`, "right", 1, "2 of 2 followed, strict"}, {two, `No pause.`, "wrong", 0.5, "1 of 2 followed, strict: not startend:quotation"}, {two, `a, b`, "wrong", 0, "0 of 2"}, {two, "", "wrong", 0, "0 of 2"},
		{two, "<think>a, b</think>\"x\"", "right", 1, "2 of 2"}, {two, "<think>a", "unparsable", 0, "never ends"},
		{"", "x", "unparsable", 0, "the row has no instructions"}, {`{}`, "x", "unparsable", 0, "no instruction_id_list"}, {`[`, "x", "unparsable", 0, "no instruction_id_list"}, {`{"instruction_id_list":[],"kwargs":[]}`, "x", "unparsable", 0, "must be a list of instructions"},
		{`{"instruction_id_list":["punctuation:no_comma"]}`, "x", "unparsable", 0, "kwargs is"}, {`{"instruction_id_list":["punctuation:no_comma"],"kwargs":[]}`, "x", "unparsable", 0, "as many objects as there are instructions (1)"},
		{`{"instruction_id_list":["punctuation:no_dash"],"kwargs":[{}]}`, "x", "unparsable", 0, "punctuation:no_dash: there is no such instruction"}, {`{"instruction_id_list":["keywords:existence"],"kwargs":[{"keywords":null}]}`, "x", "unparsable", 0, "its argument keywords"},
		{`{"instruction_id_list":["punctuation:no_comma"],"kwargs":"[{\"num_words\":null}]"}`, "x", "right", 1, "1 of 1"}, {`{"instruction_id_list":"[\"punctuation:no_comma\"]","kwargs":[null]}`, "x", "right", 1, "1 of 1"},
		{`{"instruction_id_list":["keywords:existence"],"kwargs":[{"keywords":["(?=a)"]}]}`, "x", "unparsable", 0, "no regular expression"},
	} {
		row := candidate("p", 0, "", c.text, 1)
		if c.meta != "" {
			row.Meta = &c.meta
		}
		s := (&IFEval{Mode: "strict", Share: true}).Score(context.Background(), row)
		assert.Equal(t, c.verdict, s.Verdict, "%+v: %s", c, s.Evidence)
		require.Equal(t, c.score, s.Score, "%+v", c)
		assert.Contains(t, s.Evidence, c.evidence)
	}
}
