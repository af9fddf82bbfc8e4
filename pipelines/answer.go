package pipelines

// In: prompts. Out: the answers of a student on this machine as candidates: one greedy (sample -1), then Samples drawn
// ones (samples 0, 1, …). A prompt that the student cannot take (longer than its context) fails alone.

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/conversation"
	"stillhouse/internal/student"
)

// greedySample is the sample number of the answer that takes the likeliest token each time.
const greedySample = -1

// Answer asks a student every prompt.
type Answer struct {
	Samples     int            `json:"samples"`
	Temperature float64        `json:"temperature"`
	TopP        float64        `json:"top_p"`
	MaxTokens   int            `json:"max_tokens"`
	Seed        uint64         `json:"seed"`
	Model       string         `json:"model"`      // the name that the candidates carry
	AskKwargs   map[string]any `json:"ask_kwargs"` // variables of the chat template

	model *loaded
}

var _ stillhouse.Expander = (*Answer)(nil)

// Name implements stillhouse.Stage.
func (a *Answer) Name() string { return "answer" }

// Fanout implements stillhouse.Expander.
func (a *Answer) Fanout() int { return a.Samples + 1 }

// Schema implements stillhouse.Stage.
func (a *Answer) Schema(in *arrow.Schema) (*arrow.Schema, error) {
	if err := stillhouse.RequireRows(in, stillhouse.PromptSchema); err != nil {
		return nil, err
	}
	return stillhouse.CandidateSchema, nil
}

// Process implements stillhouse.Stage. All prompts of a batch are decoded together.
func (a *Answer) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	prompts, err := stillhouse.Prompts(batch)
	if err != nil {
		return err
	}
	answers := make([][]stillhouse.Candidate, len(prompts))
	failed := make([]error, len(prompts))
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range prompts {
		g.Go(func() error {
			answers[i], failed[i] = a.answer(ctx, p)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			out.Tick(a.Fanout())
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var rows []stillhouse.Candidate
	for i := range prompts {
		if failed[i] == nil {
			rows = append(rows, answers[i]...)
			continue
		}
		row := batch.NewSlice(int64(i), int64(i+1))
		for range a.Fanout() {
			if err := out.Fail(row, failed[i]); err != nil {
				row.Release()
				return err
			}
		}
		row.Release()
	}
	return out.Emit(stillhouse.CandidateBatch(out.Allocator(), rows))
}

// answer asks one prompt. The samples depend on the seed and the prompt alone, not on what is asked beside it.
func (a *Answer) answer(ctx context.Context, p stillhouse.Prompt) ([]stillhouse.Candidate, error) {
	o := chat.RenderOptions{AddGenerationPrompt: true, Vars: a.AskKwargs}
	if p.Tools != nil {
		o.Tools = json.RawMessage(*p.Tools)
	}
	ms, err := messagesOf(p)
	if err != nil {
		return nil, fmt.Errorf("prompt %q: %w", p.ID, err)
	}
	text, err := a.model.tokenizer.Render(ms, o)
	if err != nil {
		return nil, fmt.Errorf("prompt %q: %w", p.ID, err)
	}
	r := student.Request{Tokens: a.model.tokenizer.Encode(text), N: 1, MaxTokens: a.MaxTokens, TopP: 1, Stop: a.model.stop}
	greedy, err := a.model.generator.Generate(ctx, r, nil)
	if err != nil {
		return nil, fmt.Errorf("prompt %q: %w", p.ID, err)
	}
	r.N, r.Temperature, r.TopP, r.Seed = a.Samples, a.Temperature, a.TopP, promptSeed(a.Seed, p.ID)
	drawn, err := a.model.generator.Generate(ctx, r, nil)
	if err != nil {
		return nil, fmt.Errorf("prompt %q: %w", p.ID, err)
	}
	var rows []stillhouse.Candidate
	for i, c := range append(greedy, drawn...) {
		reason := "length"
		if c.Stopped {
			reason = "stop"
		}
		rows = append(rows, stillhouse.Candidate{
			Prompt: p, Sample: int32(i + greedySample), FinishReason: reason, Model: a.Model,
			Completion:   []stillhouse.Message{{Role: "assistant", Content: a.model.tokenizer.Decode(c.Tokens, true)}},
			PromptTokens: int32(len(r.Tokens)), CompletionTokens: int32(len(c.Tokens)),
		})
	}
	return rows, nil
}

func promptSeed(seed uint64, id string) uint64 {
	h := sha256.Sum256(binary.LittleEndian.AppendUint64([]byte(id), seed))
	return binary.LittleEndian.Uint64(h[:])
}

// messagesOf are a prompt's messages as templates see them: in full where they have more than role and content.
func messagesOf(p stillhouse.Prompt) (ms []chat.Message, err error) {
	if p.Messages == nil {
		return messages(p.Prompt), nil
	}
	if err := json.Unmarshal(conversation.ForTemplates(json.RawMessage(*p.Messages)), &ms); err != nil {
		return nil, stillhouse.Permanentf("its prompt_messages cannot be read: %w", err)
	}
	return ms, nil
}

func messages(ms []stillhouse.Message) []chat.Message {
	out := make([]chat.Message, len(ms))
	for i, m := range ms {
		out[i] = chat.Message{Role: m.Role, Content: m.Content}
	}
	return out
}
