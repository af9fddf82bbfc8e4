package prompts

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Prompts with tool calls keep them, apart from the messages that everything reads; others have no such column, and the
// ids that they have always had.
func TestPromptsWithToolCalls(t *testing.T) {
	const calls = `{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"4"}`
	got, err := read(Rows{System: "s", Path: Paths{lines(t, `{"prompt":[{"role":"user","content":"a"}],"s":"Be brief."}`, `{"prompt":[{"role":"user","content":"a"},`+calls+`],"s":"Be brief."}`,
		`{"prompt":[{"role":"user","content":"a"},{"role":"assistant","content":""},{"role":"tool","content":"4"}],"s":"Be brief."}`)}})
	require.NoError(t, err)
	require.Len(t, got.Rows, 3)
	assert.Nil(t, got.Rows[0].Messages)
	assert.Nil(t, got.Rows[2].Messages)
	assert.Equal(t, `[{"role":"system","content":"Be brief."},{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function",`+
		`"function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"4","tool_call_id":"c"}]`, *got.Rows[1].Messages)
	assert.Len(t, got.Rows[1].Prompt, 4)
	assert.NotEqual(t, got.Rows[1].ID, got.Rows[2].ID, "the calls are part of what a prompt is")
	assert.Equal(t, "6c33e00b27602b7bc6f8512df2e3ac39", got.Rows[0].ID)
}

// Examples and prompts keep their tool calls in each other's company.
func TestExamplesWithToolCalls(t *testing.T) {
	const called = `[{"role":"system","content":"S"},{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"4"}]`
	plain := lines(t, `{"prompt":[{"role":"system","content":"T"},{"role":"user","content":"b"}],"answer":"B"}`)
	tools := lines(t, `{"prompt":`+called+`,"answer":"C"}`)
	const turns = `{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"4","tool_call_id":"c"}`
	for _, tc := range []struct{ path, examples, full string }{
		{plain, tools, `[{"role":"system","content":"T"},` + turns + `,{"role":"assistant","content":"C"},{"role":"user","content":"b"}]`},
		{tools, plain, `[{"role":"system","content":"S"},{"role":"user","content":"b"},{"role":"assistant","content":"B"},` + turns + `]`},
	} {
		got, err := read(Rows{Path: Paths{tc.path}, Reference: "answer", FewShot: &FewShot{Count: 1, Path: Paths{tc.examples}}})
		require.NoError(t, err)
		p := got.Rows[0]
		require.NotNil(t, p.Messages)
		assert.Equal(t, tc.full, *p.Messages)
		assert.Len(t, p.Prompt, 6)
	}
	_, err := read(Rows{Path: Paths{tools}, Reference: "answer", FewShot: &FewShot{Count: 1, Path: Paths{tools}}})
	require.ErrorContains(t, err, "there are only 0 besides itself", "a row is told by its turns in full")
}
