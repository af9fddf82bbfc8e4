package rowfile

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// batchSize is how many rows are in memory at a time.
const batchSize = 1024

// parquetRows reads the rows of a Parquet file, of its columns only those that are asked for.
type parquetRows struct {
	rows  pqarrow.RecordReader // nil where there are no rows
	total int64
	names []string // of all columns
	want  []string // those of them to read
	batch arrow.RecordBatch
	at    int // in batch
	row   int // from 1
}

func openParquetRows(f *os.File, path string, columns []string) (reader, error) {
	p := &parquetRows{}
	return p, guard(path, func() error {
		r, _, err := openParquet(f, memory.DefaultAllocator)
		if err != nil {
			return err
		}
		md := r.ParquetReader().MetaData()
		for i := range md.Schema.Root().NumFields() {
			name := md.Schema.Root().Field(i).Name()
			if slices.Contains(p.names, name) {
				return fmt.Errorf("the column %q is there twice", name)
			}
			p.names = append(p.names, name)
			if len(columns) == 0 || slices.Contains(columns, name) {
				p.want = append(p.want, name)
			}
		}
		var leaves []int
		for i := range md.Schema.NumColumns() {
			// Without any column that is asked for, all are read: the rows are counted by what is there.
			if len(p.want) == 0 || slices.Contains(p.want, md.Schema.ColumnRoot(i).Name()) {
				leaves = append(leaves, i)
			}
		}
		if err := walk(r.ParquetReader(), leaves); err != nil {
			return err
		}
		if p.total = r.ParquetReader().NumRows(); p.total == 0 {
			return nil
		}
		p.rows, err = r.GetRecordReader(context.Background(), leaves, nil)
		return err
	})
}

func (p *parquetRows) number() int  { return p.row }
func (p *parquetRows) word() string { return "row" }

func (p *parquetRows) columns() ([]string, bool) { return p.names, true }

func (p *parquetRows) close() {
	defer func() { _ = recover() }() // over a damaged file, which has been an error already
	if p.rows != nil {
		p.rows.Release()
	}
}

func (p *parquetRows) next() (_ Row, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = p.damaged(fmt.Errorf("%v", r))
		}
	}()
	if p.rows == nil {
		return nil, io.EOF
	}
	for p.batch == nil || p.at == int(p.batch.NumRows()) {
		if !p.rows.Next() {
			// The reader ends with io.EOF, also where a column ends early.
			if err := p.rows.Err(); err != nil && err != io.EOF {
				return nil, p.damaged(err)
			}
			if int64(p.row) != p.total {
				return nil, p.damaged(fmt.Errorf("it says that it has %d rows, but there are %d", p.total, p.row))
			}
			return nil, io.EOF
		}
		p.batch, p.at = p.rows.RecordBatch(), 0
	}
	i := p.at
	p.at++
	p.row++
	values := make(Row, len(p.want))
	for _, name := range p.want {
		at := p.batch.Schema().FieldIndices(name)
		if len(at) != 1 {
			return nil, p.damaged(fmt.Errorf("the column %q is there %d times", name, len(at)))
		}
		v, err := Value(p.batch.Column(at[0]), i)
		if err != nil {
			return nil, BadRowf("column %q: %w", name, err)
		}
		values[name] = v
	}
	return values, nil
}

func (p *parquetRows) damaged(err error) error {
	return fmt.Errorf("the file is damaged at or after row %d: %w: make or fetch it again", max(1, p.row), err)
}
