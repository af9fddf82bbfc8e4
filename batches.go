package stillhouse

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

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
