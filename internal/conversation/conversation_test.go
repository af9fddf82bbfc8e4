package conversation

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

func decode(t testing.TB, text string) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

func TestRead(t *testing.T) {
	type ms = []stillhouse.Message
	for name, tc := range map[string]struct {
		in   string
		want ms
		full string
	}{
		"a text":   {`"a"`, ms{{Role: "user", Content: "a"}}, ""},
		"messages": {`[{"role":"system","content":"s"},{"role":"user","content":"a","weight":0}]`, ms{{Role: "system", Content: "s"}, {Role: "user", Content: "a"}}, ""},
		"nulls":    {`[{"role":"user","content":"a","name":null,"tool_calls":null,"tool_call_id":null}]`, ms{{Role: "user", Content: "a"}}, ""},
		"parts":    {`[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]`, ms{{Role: "user", Content: "ab"}}, ""},
		"calls": {`[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"function":{"arguments":{"x": 1},"name":"f"},"id":"c"}]},{"role":"tool","tool_call_id":"c","content":"4"}]`,
			ms{{Role: "user", Content: "a"}, {Role: "assistant"}, {Role: "tool", Content: "4"}},
			`[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},{"role":"tool","content":"4","tool_call_id":"c"}]`},
		"calls as a text": {`[{"role":"assistant","content":"","tool_calls":"[{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]"},{"role":"tool","content":"4"}]`,
			ms{{Role: "assistant"}, {Role: "tool", Content: "4"}},
			`[{"role":"assistant","content":"","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","content":"4"}]`},
		"a name": {`[{"content":"a","name":"Ann","role":"user"}]`, ms{{Role: "user", Content: "a"}}, `[{"role":"user","content":"a","name":"Ann"}]`},
		"thoughts": {`[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"hm"},{"role":"user","content":"c"}]`,
			ms{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}, {Role: "user", Content: "c"}},
			`[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"hm"},{"role":"user","content":"c"}]`},
	} {
		got, full, err := Read(decode(t, tc.in))
		require.NoError(t, err, name)
		assert.Empty(t, cmp.Diff(tc.want, got), name)
		if tc.full == "" {
			assert.Nil(t, full, name)
		} else if assert.NotNil(t, full, name) {
			assert.Equal(t, tc.full, *full, name)
		}
	}
	for in, says := range map[string]string{
		`null`: "there is no prompt", `" "`: "the prompt is empty", `7`: "the prompt is a number", `[]`: "without messages", `[7]`: "message 0 is a number",
		`[{"role":"user"}]`:                                                      "message 0 has nothing as its content",
		`[{"role":"user","content":7}]`:                                          "message 0 has a number as its content",
		`[{"role":"user","content":[]}]`:                                         "message 0 has a list as its content",
		`[{"role":"user","content":[{"type":"image"}]}]`:                         "message 0 has a list as its content",
		`[{"role":"bot","content":"a"}]`:                                         "message 0 has the role bot",
		`[{"role":"user","content":"a","name":7}]`:                               "message 0 has a number as its name",
		`[{"role":"assistant","content":"a"}]`:                                   "ends with the assistant's turn",
		`[{"role":"user","content":" "}]`:                                        "the last message has no text",
		`[{"role":"assistant","tool_calls":{}},{"role":"user","content":"a"}]`:   "message 0 has an object as its tool_calls",
		`[{"role":"assistant","tool_calls":"[1"},{"role":"user","content":"a"}]`: "message 0 has tool_calls that are not JSON",
		`[{"role":"assistant","tool_calls":[]},{"role":"user","content":"a"}]`:   "message 0 has nothing as its content",
	} {
		_, _, err := Read(decode(t, in))
		require.ErrorContains(t, err, says, in)
	}
}

func TestSystem(t *testing.T) {
	ms := []stillhouse.Message{{Role: "user", Content: "a"}}
	full := `[{"role":"user","content":"a","name":"A"}]`
	with, err := AddSystem("s & t", &ms, &full)
	require.NoError(t, err)
	assert.Equal(t, []stillhouse.Message{{Role: "system", Content: "s & t"}, {Role: "user", Content: "a"}}, ms)
	assert.Equal(t, `[{"role":"system","content":"s & t"},{"role":"user","content":"a","name":"A"}]`, *with)
	again, err := AddSystem("other", &ms, with)
	require.NoError(t, err)
	assert.Len(t, ms, 2, "one that is there stays")
	assert.Equal(t, *with, *again)
	none, err := AddSystem("s", &ms, nil)
	require.NoError(t, err)
	assert.Nil(t, none)
	turned, err := InsertTurns([]stillhouse.Message{{Role: "user", Content: "x"}, {Role: "assistant", Content: "y"}}, *with)
	require.NoError(t, err)
	assert.Equal(t, `[{"role":"system","content":"s & t"},{"role":"user","content":"x"},{"role":"assistant","content":"y"},{"role":"user","content":"a","name":"A"}]`, turned)
	for _, bad := range []string{"", "7", "[]", "[7]", `["a"]`} {
		_, err := FullWithSystem("s", bad)
		require.Error(t, err, bad)
	}
}

func TestToolCalls(t *testing.T) {
	for in, want := range map[string]string{
		``:              ``,
		`null`:          ``,
		`[]`:            ``,
		`{}`:            ``,
		`[null, 7, {}]`: ``,
		`[{"id":"a"}]`:  ``,
		`[ {"function" : {"arguments": "{\"a\": 1.50}" , "name":"f"},"type":"function", "id":"c", "index":0} ]`: `[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\": 1.50}"}}]`,
		`[{"id":"c","function":{"name":"f","arguments":{"b":2, "a":1}}}]`:                                       `[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"b\":2, \"a\":1}"}}]`,
		`[{"id":"c","function":{"name":"f","arguments":null}}]`:                                                 `[{"id":"c","type":"function","function":{"name":"f","arguments":""}}]`,
		`[{"id":"c","function":{"name":"f","arguments":"{\"a\": <&>"}}]`:                                        `[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\": <&>"}}]`,
		`[{"z":1,"id":"c","type":"custom","custom":{"name":"s","input":"x"}}]`:                                  `[{"id":"c","type":"custom","custom":{"name":"s","input":"x"},"z":1}]`,
	} {
		got := ToolCalls(json.RawMessage(in), nil)
		assert.Equal(t, want, got)
		if want != "" {
			assert.Equal(t, want, ToolCalls(json.RawMessage(got), nil), "its own form stays")
		}
	}
	assert.Equal(t, `[{"id":"","type":"function","function":{"name":"f","arguments":"{}"}}]`, ToolCalls(nil, json.RawMessage(`{"name":"f","arguments":"{}"}`)))
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{`"a"`, `[{"role":"user","content":[{"type":"text","text":"a"}],"name":"x"}]`,
		`[{"role":"assistant","content":null,"tool_calls":[{"id":"c","function":{"name":"f","arguments":{"a":1}}}]},{"role":"tool","content":"4","tool_call_id":"c"}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var v any
		if json.Unmarshal(text, &v) != nil {
			return
		}
		ms, full, err := Read(v)
		if err != nil {
			return
		}
		if full == nil {
			return
		}
		again, same, err := Read(decode(t, *full))
		if err != nil || same == nil || *same != *full || !cmp.Equal(ms, again) || !utf8.ValidString(*full) {
			t.Fatalf("%s was read again as %v, %v", *full, again, err)
		}
	})
}

func TestTools(t *testing.T) {
	for in, want := range map[string]string{
		`[{"name":"f","parameters":{"maximum":1}}]`:  `[{"name":"f","parameters":{"maximum":1}}]`,
		`"[ {\"name\": \"<f>\", \"limit\": 1.50} ]"`: `[{"limit":1.50,"name":"<f>"}]`,
		`null`: "", `""`: "", `" "`: "", `[]`: "", `"[]"`: "", `"null"`: "",
	} {
		got, err := Tools(decode(t, in))
		require.NoError(t, err, in)
		if want == "" {
			assert.Nil(t, got, in)
		} else if assert.NotNil(t, got, in) {
			assert.Equal(t, want, *got, in)
		}
	}
	for in, says := range map[string]string{
		`{"name":"f"}`: "the tools are an object: they must be a list", `7`: "the tools are a number", `"7"`: "the tools are a number", `"[1"`: "the tools are not JSON: it breaks off",
		`"[] []"`: "the tools are not JSON: there is more after the value", `"f"`: "the tools are not JSON",
	} {
		_, err := Tools(decode(t, in))
		assert.ErrorContains(t, err, says, in)
	}
}
