package grow

import (
	"fmt"
	"slices"
	"strings"

	"stillhouse"
)

// magpie has the teacher write the user's turn. An aligned model that is given its chat template up to where the user
// speaks goes on with what users say. That takes an endpoint that goes on from a text, /completions, and the text: servers
// build the template around the messages of a chat themselves and always end it where the assistant speaks.
//
// There is one request, of which every round asks further samples.
type magpie struct{ o *Options }

// Asks of a chat endpoint what Magpie gets without asking.
const chatInstruction = `Write one message, such as somebody might send to you: a question, a task, a text to work on with what is to be done with it, a problem from their work, their studies or their day. Take any subject and any length. It must be possible to answer it by text alone, and everything that is needed must be in it.

Write the message itself and nothing else: no introduction, no quotation marks, no answer to it.`

func (m *magpie) yield() int { return 1 }

func (m *magpie) requests(round, n int, _ *pool) ([]asked, error) {
	r := Request{First: round * m.o.Round, Samples: n, Seed: m.o.Seed, Temperature: *m.o.Temperature, TopP: m.o.TopP,
		MaxTokens: m.o.MaxTokens, ExtraBody: m.o.ExtraBody, Stop: m.o.Stop}
	if m.o.Via == ViaChat {
		if m.o.System != "" {
			r.Messages = append(r.Messages, stillhouse.Message{Role: "system", Content: m.o.System})
		}
		r.Messages = append(r.Messages, stillhouse.Message{Role: "user", Content: chatInstruction})
	} else {
		r.Text = m.o.PreQuery
	}
	return []asked{{Request: r}}, nil
}

func (m *magpie) cut(a Answer, r asked) []item {
	text := a.Text
	for _, stop := range m.o.Stop { // where the endpoint does not stop there itself
		text, _, _ = strings.Cut(text, stop)
	}
	it := item{text: strings.TrimSpace(text)}
	switch {
	case a.Truncated && text == a.Text:
		it.reason, it.detail = "truncated", fmt.Sprintf("the answer ended at %d tokens", r.MaxTokens)
	case m.o.PreQuery != "" && strings.Contains(text, strings.TrimSpace(m.o.PreQuery)):
		it.reason, it.detail = "unparsable", "it holds the chat template of another turn"
	}
	return []item{it}
}

// SetTemplate gives what the teacher's chat template says: the text up to the user's turn, and the one after it.
func (o *Options) SetTemplate(before, after string) {
	o.PreQuery = before
	if after = strings.TrimSpace(after); after != "" && !slices.Contains(o.Stop, after) {
		o.Stop = append(slices.Clone(o.Stop), after)
	}
}
