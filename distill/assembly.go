package distill

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// An assembly puts the pieces of a streamed answer together to the body of one that was not. Fields that this program
// does not know are taken from the first piece and from those that end something, which is where servers put them.
type assembly struct {
	other   map[string]json.RawMessage // of the body
	usage   json.RawMessage
	choices map[int]*choiceSoFar
	pieces  int
	size    int
}

func newAssembly() *assembly {
	return &assembly{other: map[string]json.RawMessage{}, choices: map[int]*choiceSoFar{}}
}

// A choiceSoFar is what came of one choice.
type choiceSoFar struct {
	other        map[string]json.RawMessage // of the choice
	message      map[string]json.RawMessage // of its message
	role         string
	content      contentSoFar
	refusal      textSoFar
	reasoning    textSoFar
	reasoningC   textSoFar // reasoning_content
	details      []json.RawMessage
	calls        callsSoFar
	function     *callSoFar
	logProbs     map[string][]json.RawMessage
	finishReason string
	err          json.RawMessage
}

// A textSoFar is a text that may be null.
type textSoFar struct {
	strings.Builder
	there bool
}

func (t *textSoFar) add(s *string) int {
	if s == nil {
		return 0
	}
	t.there = true
	t.WriteString(*s)
	return len(*s)
}

type wireChunk struct {
	Object  string          `json:"object"`
	Choices []chunkChoice   `json:"choices"`
	Usage   json.RawMessage `json:"usage"`
	Error   json.RawMessage `json:"error"`
}

type chunkChoice struct {
	Index        *int                         `json:"index"`
	Delta        *chunkDelta                  `json:"delta"`
	Message      *chunkDelta                  `json:"message"` // of servers that send the whole in one piece
	LogProbs     map[string][]json.RawMessage `json:"logprobs"`
	FinishReason *string                      `json:"finish_reason"`
	Error        json.RawMessage              `json:"error"`
}

type chunkDelta struct {
	Role             *string           `json:"role"`
	Content          json.RawMessage   `json:"content"`
	Refusal          *string           `json:"refusal"`
	ReasoningContent *string           `json:"reasoning_content"`
	Reasoning        *string           `json:"reasoning"`
	ReasoningDetails []json.RawMessage `json:"reasoning_details"`
	ToolCalls        []json.RawMessage `json:"tool_calls"`
	FunctionCall     *chunkFunction    `json:"function_call"`
}

// notAPiece is an event that holds something else than a piece of an answer: an error, or what cannot be read.
type notAPiece struct{ body []byte }

func (e *notAPiece) Error() string { return "the event is not a piece of an answer" }

// add takes the data of one event, and says whether it held anything of the answer.
func (a *assembly) add(data []byte) (news bool, err error) {
	var w wireChunk
	if err := json.Unmarshal(data, &w); err != nil || data[0] != '{' {
		return false, &notAPiece{data}
	}
	if isError(w.Error) || w.Object == "error" {
		return false, &notAPiece{asErrorBody(string(data))}
	}
	a.pieces++
	if isValue(w.Usage) {
		a.usage, news = slices.Clone(w.Usage), true
	}
	ends := a.pieces == 1 || isValue(w.Usage) || len(w.Choices) == 0
	for _, c := range w.Choices {
		if c.FinishReason != nil && *c.FinishReason != "" || isError(c.Error) {
			ends = true
		}
		n := a.choice(c.Index).add(c)
		a.size += n
		news = news || n > 0
	}
	if ends {
		a.keepOther(data)
	}
	if a.size > maxBody {
		return news, errTooLong
	}
	return news, nil
}

func (a *assembly) choice(index *int) *choiceSoFar {
	i := 0
	if index != nil {
		i = *index
	}
	if a.choices[i] == nil {
		a.choices[i] = &choiceSoFar{other: map[string]json.RawMessage{}, message: map[string]json.RawMessage{}}
	}
	return a.choices[i]
}

// keepOther keeps the fields that have no place of their own here.
func (a *assembly) keepOther(data []byte) {
	var body map[string]json.RawMessage
	if json.Unmarshal(data, &body) != nil {
		return
	}
	var choices []map[string]json.RawMessage
	_ = json.Unmarshal(body["choices"], &choices) // read before, in another form
	keep(a.other, body, "choices", "usage", "error", "object")
	for _, fields := range choices {
		var index *int
		_ = json.Unmarshal(fields["index"], &index)
		c := a.choice(index)
		keep(c.other, fields, "index", "delta", "message", "logprobs", "finish_reason", "error")
		for _, name := range []string{"delta", "message"} {
			var delta map[string]json.RawMessage
			if json.Unmarshal(fields[name], &delta) == nil {
				keep(c.message, delta, "role", "content", "refusal", "reasoning_content", "reasoning", "reasoning_details", "tool_calls", "function_call")
			}
		}
	}
}

func keep(into, fields map[string]json.RawMessage, known ...string) {
	for name, v := range fields {
		if isValue(v) && !slices.Contains(known, name) && (string(v) != `""` || into[name] == nil) {
			into[name] = slices.Clone(v)
		}
	}
}

// add takes a piece and says how many bytes of it count.
func (c *choiceSoFar) add(p chunkChoice) (n int) {
	if p.FinishReason != nil && *p.FinishReason != "" {
		c.finishReason = *p.FinishReason
		n++
	}
	if isError(p.Error) {
		c.err = slices.Clone(p.Error)
		n++
	}
	for name, tokens := range p.LogProbs {
		if c.logProbs == nil {
			c.logProbs = map[string][]json.RawMessage{}
		}
		c.logProbs[name] = append(c.logProbs[name], tokens...)
		for _, t := range tokens {
			n += len(t)
		}
	}
	for _, d := range []*chunkDelta{p.Delta, p.Message} {
		if d != nil {
			n += c.addDelta(d)
		}
	}
	return n
}

func (c *choiceSoFar) addDelta(d *chunkDelta) (n int) {
	if d.Role != nil && *d.Role != "" {
		c.role = *d.Role
	}
	n = c.content.add(d.Content) + c.refusal.add(d.Refusal) + c.reasoning.add(d.Reasoning) + c.reasoningC.add(d.ReasoningContent)
	for _, detail := range d.ReasoningDetails {
		c.details = append(c.details, detail)
		n += len(detail)
	}
	for _, call := range d.ToolCalls {
		n += c.calls.add(call)
	}
	if d.FunctionCall != nil {
		if c.function == nil {
			c.function = &callSoFar{}
		}
		n += c.function.add(*d.FunctionCall)
	}
	return n
}

// finished reports whether every choice that was begun has its finish_reason, or an error in its place.
func (a *assembly) finished() bool {
	for _, c := range a.choices {
		if c.finishReason == "" && c.err == nil {
			return false
		}
	}
	return true
}

// body is the answer as one that was not streamed.
func (a *assembly) body() ([]byte, error) {
	body := make(map[string]any, len(a.other)+3)
	for name, v := range a.other {
		body[name] = v
	}
	choices := make([]any, 0, len(a.choices))
	for _, i := range slices.Sorted(maps.Keys(a.choices)) {
		choices = append(choices, a.choices[i].body(i))
	}
	body["object"], body["choices"] = "chat.completion", choices
	if a.usage != nil {
		body["usage"] = a.usage
	}
	return marshal(body)
}

func (c *choiceSoFar) body(index int) map[string]any {
	message := make(map[string]any, len(c.message)+4)
	for name, v := range c.message {
		message[name] = v
	}
	if message["role"] = c.role; c.role == "" {
		message["role"] = "assistant"
	}
	message["content"] = c.content.value()
	for name, t := range map[string]*textSoFar{"refusal": &c.refusal, "reasoning": &c.reasoning, "reasoning_content": &c.reasoningC} {
		if t.there {
			message[name] = t.String()
		}
	}
	if c.details != nil {
		message["reasoning_details"] = c.details
	}
	if calls := c.calls.value(); calls != nil {
		message["tool_calls"] = calls
	}
	if c.function != nil {
		message["function_call"] = c.function.value()
	}
	choice := make(map[string]any, len(c.other)+4)
	for name, v := range c.other {
		choice[name] = v
	}
	choice["index"], choice["message"], choice["finish_reason"] = index, message, nil
	if c.finishReason != "" {
		choice["finish_reason"] = c.finishReason
	}
	if c.logProbs != nil {
		choice["logprobs"] = c.logProbs
	}
	if c.err != nil {
		choice["error"] = c.err
	}
	return choice
}
