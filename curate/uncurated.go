package curate

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"stillhouse"
)

// Uncurated draws n training rows from candidates without looking at what they say: the control arm that curated rows
// are compared with. It draws one candidate of each prompt, and n of these prompts. Where there are fewer than n
// prompts, it draws a second candidate of each, and so on, up to all candidates.
//
// first is how many samples every prompt was asked for whatever came of them, 0 for all that there are. Whether there are
// more depends on how good those were, so a draw among all of them would be half a choice: the others are drawn last.
//
// What is drawn depends on the seed, the prompt ids and the sample numbers alone: not on the order of the rows or on
// how they were cut into batches. The rows come in the order of the candidates. The reward of a row is 0.
func Uncurated(candidates []stillhouse.Candidate, n int, seed int64, first int) []stillhouse.Sample {
	type ticket struct {
		at    int
		id    string
		late  int    // 1 for a candidate that depends on others
		luck  uint64 // of the candidate among those of its prompt
		round int    // its place among them
		turn  uint64 // of the prompt among the prompts
	}
	tickets := make([]ticket, len(candidates))
	for i, c := range candidates {
		tickets[i] = ticket{at: i, id: c.ID, luck: draw(seed, "candidate", c.ID, c.Sample), turn: draw(seed, "prompt", c.ID, 0)}
		if first > 0 && int(c.Sample) >= first {
			tickets[i].late = 1
		}
	}
	slices.SortFunc(tickets, func(a, b ticket) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.late, b.late), cmp.Compare(a.luck, b.luck), cmp.Compare(candidates[a.at].Sample, candidates[b.at].Sample))
	})
	for i := range tickets {
		if i > 0 && tickets[i].id == tickets[i-1].id {
			tickets[i].round = tickets[i-1].round + 1
		}
	}
	slices.SortStableFunc(tickets, func(a, b ticket) int {
		return cmp.Or(cmp.Compare(a.round, b.round), cmp.Compare(a.turn, b.turn), cmp.Compare(a.id, b.id))
	})
	tickets = tickets[:max(0, min(n, len(tickets)))]
	slices.SortFunc(tickets, func(a, b ticket) int { return cmp.Compare(a.at, b.at) })
	out := make([]stillhouse.Sample, len(tickets))
	for i, t := range tickets {
		out[i] = SampleOf(candidates[t.at], 0)
	}
	return out
}

// draw is a number that depends on its arguments alone and looks random: the start of their SHA-256.
func draw(seed int64, what, id string, sample int32) uint64 {
	b := binary.BigEndian.AppendUint64(nil, uint64(seed))
	b = append(b, what...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(sample))
	h := sha256.Sum256(append(b, id...))
	return binary.BigEndian.Uint64(h[:])
}

// SampleOf makes a training row of a candidate.
func SampleOf(c stillhouse.Candidate, reward float64) stillhouse.Sample {
	return stillhouse.Sample{Prompt: c.Prompt.Prompt, Completion: c.Completion, Tools: c.Tools, PromptID: c.ID, Sample: c.Sample, Reward: reward,
		Reasoning: c.Reasoning, ToolCalls: c.ToolCalls, FinishReason: c.FinishReason, CompletionTokens: c.CompletionTokens,
		Model: c.Model, RequestKey: c.RequestKey, Meta: c.Meta}
}
