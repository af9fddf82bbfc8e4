package rundir

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// ReadLeaves reads some columns of a Parquet file whole, as one batch, which the caller releases. A name is that of a column (reward) or of
// a field of the structs in a list (scores.verdict): then the list's structs have those fields alone. A column of the file that is not
// named costs nothing. Names that the file lacks are left out.
func ReadLeaves(ctx context.Context, path string, mem memory.Allocator, names ...string) (rows arrow.RecordBatch, err error) {
	want := func(leaf string) bool {
		parts := strings.Split(leaf, ".")
		return slices.Contains(names, parts[0]) || len(parts) > 1 && slices.Contains(names, parts[0]+"."+parts[len(parts)-1])
	}
	err = rowfile.ParquetLeaves(path, mem, want, func(r *pqarrow.FileReader, leaves []int) error {
		groups := make([]int, r.ParquetReader().NumRowGroups())
		for i := range groups {
			groups[i] = i
		}
		if len(groups) == 0 {
			rows, err = stillhouse.Concat(mem, arrow.NewSchema(nil, nil), nil)
			return err
		}
		t, err := r.ReadRowGroups(ctx, leaves, groups)
		if err != nil {
			return err
		}
		defer t.Release()
		if t.NumRows() != r.ParquetReader().NumRows() {
			return fmt.Errorf("it says that it has %d rows, but there are %d", r.ParquetReader().NumRows(), t.NumRows())
		}
		cols := make([]arrow.Array, t.NumCols())
		defer func() {
			for _, c := range cols {
				if c != nil {
					c.Release()
				}
			}
		}()
		for i := range cols {
			if cols[i], err = array.Concatenate(t.Column(i).Data().Chunks(), mem); err != nil {
				return fmt.Errorf("column %q: %w", t.Schema().Field(i).Name, err)
			}
			if int64(cols[i].Len()) != t.NumRows() {
				return fmt.Errorf("the column %q has %d values for %d rows", t.Schema().Field(i).Name, cols[i].Len(), t.NumRows())
			}
		}
		rows = array.NewRecordBatch(t.Schema(), cols, t.NumRows())
		return nil
	})
	return rows, err
}
