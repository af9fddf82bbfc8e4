package train

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/internal/student"
)

// An Example is a row, or a pack of rows, as the model sees it.
type Example struct {
	Row       string  // for people: the row's name
	Tokens    []int32 // the whole row
	Labels    []int32 // as long: the token itself where it is trained, else student.Ignored
	Cut       int     // tokens that max_length cut off
	Documents []int   // of a pack: the tokens of each row in it, between which nothing is seen; nil is one document
}

// Trained is the number of tokens that the row trains: those with a label, without the first of a document, which
// nothing predicts.
func (e Example) Trained() (n int) {
	for range e.trained() {
		n++
	}
	return n
}

// trained are the trained tokens.
func (e Example) trained() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		at := 0
		for _, n := range e.documents() {
			for _, l := range e.Labels[min(at+1, at+n) : at+n] {
				if l != student.Ignored && !yield(l) {
					return
				}
			}
			at += n
		}
	}
}

// documents are the lengths of what attention does not leave.
func (e Example) documents() []int {
	if e.Documents != nil {
		return e.Documents
	}
	return []int{len(e.Tokens)}
}

// labelled reports whether any token has a label. TRL counts a row's first token here too, though nothing predicts it.
func (e Example) labelled() bool {
	return slices.ContainsFunc(e.Labels, func(l int32) bool { return l != student.Ignored })
}

// trains reports whether a token with one of these ids is trained.
func (e Example) trains(ids []int32) bool {
	for l := range e.trained() {
		if slices.Contains(ids, l) {
			return true
		}
	}
	return false
}

var tokensType = arrow.ListOfNonNullable(arrow.PrimitiveTypes.Int32)

// ExampleSchema is what [Encode] makes.
var ExampleSchema = arrow.NewSchema([]arrow.Field{
	{Name: "row", Type: arrow.BinaryTypes.String},
	{Name: "input_ids", Type: tokensType},
	{Name: "labels", Type: tokensType},
	{Name: "cut", Type: arrow.PrimitiveTypes.Int32},
}, nil)

// ExampleBatch makes a batch of [ExampleSchema].
func ExampleBatch(mem memory.Allocator, rows []Example) arrow.RecordBatch {
	b := array.NewRecordBuilder(mem, ExampleSchema)
	defer b.Release()
	for _, e := range rows {
		b.Field(0).(*array.StringBuilder).Append(e.Row)
		for i, ids := range [][]int32{e.Tokens, e.Labels} {
			l := b.Field(1 + i).(*array.ListBuilder)
			l.Append(true)
			l.ValueBuilder().(*array.Int32Builder).AppendValues(ids, nil)
		}
		b.Field(3).(*array.Int32Builder).Append(int32(e.Cut))
	}
	return b.NewRecordBatch()
}

// Examples reads the rows of a batch that has the columns of [ExampleSchema].
func Examples(batch arrow.RecordBatch) ([]Example, error) {
	if err := stillhouse.Require(batch.Schema(), ExampleSchema, columns(ExampleSchema)...); err != nil {
		return nil, err
	}
	column := func(name string) arrow.Array { return batch.Column(batch.Schema().FieldIndices(name)[0]) }
	names, cut := column("row").(*array.String), column("cut").(*array.Int32)
	out := make([]Example, batch.NumRows())
	for i := range out {
		ids := func(name string) []int32 {
			l := column(name).(*array.List)
			from, to := l.ValueOffsets(i)
			return slices.Clone(l.ListValues().(*array.Int32).Int32Values()[from:to])
		}
		out[i] = Example{Row: string([]byte(names.Value(i))), Tokens: ids("input_ids"), Labels: ids("labels"), Cut: int(cut.Value(i))}
		if len(out[i].Labels) != len(out[i].Tokens) {
			return nil, stillhouse.Invalidf("row %s has %d tokens and %d labels", out[i].Row, len(out[i].Tokens), len(out[i].Labels))
		}
	}
	return out, nil
}

// ReadExamples reads all rows of a source, in order.
func ReadExamples(ctx context.Context, src stillhouse.Source) (out []Example, err error) {
	for shard := range src.Shards() {
		batch, err := src.Read(ctx, shard, memory.DefaultAllocator)
		if err != nil {
			return nil, fmt.Errorf("train: shard %d: %w", shard, err)
		}
		more, err := Examples(batch)
		batch.Release()
		if err != nil {
			return nil, fmt.Errorf("train: shard %d: %w", shard, err)
		}
		out = append(out, more...)
	}
	return out, nil
}
