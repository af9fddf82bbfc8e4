package distill

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseReply(t *testing.T) {
	choice := func(index int, message, finish string) string {
		return fmt.Sprintf(`{"index":%d,"message":%s,"finish_reason":%s}`, index, message, finish)
	}
	for name, tc := range map[string]struct {
		body string
		want []Answer
	}{
		"plain": {`{"model":"m","choices":[` + choice(0, `{"role":"assistant","content":"hi"}`, `"stop"`) + `],"usage":{"prompt_tokens":3,"completion_tokens":7}}`,
			[]Answer{{Content: "hi", FinishReason: "stop", Model: "m", PromptTokens: 3, CompletionTokens: 7}}},
		"out of order": {`{"choices":[` + choice(1, `{"content":"b"}`, `"stop"`) + `,` + choice(0, `{"content":"a"}`, `"length"`) + `],"usage":{"completion_tokens":3}}`,
			[]Answer{{Content: "a", FinishReason: "length", CompletionTokens: 2}, {Content: "b", FinishReason: "stop", CompletionTokens: 1}}},
		"one index for all": {`{"choices":[` + choice(0, `{"content":"b"}`, `null`) + `,` + choice(0, `{"content":"a"}`, `null`) + `]}`,
			[]Answer{{Content: "b", CompletionTokens: 1}, {Content: "a", CompletionTokens: 1}}},
		"a null message":           {`{"choices":[{"message":null},` + choice(1, `{"content":"a"}`, `"stop"`) + `]}`, []Answer{{Content: "a", FinishReason: "stop", CompletionTokens: 1}}},
		"an empty answer":          {`{"choices":[` + choice(0, `{"content":""}`, `"stop"`) + `]}`, []Answer{{FinishReason: "stop"}}},
		"parts":                    {`{"choices":[` + choice(0, `{"content":[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}]}`, `"stop"`) + `]}`, []Answer{{Content: "ab", FinishReason: "stop", CompletionTokens: 1}}},
		"refusal":                  {`{"choices":[` + choice(0, `{"content":null,"refusal":"I cannot."}`, `"stop"`) + `]}`, []Answer{{Content: "I cannot.", Refusal: "I cannot.", FinishReason: "stop", CompletionTokens: 3}}},
		"reasoning":                {`{"choices":[` + choice(0, `{"content":"4","reasoning":"2+2"}`, `"stop"`) + `],"usage":{"completion_tokens":9}}`, []Answer{{Content: "4", Reasoning: "2+2", FinishReason: "stop", CompletionTokens: 9}}},
		"both reasonings":          {`{"choices":[` + choice(0, `{"content":"4","reasoning":"b","reasoning_content":"a"}`, `"stop"`) + `],"usage":{"completion_tokens":9}}`, []Answer{{Content: "4", Reasoning: "a", FinishReason: "stop", CompletionTokens: 9}}},
		"odd usage":                {`{"choices":[` + choice(0, `{"content":"12345"}`, `"stop"`) + `],"usage":{"prompt_tokens":-1,"completion_tokens":"many"}}`, []Answer{{Content: "12345", FinishReason: "stop", CompletionTokens: 2}}},
		"huge usage":               {`{"choices":[` + choice(0, `{"content":"1"}`, `"stop"`) + `],"usage":{"prompt_tokens":1e300,"completion_tokens":7.9}}`, []Answer{{Content: "1", FinishReason: "stop", PromptTokens: 1<<31 - 1, CompletionTokens: 7}}},
		"error is null":            {`{"error":null,"choices":[` + choice(0, `{"content":"a"}`, `"stop"`) + `]}`, []Answer{{Content: "a", FinishReason: "stop", CompletionTokens: 1}}},
		"no error, in other words": {`{"error":{},"choices":[` + choice(0, `{"content":"a"}`, `"stop"`) + `]}`, []Answer{{Content: "a", FinishReason: "stop", CompletionTokens: 1}}},
		"one choice broke off":     {`{"choices":[` + choice(0, `{"content":"a"}`, `"abort"`) + `,` + choice(1, `{"content":"b"}`, `"stop"`) + `]}`, []Answer{{Content: "b", FinishReason: "stop", CompletionTokens: 1}}},
		"one choice has an error": {`{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop","error":{"code":502,"message":"gone"}},` + choice(1, `{"content":"b"}`, `"stop"`) + `]}`,
			[]Answer{{Content: "b", FinishReason: "stop", CompletionTokens: 1}}},
		"other words for length": {`{"choices":[` + choice(0, `{"content":"a"}`, `"model_length"`) + `,` + choice(1, `{"content":"b"}`, `"max_tokens"`) + `]}`,
			[]Answer{{Content: "a", FinishReason: "length", CompletionTokens: 1}, {Content: "b", FinishReason: "length", CompletionTokens: 1}}},
		"thinking as a text":  {`{"choices":[` + choice(0, `{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"a"}]}`, `"stop"`) + `]}`, []Answer{{Content: "a", Reasoning: "hm", FinishReason: "stop", CompletionTokens: 1}}},
		"a refusal as a part": {`{"choices":[` + choice(0, `{"content":[{"type":"refusal","refusal":"no"}]}`, `"stop"`) + `]}`, []Answer{{Content: "no", Refusal: "no", FinishReason: "stop", CompletionTokens: 1}}},
		"no tool calls":       {`{"choices":[` + choice(0, `{"content":"a","tool_calls":[]}`, `"stop"`) + `]}`, []Answer{{Content: "a", FinishReason: "stop", CompletionTokens: 1}}},
	} {
		r, err := parseReply([]byte(tc.body))
		require.NoError(t, err, name)
		for i := range tc.want {
			tc.want[i].CachedTokens, tc.want[i].ReasoningTokens = -1, -1 // none of these says
		}
		assert.Equal(t, tc.want, r.answers, name)
	}
	for body, want := range map[string]error{
		``:                               errGarbage,
		`null`:                           errGarbage,
		`[]`:                             errGarbage,
		`{"choices":[{"message":{"con`:   errGarbage,
		`{"choices":7}`:                  errGarbage,
		`{}`:                             errEmpty,
		`{"choices":[]}`:                 errEmpty,
		`{"choices":null}`:               errEmpty,
		`{"choices":[{"message":null}]}`: errEmpty,
		`{"choices":[{"message":{"content":7}}]}`: errEmpty,
		" <!DOCTYPE html><html></html>":           errHTML,
		"<HTML lang=en>":                          errHTML,
	} {
		_, err := parseReply([]byte(body))
		assert.ErrorIs(t, err, want, body)
	}
	for body, want := range map[string]apiError{
		`{"error":{"message":"m","type":"t","code":"c"}}`: {"m", "t", "c"},
		`{"error":{"message":"m","code":429}}`:            {"m", "", "429"},
		`{"error":"m","choices":[]}`:                      {"m", "", ""},
		`{"error":{"message":["a","b"]}}`:                 {`["a","b"]`, "", ""},
		`{"object":"error","message":"m","code":404}`:     {"m", "", ""},
		`{"error":{"message":"m"},"choices":[` + choice(0, `{"content":"half an ans"}`, `"stop"`) + `]}`:          {"m", "", ""},
		`{"choices":[{"message":{"content":"half"},"finish_reason":"error","error":{"code":429,"message":"m"}}]}`: {"m", "", "429"},
		`{"choices":[` + choice(0, `{"content":"half"}`, `"insufficient_system_resource"`) + `]}`: {
			"finish_reason is insufficient_system_resource: the server ran short and broke the answer off", "insufficient_system_resource", ""},
	} {
		_, err := parseReply([]byte(body))
		var said *apiError
		require.True(t, errors.As(err, &said), body)
		assert.Equal(t, want, *said)
	}
	assert.Equal(t, "not found", parseError([]byte(`{"detail":"not found"}`)).Message)
	assert.Equal(t, "gone", parseError([]byte(`{"object":"error","message":"gone","code":404}`)).Message)
	assert.Nil(t, parseError([]byte(`plain text`)))
}

func TestShare(t *testing.T) {
	for _, tc := range []struct {
		total         int64
		weights, want []int64
	}{
		{10, []int64{5}, []int64{10}},
		{10, []int64{1, 1, 1}, []int64{4, 3, 3}},
		{10, []int64{0, 0}, []int64{5, 5}},
		{7, []int64{30, 10}, []int64{5, 2}},
		{0, []int64{3, 4}, []int64{0, 0}},
		{1<<31 - 1, []int64{1 << 26, 1, 1 << 26}, []int64{1073741816, 16, 1073741815}},
	} {
		got := share(tc.total, tc.weights)
		assert.Equal(t, tc.want, got)
	}
}

func FuzzParseReply(f *testing.F) {
	for _, name := range vendors(f, ".json") {
		f.Add(readVendor(f, name))
	}
	for _, seed := range []string{
		`{"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":7}}`,
		`{"choices":[{"index":1,"message":{"content":[{"type":"text","text":"a"}],"tool_calls":[{"id":"x"}]}},{"index":0,"message":{"refusal":"no"}}],"usage":{"completion_tokens":9}}`,
		`{"error":{"message":"m","code":429}}`, `<html>`, `{"choices":[{"message":null}]}`, "{\"choices\":[{\"message\":{\"content\":\"\\ud800\xff\"}}]}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseReply(body)
		if err != nil {
			return
		}
		if len(r.answers) == 0 || len(r.answers) > r.choices {
			t.Fatalf("%d answers of %d choices", len(r.answers), r.choices)
		}
		var sum int64
		for _, a := range r.answers {
			if a.CompletionTokens < 0 || a.PromptTokens < 0 || a.CachedTokens > a.PromptTokens {
				t.Fatalf("negative counts: %+v", a)
			}
			for _, s := range []string{a.Content, a.Reasoning, a.ToolCalls, a.FinishReason, a.Model, a.Refusal, a.Fingerprint} {
				if !utf8.ValidString(s) {
					t.Fatalf("text that is not UTF-8: %q", s)
				}
			}
			if calls := a.ToolCalls; calls != "" && !json.Valid([]byte(calls)) {
				t.Fatalf("tool calls that are not JSON: %q", calls)
			}
			sum += int64(a.CompletionTokens)
		}
		if r.completionTokens > 0 && sum != r.completionTokens {
			t.Fatalf("the shares add up to %d, not %d", sum, r.completionTokens)
		}
		again, err := parseReply(body)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(r) {
			t.Fatal("the same bytes were read in two ways")
		}
	})
}
