package chat

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"stillhouse"
)

// A MaskError says why it cannot be told which tokens of a conversation the assistant has said.
type MaskError struct {
	Turn   int    // the message, counted from 1
	Reason string // and what to do
}

func (e *MaskError) Error() string {
	return fmt.Sprintf("message %d (assistant): %s", e.Turn, e.Reason)
}

// AssistantMask renders a conversation as [Tokenizer.EncodeChat] does and says of each id whether the assistant says
// it: the ids of every assistant turn with the token that ends it.
//
// A template with {% generation %} blocks says it itself, as in transformers' return_assistant_tokens_mask. With any
// other template the conversation is rendered up to each assistant turn with a generation prompt, which is what the
// model is asked with, and through the turn: what the second has beyond the first is what the model is to say. That
// holds only where each of these is the beginning of the whole, in text and in ids. Where one is not (a template that
// leaves out the reasoning of earlier turns, a turn that does not end where a token ends) the error wraps a
// [*MaskError].
func (t *Tokenizer) AssistantMask(messages []Message, o RenderOptions) (ids []int32, assistant []bool, err error) {
	if t.Marked(!null(o.Tools)) {
		return t.EncodeChat(messages, o)
	}
	return t.differential(messages, o)
}

var generationTag = regexp.MustCompile(`\{%[-+]?\s*generation\s*[-+]?%\}`)

// Marked says whether the template that is used, with tools or without, has {% generation %} blocks. It looks for the
// tag in the text, as TRL does.
func (t *Tokenizer) Marked(tools bool) bool {
	_, source := t.templates.named(tools)
	return generationTag.MatchString(source)
}

// differential is AssistantMask by what a turn adds to the render.
func (t *Tokenizer) differential(messages []Message, o RenderOptions) ([]int32, []bool, error) {
	o.AddGenerationPrompt = false
	if o.Now.IsZero() {
		o.Now = time.Now() // one time for all renders
	}
	whole, err := t.Render(messages, o)
	if err != nil {
		return nil, nil, err
	}
	d := differ{t: t, o: o, messages: messages, text: whole, ids: t.Encode(whole)}
	mask := make([]bool, len(d.ids))
	for i, m := range messages {
		if m.Role != "assistant" {
			continue
		}
		from, to, err := d.turn(i)
		if err != nil {
			return nil, nil, stillhouse.Invalidf("assistant mask: %w", err)
		}
		for j := from; j < to; j++ {
			mask[j] = true
		}
	}
	return d.ids, mask, nil
}

// A differ compares renders of the beginnings of a conversation with the render of all of it.
type differ struct {
	t        *Tokenizer
	o        RenderOptions
	messages []Message
	text     string
	ids      []int32
}

// turn gives the place of the first id that the assistant says in message i, and that of the first one after its end.
func (d *differ) turn(i int) (from, to int, err error) {
	refuse := func(format string, args ...any) (int, int, error) {
		return 0, 0, &MaskError{Turn: i + 1, Reason: fmt.Sprintf(format, args...)}
	}
	if i == 0 {
		return refuse("the conversation begins with it, so there is nothing that it answers: begin with a system or a user message")
	}
	ask := d.o
	ask.AddGenerationPrompt = true
	prompt, err := d.t.Render(d.messages[:i], ask)
	if err != nil {
		return refuse("the chat template does not render what comes before it: %v: %s", err, otherwise)
	}
	through, err := d.t.Render(d.messages[:i+1], d.o)
	if err != nil {
		return refuse("the chat template does not render the conversation up to it: %v: %s", err, otherwise)
	}
	if !strings.HasPrefix(through, prompt) {
		return refuse("what the model is asked with is not the beginning of what it is trained on: %s: %s", parting(prompt, through), otherwise)
	}
	if !strings.HasPrefix(d.text, through) {
		// What follows the end of the turn in the shorter render need not be in the longer one.
		through = through[:len(prompt)+d.end(i, prompt, through)]
		if !strings.HasPrefix(d.text, through) {
			return refuse("the chat template renders it otherwise once further messages follow: %s: %s", parting(through, d.text), otherwise)
		}
	}
	end := len(prompt) + d.end(i, prompt, through)
	if from, err = d.place(prompt); err == nil {
		to, err = d.place(d.text[:end])
	}
	if err != nil {
		return refuse("%v: %s", err, otherwise)
	}
	return from, to, nil
}

const otherwise = "use rows of prompt and completion, or a chat template that renders the beginning of a conversation always alike (chat_template_path), such as one with {% generation %} blocks"

// end is the length of what the assistant says in message i, of what a render through the message has beyond the
// prompt: up to and with the mark that ends a turn. What a template puts behind that mark (a line break, as a rule) is
// said by nobody. The mark is what the template puts behind an answer of one word.
func (d *differ) end(i int, prompt, through string) int {
	said := through[len(prompt):]
	const word = "stillhouse"
	probe := slices.Clone(d.messages[:i+1])
	probe[i] = Message{Role: "assistant", Content: word}
	text, err := d.t.Render(probe, d.o)
	at := strings.LastIndex(text, word)
	if err != nil || at < 0 {
		return len(said)
	}
	mark := d.t.mark(text[at+len(word):])
	if at := strings.LastIndex(said, mark); mark != "" && at >= 0 {
		return at + len(mark)
	}
	return d.t.lastSpecial(said) // a turn of another kind, such as a call of a tool, may end with another mark
}

// lastSpecial is the length of a text up to and with its last special token where nothing but space follows that, else
// the length of all of it.
func (t *Tokenizer) lastSpecial(text string) int {
	ids, spans := t.EncodeSpans(text)
	for i := len(ids) - 1; i >= 0; i-- {
		if to := min(spans[i].To, len(text)); t.IsSpecial(ids[i]) && strings.TrimSpace(text[to:]) == "" {
			return to
		}
	}
	return len(text)
}

// mark is the beginning of a text up to and with its first special token, or all but the space at its end when it has
// no special token.
func (t *Tokenizer) mark(text string) string {
	ids, spans := t.EncodeSpans(text)
	for i, id := range ids {
		if t.IsSpecial(id) {
			return text[:min(spans[i].To, len(text))]
		}
	}
	return strings.TrimRight(text, " \t\r\n")
}

// place is the number of ids of a beginning of the text, which must be the first ids of the text.
func (d *differ) place(prefix string) (int, error) {
	ids := d.t.Encode(prefix)
	same := 0
	for same < min(len(ids), len(d.ids)) && ids[same] == d.ids[same] {
		same++
	}
	if same < len(ids) {
		after := func(ids []int32) string { return d.t.Decode(ids[same:min(len(ids), same+4)], false) }
		return 0, fmt.Errorf("it does not begin and end where tokens do: the text up to there has from token %d on %q, and the whole conversation %q", same, after(ids), after(d.ids))
	}
	return same, nil
}

// parting shows where two texts part.
func parting(a, b string) string {
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	show := func(s string) string { return strings.ToValidUTF8(s[same:min(len(s), same+40)], "") }
	return fmt.Sprintf("after %d bytes the one has %q and the other %q", same, show(a), show(b))
}
