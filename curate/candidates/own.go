package candidates

import (
	"encoding/json"
	"math"
	"strconv"

	"stillhouse"
	"stillhouse/internal/conversation"
	"stillhouse/internal/rowfile"
)

// stillhouseShape are the candidates of this program's own runs, with all that they have.
var stillhouseShape = &shape{format: "stillhouse", title: "candidates of a run", needs: "prompt_id, prompt, sample, completion, request_key", own: true,
	is: func(h *head) bool { return h.has("prompt_id", "prompt", "sample", "completion", "request_key") },
	read: func(r *row) ([]read, error) {
		for _, name := range []string{"prompt_id", "prompt", "sample", "completion"} {
			if err := r.missing(name); err != nil {
				return nil, err
			}
		}
		sample, ok := whole(r.at("sample"))
		if !ok {
			return nil, rowfile.BadRowf(`column "sample" is %s: it must be a whole number`, conversation.KindOf(r.at("sample")))
		}
		said := func(name string) *string { // an empty text is one here
			if s, ok := r.at(name).(string); ok {
				return &s
			}
			return nil
		}
		i := Item{}
		var err error
		if i.Prompt.Prompt, err = plainMessages(r.at("prompt")); err != nil {
			return nil, err
		}
		if i.Completion, err = plainMessages(r.at("completion")); err != nil {
			return nil, err
		}
		i.ID, i.Tools, i.Reference, i.Meta, i.Messages = word(r.at("prompt_id")), said("tools"), said("reference"), said("meta"), said("prompt_messages")
		i.Source = word(r.at("source"))
		i.Reasoning, i.ToolCalls, i.FinishReason = said("reasoning"), said("tool_calls"), word(r.at("finish_reason"))
		i.PromptTokens, i.CompletionTokens = count(r.at("prompt_tokens")), count(r.at("completion_tokens"))
		i.Model, i.RequestKey, i.Refusal = word(r.at("model")), word(r.at("request_key")), said("refusal")
		i.CachedTokens, i.ReasoningTokens = optionalCount(r.at("cached_tokens")), optionalCount(r.at("reasoning_tokens"))
		i.SystemFingerprint, i.System = said("system_fingerprint"), said("system")
		i.LogProbs = logProbs(r.at("logprobs"))
		c := numbered(i, int(sample))
		c.Begins = true
		if len(i.Prompt.Prompt) == 0 {
			return []read{c.unplaced().fail(NoPrompt, "there is no prompt")}, nil
		}
		if len(i.Completion) == 0 {
			return []read{c.fail(NoContent, "the completion has no messages")}, nil
		}
		return []read{c}, nil
	}}

// plainMessages are messages of role and content, as rows have them.
func plainMessages(v any) (out []stillhouse.Message, err error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, rowfile.BadRowf("a conversation is %s: it must be a list of messages", conversation.KindOf(v))
	}
	for _, m := range list {
		out = append(out, stillhouse.Message{Role: word(dig(m, "role")), Content: word(dig(m, "content"))})
	}
	return out, nil
}

// logProbs reads the column logprobs. What is no number is NaN, as in the column.
func logProbs(v any) (out []stillhouse.TokenLogProb) {
	list, ok := v.([]any)
	if !ok {
		return nil
	}
	out = make([]stillhouse.TokenLogProb, 0, len(list))
	for _, item := range list {
		t := stillhouse.TokenLogProb{Token: word(dig(item, "token")), LogProb: float(dig(item, "logprob"))}
		top, _ := dig(item, "top").([]any)
		for _, a := range top {
			t.Top = append(t.Top, stillhouse.AlternativeToken{Token: word(dig(a, "token")), LogProb: float(dig(a, "logprob"))})
		}
		out = append(out, t)
	}
	return out
}

func float(v any) float64 {
	if n, ok := v.(json.Number); ok {
		if f, err := n.Float64(); err == nil {
			return f
		}
	}
	if s, ok := v.(string); ok { // an infinity, which JSON has no number for
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f
		}
	}
	return math.NaN()
}

// packed are log-probabilities in a form that JSON has for all numbers: token, number, and the tops, one after another.
func packed(tokens []stillhouse.TokenLogProb) (out [][]string) {
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	for _, t := range tokens {
		one := []string{t.Token, number(t.LogProb)}
		for _, a := range t.Top {
			one = append(one, a.Token, number(a.LogProb))
		}
		out = append(out, one)
	}
	return out
}

func unpacked(rows [][]string) (out []stillhouse.TokenLogProb) {
	number := func(s string) float64 { f, _ := strconv.ParseFloat(s, 64); return f }
	for _, r := range rows {
		t := stillhouse.TokenLogProb{Token: r[0], LogProb: number(r[1])}
		for k := 2; k+1 < len(r); k += 2 {
			t.Top = append(t.Top, stillhouse.AlternativeToken{Token: r[k], LogProb: number(r[k+1])})
		}
		out = append(out, t)
	}
	return out
}
