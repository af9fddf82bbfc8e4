package distill

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

// vendors are the files of testdata/vendors: for each server, or way of its own, an answer in one piece (.json) and the
// same answer as it streams it (.sse). They are made up after what the servers' documents and their users' reports show.
func vendors(t testing.TB, ext string) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/vendors/*" + ext)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	return files
}

func readVendor(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/vendors", name))
	require.NoError(t, err)
	return b
}

const twoFiles = `[{"id":"call_u1","type":"function","function":{"name":"write","arguments":"{\"path\":\"a\"}"}},` +
	`{"id":"call_u2","type":"function","function":{"name":"write","arguments":"{\"path\":\"b\"}"}}]`

// vendorAnswers are what the answers in testdata/vendors say.
var vendorAnswers = map[string][]Answer{
	"openai": {{Content: "Four.", FinishReason: "stop", Model: "gpt-x-2026-08-01", Fingerprint: "fp_0aa8d3e20b", PromptTokens: 31, CompletionTokens: 90,
		CachedTokens: 16, ReasoningTokens: 64, LogProbs: []stillhouse.TokenLogProb{
			{Token: "Four", LogProb: -0.25, Top: []stillhouse.AlternativeToken{{Token: "Four", LogProb: -0.25}, {Token: "4", LogProb: -1.5}}}, {Token: ".", LogProb: -0.01}}}},
	"openai_refusal": {{Content: "I can't help with that.", Refusal: "I can't help with that.", FinishReason: "stop", Model: "gpt-x", PromptTokens: 9,
		CompletionTokens: 8, CachedTokens: -1, ReasoningTokens: -1}},
	"vllm": {
		{Content: "Dry.", Reasoning: "It never rains.", FinishReason: "stop", Model: "Qwen/Qwen3-32B", PromptTokens: 40, CompletionTokens: 6, CachedTokens: -1, ReasoningTokens: -1},
		{Reasoning: "Look it up.", ToolCalls: `[{"id":"chatcmpl-tool-7","type":"function","function":{"name":"weather","arguments":"{\"city\": \"Zürich\", \"days\": 2}"}}]`,
			FinishReason: "tool_calls", Model: "Qwen/Qwen3-32B", PromptTokens: 40, CompletionTokens: 44, CachedTokens: -1, ReasoningTokens: -1}},
	"sglang": {{Content: "12", Reasoning: "3 × 4\n", FinishReason: "stop", Model: "zai-org/GLM-5", PromptTokens: 20, CompletionTokens: 15, CachedTokens: -1, ReasoningTokens: 11}},
	"ollama": {{Reasoning: "Two files.", ToolCalls: twoFiles, FinishReason: "tool_calls", Model: "qwen3:8b", Fingerprint: "fp_ollama", PromptTokens: 200, CompletionTokens: 60,
		CachedTokens: -1, ReasoningTokens: -1}},
	"llamacpp": {{Content: "Because the", Reasoning: "Hm", FinishReason: "length", Model: "gemma-3-1b-it", Fingerprint: "b9038-ab12", PromptTokens: 14, CompletionTokens: 9,
		CachedTokens: 3, ReasoningTokens: -1}},
	"deepseek": {{Content: "Ja.", Reasoning: "Denn so ist es.", FinishReason: "stop", Model: "deepseek-reasoner", Fingerprint: "fp_ds", PromptTokens: 300, CompletionTokens: 40,
		CachedTokens: 256, ReasoningTokens: 33}},
	"deepseek_old": {{Content: "Nein.", FinishReason: "stop", Model: "deepseek-chat", PromptTokens: 70, CompletionTokens: 4, CachedTokens: 64, ReasoningTokens: -1}},
	"openrouter":   {{Content: "Blue.", Reasoning: "Sky is blue.", FinishReason: "stop", Model: "acme/thinker", PromptTokens: 12, CompletionTokens: 30, CachedTokens: 0, ReasoningTokens: 21}},
	"openrouter_summary": {{Content: "Red.", Reasoning: "Thought about colours.", FinishReason: "stop", Model: "acme/thinker", PromptTokens: 12, CompletionTokens: 9,
		CachedTokens: -1, ReasoningTokens: -1}},
	"azure": {{Content: "First you", FinishReason: "content_filter", Model: "gpt-x", Fingerprint: "fp_az", PromptTokens: 11, CompletionTokens: 2, CachedTokens: -1, ReasoningTokens: -1}},
	"mistral": {{Content: "The sum is 4.", Reasoning: "Two and two.", FinishReason: "stop", Model: "magistral-medium-latest", PromptTokens: 8, CompletionTokens: 24,
		CachedTokens: -1, ReasoningTokens: -1}},
	"gemini": {{ToolCalls: `[{"id":"function-call-1","type":"function","function":{"name":"now","arguments":"{}"}},` +
		`{"id":"function-call-2","type":"function","function":{"name":"today","arguments":"{\"tz\":\"UTC\"}"}}]`,
		FinishReason: "tool_calls", Model: "gemini-3-flash", PromptTokens: 50, CompletionTokens: 17, CachedTokens: -1, ReasoningTokens: -1}},
}

// Every server's answer is read whole, in one piece and streamed, and both give the same row.
func TestVendors(t *testing.T) {
	plain, streamed := vendors(t, ".json"), vendors(t, ".sse")
	require.Len(t, streamed, len(plain), "each has both")
	assert.Len(t, vendorAnswers, len(plain))
	for _, name := range slices.Sorted(maps.Keys(vendorAnswers)) {
		t.Run(name, func(t *testing.T) {
			r, err := parseReply(readVendor(t, name+".json"))
			require.NoError(t, err)
			assert.Empty(t, cmp.Diff(vendorAnswers[name], r.answers))
			events := readVendor(t, name+".sse")
			for pace, reader := range map[string]io.Reader{"at once": bytes.NewReader(events), "byte by byte": oneByOne{bytes.NewReader(events)}} {
				body, err := readStream(reader, nil)
				require.NoError(t, err, pace)
				again, err := parseReply(body)
				require.NoError(t, err, "%s: %s", pace, body)
				assert.Empty(t, cmp.Diff(r.answers, again.answers), pace)
				r.choices = again.choices
				assert.Empty(t, cmp.Diff(r, again, cmp.AllowUnexported(reply{})), pace)
			}
		})
	}
}

// oneByOne gives one byte at a time.
type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

// What a server adds of its own is in the body that is stored.
func TestStreamKeepsFieldsItDoesNotKnow(t *testing.T) {
	for name, parts := range map[string][]string{
		"openai":     {`"service_tier":"default"`, `"id":"chatcmpl-A1"`, `"object":"chat.completion"`},
		"sglang":     {`"matched_stop":151336`},
		"llamacpp":   {`"timings":{"prompt_n":14`},
		"openrouter": {`"provider":"Acme"`, `"native_finish_reason":"end_turn"`, `"cost":0.00012`, `"reasoning_details":[`},
		"azure":      {`"violence":{"filtered":true`, `"prompt_filter_results":[`},
		"mistral":    {`"reference_ids":[1]`},
	} {
		body, err := readStream(bytes.NewReader(readVendor(t, name+".sse")), nil)
		require.NoError(t, err)
		for _, part := range parts {
			assert.Contains(t, string(body), part, name)
		}
	}
}
