package testkit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

// checkSchema looks at what the stage promises.
func (c Case) checkSchema(mem memory.Allocator) error {
	rows := c.Input(mem)
	defer rows.Release()
	s := c.stage()
	out, err := s.Schema(rows.Schema())
	if err != nil {
		return fmt.Errorf("refuses the case's own input: %w", err)
	}
	if c.Output != nil && !out.Equal(c.Output) {
		return fmt.Errorf("promises another schema:\n%v\nnot\n%v", out, c.Output)
	}
	for i, bad := range c.BadInput {
		if _, err := s.Schema(bad); err == nil || stillhouse.KindOf(err) != stillhouse.Invalid {
			return fmt.Errorf("bad input %d: the error is %v, not an invalid one", i, err)
		}
	}
	// An emitted batch of another schema is an error of the run.
	e := &emitter{mem: mem, schema: out}
	return e.drive(context.Background(), s, rows)
}

// checkColumns takes every column away and makes it another type, adds one, and turns their order round.
func (c Case) checkColumns(mem memory.Allocator) error {
	rows := c.Input(mem)
	defer rows.Release()
	for _, need := range c.Needs {
		if !rows.Schema().HasField(need) {
			return fmt.Errorf("the case's input lacks the column %q that the stage needs", need)
		}
	}
	for i, f := range rows.Schema().Fields() {
		needed := slices.Contains(c.Needs, f.Name)
		if err := c.without(mem, rows, i, needed); err != nil {
			return fmt.Errorf("without the column %q: %w", f.Name, err)
		}
		if err := c.retyped(mem, rows, i, needed); err != nil {
			return fmt.Errorf("with the column %q as a bool: %w", f.Name, err)
		}
	}
	return c.rearranged(mem, rows)
}

func (c Case) without(mem memory.Allocator, rows arrow.RecordBatch, i int, needed bool) error {
	fields := slices.Delete(slices.Clone(rows.Schema().Fields()), i, i+1)
	cols := slices.Delete(slices.Clone(rows.Columns()), i, i+1)
	return c.refusedOrRun(mem, fields, cols, rows, rows.ColumnName(i), needed)
}

func (c Case) retyped(mem memory.Allocator, rows arrow.RecordBatch, i int, needed bool) error {
	flags := array.NewBooleanBuilder(mem)
	defer flags.Release()
	for range rows.NumRows() {
		flags.Append(true)
	}
	col := flags.NewArray()
	defer col.Release()
	fields, cols := slices.Clone(rows.Schema().Fields()), slices.Clone(rows.Columns())
	fields[i] = arrow.Field{Name: fields[i].Name, Type: arrow.FixedWidthTypes.Boolean}
	cols[i] = col
	return c.refusedOrRun(mem, fields, cols, rows, rows.ColumnName(i), needed)
}

// refusedOrRun is an error when a stage neither refuses a schema in the right way nor does its work on such rows.
func (c Case) refusedOrRun(mem memory.Allocator, fields []arrow.Field, cols []arrow.Array, rows arrow.RecordBatch, column string, needed bool) error {
	schema := arrow.NewSchema(fields, nil)
	s := c.stage()
	_, err := s.Schema(schema)
	switch {
	case err == nil && needed:
		return fmt.Errorf("is accepted, though the stage needs it")
	case err != nil && stillhouse.KindOf(err) != stillhouse.Invalid:
		return fmt.Errorf("the error is %v, not invalid: %w", stillhouse.KindOf(err), err)
	case err != nil && !strings.Contains(err.Error(), column):
		return fmt.Errorf("the error does not name it: %w", err)
	case err != nil:
		return nil
	}
	b := array.NewRecordBatch(schema, cols, rows.NumRows())
	defer b.Release()
	if _, err := run(context.Background(), mem, s, schema, []arrow.RecordBatch{b}, stillhouse.Options{}); err != nil {
		return fmt.Errorf("Schema accepts it, but then the run fails: %w", err)
	}
	return nil
}

// rearranged runs the stage over the same rows with a column more and the columns in another order.
func (c Case) rearranged(mem memory.Allocator, rows arrow.RecordBatch) error {
	want, err := c.base(mem)
	if err != nil {
		return err
	}
	const extra = "conform_extra"
	notes := array.NewStringBuilder(mem)
	defer notes.Release()
	for i := range rows.NumRows() {
		notes.Append(fmt.Sprint(i)) // has no blanks, see cutColumn
	}
	col := notes.NewArray()
	defer col.Release()
	fields := append([]arrow.Field{{Name: extra, Type: arrow.BinaryTypes.String}}, rows.Schema().Fields()...)
	cols := append([]arrow.Array{col}, rows.Columns()...)
	slices.Reverse(fields)
	slices.Reverse(cols)
	b := array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, rows.NumRows())
	defer b.Release()
	got, err := run(context.Background(), mem, c.stage(), b.Schema(), []arrow.RecordBatch{b}, stillhouse.Options{})
	if err != nil {
		return fmt.Errorf("with a column more and in another order: %w", err)
	}
	for _, list := range [][]string{got.Kept, got.Dropped, got.Failed} {
		for i, line := range list {
			list[i] = cutColumn(line, extra)
		}
	}
	return same("with a column more and in another order", want, got)
}

// cutColumn takes a column whose value has no blanks out of a line.
func cutColumn(line, column string) string {
	before, after, ok := strings.Cut(line, column+"=")
	if !ok {
		return line
	}
	_, after, _ = strings.Cut(after, " ")
	return before + after
}
