package stillhouse

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Message is one message of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Prompt is a row of [PromptSchema]: a conversation that ends before the assistant speaks.
type Prompt struct {
	ID        string
	Prompt    []Message
	Tools     *string // JSON
	Reference *string
	Source    string
	Meta      *string // JSON

	// Messages is the JSON list of the prompt's messages in full, where they have more than role and content: tool
	// calls, tool_call_id, name. It is nil where Prompt says it all.
	Messages *string
}

// Identity is what makes a prompt the prompt it is, as a value that marshals to JSON: its id is a hash of it where the
// source names none.
func (p Prompt) Identity() []any {
	if p.Messages == nil {
		return []any{p.Prompt, p.Tools}
	}
	return []any{p.Prompt, p.Tools, p.Messages}
}

// Candidate is a row of [CandidateSchema]: one of the K answers to a prompt; (ID, Sample) names it.
type Candidate struct {
	Prompt
	Sample           int32
	Completion       []Message
	Reasoning        *string
	ToolCalls        *string // JSON
	FinishReason     string
	PromptTokens     int32
	CompletionTokens int32
	Model            string
	RequestKey       string

	Refusal           *string // what the endpoint gave as a refusal, apart from the text; it is the completion where there is none
	LogProbs          []TokenLogProb
	CachedTokens      *int32 // of PromptTokens, those that the endpoint had in its cache; nil where it does not say
	ReasoningTokens   *int32 // of CompletionTokens, those of the reasoning; nil where the endpoint does not say
	SystemFingerprint *string
	System            *string // the system prompt that was sent beside the prompt's own messages
}

// Text is the content of the completion's messages, joined by newlines.
func (c Candidate) Text() string { return content(c.Completion) }

// The verdicts of a score. A timeout is never a wrong in disguise.
const (
	Right      = "right"
	Wrong      = "wrong"
	Unparsable = "unparsable"
	Timeout    = "timeout"
	Errored    = "error"
)

// Score is what one reward says of a candidate, and what made it say so.
type Score struct {
	Name     string
	Score    float64
	Verdict  string // Right, Wrong, Unparsable, Timeout or Errored
	Evidence string
}

// Scored is a row of [ScoredSchema].
type Scored struct {
	Candidate
	Reward float64
	Scores []Score
}

// Sample is a row of [SampleSchema]: a kept pair of prompt and completion.
type Sample struct {
	Prompt           []Message
	Completion       []Message
	Tools            *string
	PromptID         string
	Sample           int32
	Reward           float64
	Reasoning        *string
	ToolCalls        *string
	FinishReason     string
	CompletionTokens int32
	Model            string
	RequestKey       string
	Meta             *string

	Refusal         *string
	LogProbs        []TokenLogProb
	ReasoningTokens *int32
	System          *string
	Messages        *string
}

// Text is the content of the completion's messages, joined by newlines.
func (s Sample) Text() string { return content(s.Completion) }

func content(ms []Message) (out string) {
	for i, m := range ms {
		if i > 0 {
			out += "\n"
		}
		out += m.Content
	}
	return out
}

// Prompts reads the rows of a batch that has the columns of [PromptSchema].
func Prompts(batch arrow.RecordBatch) ([]Prompt, error) {
	return decode(batch, PromptSchema, readPrompt)
}

// Candidates reads the rows of a batch that has the columns of [CandidateSchema].
func Candidates(batch arrow.RecordBatch) ([]Candidate, error) {
	return decode(batch, CandidateSchema, readCandidate)
}

// ScoredRows reads the rows of a batch that has the columns of [ScoredSchema].
func ScoredRows(batch arrow.RecordBatch) ([]Scored, error) {
	return decode(batch, ScoredSchema, readScored)
}

// Samples reads the rows of a batch that has the columns of [SampleSchema].
func Samples(batch arrow.RecordBatch) ([]Sample, error) {
	return decode(batch, SampleSchema, readSample)
}

// PromptBatch makes a batch of [PromptSchema].
func PromptBatch(mem memory.Allocator, rows []Prompt) arrow.RecordBatch {
	return encode(mem, PromptSchema, rows, writePrompt)
}

// CandidateBatch makes a batch of [CandidateSchema].
func CandidateBatch(mem memory.Allocator, rows []Candidate) arrow.RecordBatch {
	return encode(mem, CandidateSchema, rows, writeCandidate)
}

// ScoredBatch makes a batch of [ScoredSchema].
func ScoredBatch(mem memory.Allocator, rows []Scored) arrow.RecordBatch {
	return encode(mem, ScoredSchema, rows, writeScored)
}

// SampleBatch makes a batch of [SampleSchema].
func SampleBatch(mem memory.Allocator, rows []Sample) arrow.RecordBatch {
	return encode(mem, SampleSchema, rows, writeSample)
}

// A reader hands out one row's values, column by column, by name.
type reader struct {
	cols map[string]arrow.Array
	row  int
}

func decode[T any](batch arrow.RecordBatch, want *arrow.Schema, read func(*reader) T) ([]T, error) {
	if err := RequireRows(batch.Schema(), want); err != nil {
		return nil, err
	}
	r := &reader{cols: make(map[string]arrow.Array, want.NumFields())}
	for _, name := range names(want) {
		if at := batch.Schema().FieldIndices(name); len(at) > 0 {
			r.cols[name] = batch.Column(at[0])
		}
	}
	out := make([]T, batch.NumRows())
	for r.row = range out {
		out[r.row] = read(r)
	}
	return out, nil
}

func (r *reader) text(name string) string {
	c := r.cols[name].(*array.String)
	if c.IsNull(r.row) {
		return ""
	}
	return clone(c.Value(r.row))
}

func (r *reader) optional(name string) *string {
	c, ok := r.cols[name].(*array.String)
	if !ok || c.IsNull(r.row) {
		return nil
	}
	v := clone(c.Value(r.row))
	return &v
}

func (r *reader) count(name string) int32 {
	c := r.cols[name].(*array.Int32)
	if c.IsNull(r.row) {
		return 0
	}
	return c.Value(r.row)
}

func (r *reader) optionalCount(name string) *int32 {
	c, ok := r.cols[name].(*array.Int32)
	if !ok || c.IsNull(r.row) {
		return nil
	}
	v := c.Value(r.row)
	return &v
}

func (r *reader) float(name string) float64 {
	c := r.cols[name].(*array.Float64)
	if c.IsNull(r.row) {
		return 0
	}
	return c.Value(r.row)
}

func (r *reader) list(name string) (items *array.Struct, from, to int) {
	c := r.cols[name].(*array.List)
	if c.IsNull(r.row) {
		return nil, 0, 0
	}
	a, b := c.ValueOffsets(r.row)
	return c.ListValues().(*array.Struct), int(a), int(b)
}

func (r *reader) messages(name string) []Message {
	items, from, to := r.list(name)
	out := make([]Message, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, Message{Role: clone(items.Field(0).(*array.String).Value(i)), Content: clone(items.Field(1).(*array.String).Value(i))})
	}
	return out
}

// clone copies a string out of Arrow memory, which may be given back while the row lives on.
func clone(s string) string { return strings.Clone(s) }

func readPrompt(r *reader) Prompt {
	return Prompt{ID: r.text("prompt_id"), Prompt: r.messages("prompt"), Tools: r.optional("tools"),
		Reference: r.optional("reference"), Source: r.text("source"), Meta: r.optional("meta"),
		Messages: r.optional("prompt_messages")}
}

func readCandidate(r *reader) Candidate {
	return Candidate{Prompt: readPrompt(r), Sample: r.count("sample"), Completion: r.messages("completion"),
		Reasoning: r.optional("reasoning"), ToolCalls: r.optional("tool_calls"), FinishReason: r.text("finish_reason"),
		PromptTokens: r.count("prompt_tokens"), CompletionTokens: r.count("completion_tokens"),
		Model: r.text("model"), RequestKey: r.text("request_key"), Refusal: r.optional("refusal"), LogProbs: r.logProbs("logprobs"),
		CachedTokens: r.optionalCount("cached_tokens"), ReasoningTokens: r.optionalCount("reasoning_tokens"),
		SystemFingerprint: r.optional("system_fingerprint"), System: r.optional("system")}
}

func readScored(r *reader) Scored {
	s := Scored{Candidate: readCandidate(r), Reward: r.float("reward")}
	items, from, to := r.list("scores")
	for i := from; i < to; i++ {
		s.Scores = append(s.Scores, Score{Name: clone(items.Field(0).(*array.String).Value(i)), Score: items.Field(1).(*array.Float64).Value(i),
			Verdict: clone(items.Field(2).(*array.String).Value(i)), Evidence: clone(items.Field(3).(*array.String).Value(i))})
	}
	return s
}

func readSample(r *reader) Sample {
	return Sample{Prompt: r.messages("prompt"), Completion: r.messages("completion"), Tools: r.optional("tools"),
		PromptID: r.text("prompt_id"), Sample: r.count("sample"), Reward: r.float("reward"), Reasoning: r.optional("reasoning"),
		ToolCalls: r.optional("tool_calls"), FinishReason: r.text("finish_reason"), CompletionTokens: r.count("completion_tokens"),
		Model: r.text("model"), RequestKey: r.text("request_key"), Meta: r.optional("meta"), Refusal: r.optional("refusal"), LogProbs: r.logProbs("logprobs"),
		ReasoningTokens: r.optionalCount("reasoning_tokens"), System: r.optional("system"), Messages: r.optional("prompt_messages")}
}

// A writer appends one row's values in the order of the schema's columns.
type writer struct {
	b   *array.RecordBuilder
	col int
}

func encode[T any](mem memory.Allocator, schema *arrow.Schema, rows []T, write func(*writer, T)) arrow.RecordBatch {
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	b.Reserve(len(rows))
	for _, row := range rows {
		write(&writer{b: b}, row)
	}
	return b.NewRecordBatch()
}

func (w *writer) next() array.Builder {
	w.col++
	return w.b.Field(w.col - 1)
}

func (w *writer) text(v string) { w.next().(*array.StringBuilder).Append(v) }

func (w *writer) optional(v *string) {
	if b := w.next().(*array.StringBuilder); v == nil {
		b.AppendNull()
	} else {
		b.Append(*v)
	}
}

func (w *writer) count(v int32) { w.next().(*array.Int32Builder).Append(v) }

func (w *writer) optionalCount(v *int32) {
	if b := w.next().(*array.Int32Builder); v == nil {
		b.AppendNull()
	} else {
		b.Append(*v)
	}
}

func (w *writer) float(v float64) { w.next().(*array.Float64Builder).Append(v) }

func (w *writer) messages(ms []Message) {
	l := w.next().(*array.ListBuilder)
	l.Append(true)
	s := l.ValueBuilder().(*array.StructBuilder)
	for _, m := range ms {
		s.Append(true)
		s.FieldBuilder(0).(*array.StringBuilder).Append(m.Role)
		s.FieldBuilder(1).(*array.StringBuilder).Append(m.Content)
	}
}

func writePrompt(w *writer, p Prompt) {
	w.text(p.ID)
	w.messages(p.Prompt)
	w.optional(p.Tools)
	w.optional(p.Reference)
	w.text(p.Source)
	w.optional(p.Meta)
	w.optional(p.Messages)
}

func writeCandidate(w *writer, c Candidate) {
	writePrompt(w, c.Prompt)
	w.count(c.Sample)
	w.messages(c.Completion)
	w.optional(c.Reasoning)
	w.optional(c.ToolCalls)
	w.text(c.FinishReason)
	w.count(c.PromptTokens)
	w.count(c.CompletionTokens)
	w.text(c.Model)
	w.text(c.RequestKey)
	w.optional(c.Refusal)
	w.logProbs(c.LogProbs)
	w.optionalCount(c.CachedTokens)
	w.optionalCount(c.ReasoningTokens)
	w.optional(c.SystemFingerprint)
	w.optional(c.System)
}

func writeScored(w *writer, s Scored) {
	writeCandidate(w, s.Candidate)
	w.float(s.Reward)
	l := w.next().(*array.ListBuilder)
	l.Append(true)
	b := l.ValueBuilder().(*array.StructBuilder)
	for _, x := range s.Scores {
		b.Append(true)
		b.FieldBuilder(0).(*array.StringBuilder).Append(x.Name)
		b.FieldBuilder(1).(*array.Float64Builder).Append(x.Score)
		b.FieldBuilder(2).(*array.StringBuilder).Append(x.Verdict)
		b.FieldBuilder(3).(*array.StringBuilder).Append(x.Evidence)
	}
}

func writeSample(w *writer, s Sample) {
	w.messages(s.Prompt)
	w.messages(s.Completion)
	w.optional(s.Tools)
	w.text(s.PromptID)
	w.count(s.Sample)
	w.float(s.Reward)
	w.optional(s.Reasoning)
	w.optional(s.ToolCalls)
	w.text(s.FinishReason)
	w.count(s.CompletionTokens)
	w.text(s.Model)
	w.text(s.RequestKey)
	w.optional(s.Meta)
	w.optional(s.Refusal)
	w.logProbs(s.LogProbs)
	w.optionalCount(s.ReasoningTokens)
	w.optional(s.System)
	w.optional(s.Messages)
}
