package reward

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"stillhouse"
)

// An outsideRow is a candidate as programs and servers of others get it, one JSON object without line breaks.
type outsideRow struct {
	ID           string               `json:"id"` // PROMPT_ID/SAMPLE, to be said again in the answer
	Prompt       []stillhouse.Message `json:"prompt"`
	Completion   string               `json:"completion"`
	Reference    *string              `json:"reference"`
	Reasoning    *string              `json:"reasoning"`
	ToolCalls    json.RawMessage      `json:"tool_calls,omitempty"`
	Tools        json.RawMessage      `json:"tools,omitempty"`
	Meta         json.RawMessage      `json:"meta,omitempty"`
	FinishReason string               `json:"finish_reason"`
	Tokens       int32                `json:"tokens"`
	Model        string               `json:"model"`
}

func outsideID(c stillhouse.Candidate) string { return c.ID + "/" + strconv.Itoa(int(c.Sample)) }

// outsideOf writes a candidate. Text that is not UTF-8 is mended; columns that should hold JSON and don't are left out.
func outsideOf(c stillhouse.Candidate) ([]byte, error) {
	raw := func(text *string) json.RawMessage {
		if text == nil || !json.Valid([]byte(*text)) {
			return nil
		}
		var b bytes.Buffer
		if json.Compact(&b, []byte(*text)) != nil {
			return nil
		}
		return b.Bytes()
	}
	return json.Marshal(outsideRow{ID: outsideID(c), Prompt: c.Prompt.Prompt, Completion: c.Text(), Reference: c.Reference, Reasoning: c.Reasoning,
		ToolCalls: raw(c.ToolCalls), Tools: raw(c.Tools), Meta: raw(c.Meta), FinishReason: c.FinishReason, Tokens: c.CompletionTokens, Model: c.Model})
}

// An outsideReply is what programs and servers of others say of a candidate.
type outsideReply struct {
	ID       string          `json:"id"`
	Score    json.RawMessage `json:"score"`   // a number, or true or false for 1 and 0
	Verdict  string          `json:"verdict"` // by default right above 0, else wrong
	Evidence string          `json:"evidence"`
}

// readReply reads the answer to the candidate of this id.
func readReply(data []byte, id string) (s stillhouse.Score, err error) {
	var r outsideReply
	if err := json.Unmarshal(data, &r); err != nil {
		return s, fmt.Errorf(`it said %q, which is not {"id": …, "score": …}`, shorten(string(data)))
	}
	if mended := string(bytes.ToValidUTF8([]byte(id), []byte("\uFFFD"))); r.ID != mended {
		return s, fmt.Errorf("it answered to id %q, and was asked about %q", shorten(r.ID), shorten(mended))
	}
	return r.score()
}

// score checks what was said. Only errors and timeouts have no score.
func (r outsideReply) score() (s stillhouse.Score, err error) {
	s = stillhouse.Score{Verdict: r.Verdict, Evidence: shortenTo(r.Evidence, 300)}
	var truth bool
	given := len(r.Score) > 0 && string(r.Score) != "null"
	switch {
	case !given && (r.Verdict == stillhouse.Errored || r.Verdict == stillhouse.Timeout):
		s.Score = math.NaN()
		return s, nil
	case !given && r.Verdict == stillhouse.Unparsable:
		return s, nil
	case !given:
		return s, errors.New("it gave no score")
	case json.Unmarshal(r.Score, &truth) == nil:
		if truth {
			s.Score = 1
		}
	case json.Unmarshal(r.Score, &s.Score) != nil:
		return s, fmt.Errorf("it gave the score %q, which is no number", shorten(string(r.Score)))
	}
	switch r.Verdict {
	case "":
		if s.Verdict = stillhouse.Wrong; s.Score > 0 {
			s.Verdict = stillhouse.Right
		}
	case stillhouse.Right, stillhouse.Wrong:
	case stillhouse.Unparsable:
		s.Score = 0
	case stillhouse.Timeout, stillhouse.Errored:
		s.Score = math.NaN()
	default:
		return s, fmt.Errorf("it gave the verdict %q: it must be right, wrong, unparsable, timeout or error", shorten(r.Verdict))
	}
	return s, nil
}
