package stillhouse

import (
	"fmt"
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

// Rows makes a batch of the rows of batch at the given places, in that order. All columns are carried over. A place
// outside the batch is a panic.
func Rows(mem memory.Allocator, batch arrow.RecordBatch, at []int) (arrow.RecordBatch, error) {
	if len(at) == 0 {
		return batch.NewSlice(0, 0), nil
	}
	var runs []arrow.RecordBatch // of rows that lie side by side
	defer func() {
		for _, r := range runs {
			r.Release()
		}
	}()
	for i := 0; i < len(at); {
		j := i + 1
		for j < len(at) && at[j] == at[j-1]+1 {
			j++
		}
		runs = append(runs, batch.NewSlice(int64(at[i]), int64(at[j-1]+1)))
		i = j
	}
	return Concat(mem, batch.Schema(), runs)
}

// Concat joins batches of one schema into one. No batches make a batch without rows.
func Concat(mem memory.Allocator, schema *arrow.Schema, batches []arrow.RecordBatch) (arrow.RecordBatch, error) {
	switch len(batches) {
	case 0:
		b := array.NewRecordBuilder(mem, schema)
		defer b.Release()
		return b.NewRecordBatch(), nil
	case 1:
		batches[0].Retain()
		return batches[0], nil
	}
	var rows int64
	for _, b := range batches {
		rows += b.NumRows()
	}
	cols := make([]arrow.Array, schema.NumFields())
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i := range cols {
		parts := make([]arrow.Array, len(batches))
		for j, b := range batches {
			parts[j] = b.Column(i)
		}
		var err error
		if cols[i], err = array.Concatenate(parts, mem); err != nil {
			return nil, fmt.Errorf("join column %q: %w", schema.Field(i).Name, err)
		}
	}
	return array.NewRecordBatch(schema, cols, rows), nil
}

// withText makes a batch of schema: the columns of batch and, after them, one column of text for each value.
func withText(mem memory.Allocator, batch arrow.RecordBatch, schema *arrow.Schema, values ...string) arrow.RecordBatch {
	cols := append([]arrow.Array{}, batch.Columns()...)
	for _, v := range values {
		b := array.NewStringBuilder(mem)
		for range batch.NumRows() {
			b.Append(v)
		}
		c := b.NewArray()
		b.Release()
		defer c.Release()
		cols = append(cols, c)
	}
	return array.NewRecordBatch(schema, cols, batch.NumRows())
}

// A reader hands out one row's values, column by column, by name.
type reader struct {
	cols map[string]arrow.Array
	row  int
}

func decode[T any](batch arrow.RecordBatch, want *arrow.Schema, read func(*reader) T) ([]T, error) {
	if err := Require(batch.Schema(), want, names(want)...); err != nil {
		return nil, err
	}
	r := &reader{cols: make(map[string]arrow.Array, want.NumFields())}
	for _, name := range names(want) {
		r.cols[name] = batch.Column(batch.Schema().FieldIndices(name)[0])
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
	c := r.cols[name].(*array.String)
	if c.IsNull(r.row) {
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
		Reference: r.optional("reference"), Source: r.text("source"), Meta: r.optional("meta")}
}

func readCandidate(r *reader) Candidate {
	return Candidate{Prompt: readPrompt(r), Sample: r.count("sample"), Completion: r.messages("completion"),
		Reasoning: r.optional("reasoning"), ToolCalls: r.optional("tool_calls"), FinishReason: r.text("finish_reason"),
		PromptTokens: r.count("prompt_tokens"), CompletionTokens: r.count("completion_tokens"),
		Model: r.text("model"), RequestKey: r.text("request_key")}
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
		Model: r.text("model"), RequestKey: r.text("request_key"), Meta: r.optional("meta")}
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
}
