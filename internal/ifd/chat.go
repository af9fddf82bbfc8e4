package ifd

// In: an instruction with its input as what a user says, and an answer. Out: the assistant's tokens, the end of its turn
// included, after the user's turn, and after the generation prompt alone. A pair has no score when the answer is empty.

import (
	"errors"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/internal/chat"
)

// A Template renders conversations and turns text into tokens: [chat.Tokenizer].
type Template interface {
	Encoder
	Render([]chat.Message, chat.RenderOptions) (string, error)
}

// Chat is the variant for chat models, whose answers follow a template. Both losses are over the same tokens, and nothing
// is cut.
type Chat struct {
	Tokenizer Template
	Render    chat.RenderOptions // further variables of the template
}

var _ Variant = Chat{}

// Plan implements [Variant].
func (c Chat) Plan(p Pair) (Plan, error) {
	if p.Output == "" {
		return Plan{Missing: "the answer is empty"}, nil
	}
	user := []chat.Message{{Role: "user", Content: strings.TrimRight(p.prompt(), "\n")}}
	render := func(messages []chat.Message, generation bool) (string, error) {
		o := c.Render
		o.AddGenerationPrompt = generation
		return c.Tokenizer.Render(messages, o)
	}
	closed, err1 := render(user, false)
	open, err2 := render(user, true)
	whole, err3 := render(append(user, chat.Message{Role: "assistant", Content: p.Output}), false)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Plan{}, err
	}
	before, full := c.Tokenizer.Encode(open), c.Tokenizer.Encode(whole)
	if len(full) < len(before) || !slices.Equal(full[:len(before)], before) {
		return Plan{}, stillhouse.Permanentf("the conversation's tokens do not begin with those of its prompt: with this template it cannot be said where the answer begins")
	}
	head, found := strings.CutPrefix(open, closed)
	if !found || head == "" {
		return Plan{}, stillhouse.Permanentf("the template has no generation prompt that could stand before the answer alone: use the variant superfiltering")
	}
	alone := c.Tokenizer.Encode(head)
	return Plan{
		Conditional: labelled(full, len(before)),
		Alone:       labelled(slices.Concat(alone, full[len(before):]), len(alone)),
	}, nil
}
