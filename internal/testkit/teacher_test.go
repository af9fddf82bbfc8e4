package testkit

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ask(t *testing.T, teacher *Teacher, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(teacher.URL()+"/chat/completions", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

func TestTeacherKeepsBooks(t *testing.T) {
	const body = `{"model":"m","messages":[{"role":"user","content":"a"}],"seed":1}`
	teacher := StartTeacher(t, &Teacher{Fault: func(c Call) *Fault {
		switch c.Number {
		case 0:
			return Status(429, "slow_down", "1")
		case 1:
			return &Fault{Cut: true}
		}
		return nil
	}})
	status, text := ask(t, teacher, body)
	assert.Equal(t, 429, status)
	assert.Contains(t, text, `"code":"slow_down"`)
	_, text = ask(t, teacher, body)
	assert.Contains(t, text, "unexpected EOF")
	assert.Equal(t, Book{Requests: 2}, teacher.Books()[body])
	status, first := ask(t, teacher, body)
	assert.Equal(t, 200, status)
	assert.Zero(t, teacher.Resent())
	_, _ = ask(t, teacher, body)
	assert.Equal(t, Book{Requests: 4, Answered: 2, Resent: 1}, teacher.Books()[body])
	assert.Equal(t, 1, teacher.Resent())
	assert.Equal(t, 4, teacher.Asked("a"))
	assert.Contains(t, first, Prose(teacher.Calls()[2]).Content)
}

// Sample i of a request with n is the answer that the seed seed+i gets alone.
func TestTeacherAnswersBySeed(t *testing.T) {
	teacher := StartTeacher(t, &Teacher{})
	_, many := ask(t, teacher, `{"messages":[{"role":"user","content":"a"}],"seed":5,"n":3}`)
	_, alone := ask(t, teacher, `{"messages":[{"role":"user","content":"a"}],"seed":7}`)
	call := teacher.Calls()[1]
	assert.Contains(t, alone, Prose(call).Content)
	assert.Contains(t, many, Prose(call).Content)
	assert.Equal(t, 3, strings.Count(many, `"index"`))
}

// A streamed answer has all pieces of the one that is not streamed, and says only when asked how many tokens it has.
func TestTeacherStreams(t *testing.T) {
	teacher := StartTeacher(t, &Teacher{Fingerprint: "fp", Answer: func(c Call) Choice {
		return Choice{Content: "one two", Reasoning: "so", ToolCalls: `[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"ü\":1}"}}]`}
	}})
	const body = `{"messages":[{"role":"user","content":"a"}],"n":2,"stream":true`
	_, text := ask(t, teacher, body+`}`)
	for _, part := range []string{`"delta":{"role":"assistant"}`, `"delta":{"reasoning_content":"so"}`, `"arguments":"{\"ü"`, `"arguments":"\":1}"`, `"system_fingerprint":"fp"`,
		`"index":1`, ": keep-alive\n\n", "data: [DONE]\n\n"} {
		assert.Contains(t, text, part)
	}
	assert.NotContains(t, text, "usage")
	_, text = ask(t, teacher, body+`,"stream_options":{"include_usage":true}}`)
	assert.Contains(t, text, `"choices":[],"created":1700000000,"id":"chatcmpl-1","model":"","object":"chat.completion.chunk","system_fingerprint":"fp","usage":{"completion_tokens":4,`)
	assert.Equal(t, 2, len(teacher.Books()))
	assert.Zero(t, teacher.Resent())
}
