package distill

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"stillhouse"
)

// parquetRows reads the rows of a Parquet file, of its columns only those that are asked for.
type parquetRows struct {
	file  *os.File
	pf    *file.Reader
	rows  pqarrow.RecordReader
	names []string
	batch arrow.RecordBatch
	at    int // in batch
	row   int // from 1
	want  []string
}

// openParquet does not take over the file where it returns an error.
func openParquet(f *os.File, o *PromptsOptions) (_ rowReader, err error) {
	bad := func(err error) error {
		return stillhouse.Invalidf("read prompts: %s is not a whole Parquet file: %w", o.Path, err)
	}
	defer func() {
		if r := recover(); r != nil {
			err = bad(fmt.Errorf("%v", r))
		}
	}()
	pf, err := file.NewParquetReader(f)
	if err != nil {
		return nil, bad(err)
	}
	p := &parquetRows{file: f, pf: pf, want: o.columns()}
	root := pf.MetaData().Schema.Root()
	for i := range root.NumFields() {
		p.names = append(p.names, root.Field(i).Name())
	}
	for _, name := range p.want {
		if !slices.Contains(p.names, name) {
			return nil, missingColumn(o, name, p.names)
		}
	}
	var leaves []int
	for i := range pf.MetaData().Schema.NumColumns() {
		top, _, _ := strings.Cut(pf.MetaData().Schema.Column(i).Path(), ".")
		if slices.Contains(p.want, top) || slices.Contains(p.want, pf.MetaData().Schema.Column(i).Path()) {
			leaves = append(leaves, i)
		}
	}
	if err := walk(pf, leaves); err != nil {
		return nil, bad(err)
	}
	ar, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: 1024}, memory.DefaultAllocator)
	if err != nil {
		return nil, bad(err)
	}
	if pf.NumRows() == 0 {
		return nil, stillhouse.Invalidf("read prompts: %s has no rows", o.Path)
	}
	if p.rows, err = ar.GetRecordReader(context.Background(), leaves, nil); err != nil {
		return nil, bad(err)
	}
	return p, nil
}

// walk reads the head of every column chunk. pqarrow does the same on goroutines of its own for columns that hold
// structs, where a panic on a damaged file would end the process: here it can be recovered.
func walk(pf *file.Reader, leaves []int) error {
	for g := range pf.NumRowGroups() {
		group := pf.RowGroup(g)
		if group.NumRows() < 0 {
			return fmt.Errorf("row group %d has %d rows", g, group.NumRows())
		}
		for _, i := range leaves {
			pages, err := group.GetColumnPageReader(i)
			if err != nil {
				return err
			}
			pages.Next()
			if err := pages.Err(); err != nil {
				return err
			}
			if err := pages.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *parquetRows) place() string { return fmt.Sprintf("row %d", p.row) }

func (p *parquetRows) columns() []string { return p.names }

func (p *parquetRows) next() (row, error) {
	for p.batch == nil || p.at == int(p.batch.NumRows()) {
		if !p.rows.Next() {
			// The reader ends with io.EOF, also where a column ends early.
			if err := p.rows.Err(); err != nil && err != io.EOF {
				return nil, fmt.Errorf("the file is damaged after row %d: %w", p.row, err)
			}
			if int64(p.row) != p.pf.NumRows() {
				return nil, fmt.Errorf("the file is damaged: it has %d rows and says that it has %d", p.row, p.pf.NumRows())
			}
			return nil, io.EOF
		}
		p.batch, p.at = p.rows.RecordBatch(), 0
	}
	i := p.at
	p.at++
	p.row++
	values := make(row, len(p.want))
	for _, name := range p.want {
		at := p.batch.Schema().FieldIndices(name)
		if len(at) == 0 {
			return nil, fmt.Errorf("column %q cannot be read", name)
		}
		v, err := value(p.batch.Column(at[0]), i)
		if err != nil {
			return nil, badf("column %q: %w", name, err)
		}
		values[name] = v
	}
	return values, nil
}

func (p *parquetRows) Close() error {
	if p.rows != nil {
		p.rows.Release()
	}
	return p.file.Close()
}

// value is an array's value as encoding/json would read it from a JSON file.
func value(a arrow.Array, i int) (v any, err error) {
	if a.IsNull(i) {
		return nil, nil
	}
	switch a := a.(type) {
	case *array.String:
		return strings.Clone(a.Value(i)), nil
	case *array.LargeString:
		return strings.Clone(a.Value(i)), nil
	case *array.List:
		from, to := a.ValueOffsets(i)
		list := make([]any, 0, min(to-from, 1024))
		for k := from; k < to; k++ {
			v, err := value(a.ListValues(), int(k))
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case *array.Struct:
		m := make(map[string]any, a.NumField())
		for f := range a.NumField() {
			if m[a.DataType().(*arrow.StructType).Field(f).Name], err = value(a.Field(f), i); err != nil {
				return nil, err
			}
		}
		return m, nil
	case *array.Dictionary:
		return value(a.Dictionary(), a.GetValueIndex(i))
	}
	b, err := marshal(a.GetOneForMarshal(i))
	if err != nil {
		return nil, err
	}
	err = decodeJSON(b, &v)
	return v, err
}
