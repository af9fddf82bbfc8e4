package rundir

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// Files of a run carry keys with this prefix in their metadata.
const metaPrefix = "stillhouse:"

// EncodeParquet writes a batch as a Parquet file: one row group, zstd (whose frames carry checksums), and no time, host
// or version in it, so that equal rows give equal bytes however they lie in memory. The batch's Arrow schema is stored,
// and so are the pairs of meta, in the order of their keys.
func EncodeParquet(batch arrow.RecordBatch, meta map[string]string) (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			data, err = nil, fmt.Errorf("encode Parquet: %v", p)
		}
	}()
	schema := bare(batch.Schema())
	var buf bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &buf,
		parquet.NewWriterProperties(
			parquet.WithVersion(parquet.V2_6),
			parquet.WithCompression(compress.Codecs.Zstd),
			parquet.WithCreatedBy("stillhouse"),
			parquet.WithDictionaryDefault(false),
			parquet.WithDataPageSize(64<<10),
			parquet.WithBatchSize(16),
			parquet.WithMaxRowGroupLength(max(1, batch.NumRows()))),
		pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return nil, fmt.Errorf("encode Parquet: %w", err)
	}
	keys := make([]string, 0, len(meta))
	for k := range meta {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := w.AppendKeyValueMetadata(k, meta[k]); err != nil {
			return nil, fmt.Errorf("encode Parquet: %w", err)
		}
	}
	if batch.NumRows() > 0 { // readers stumble over an empty row group, not over none
		rows, err := relabel(batch, schema)
		if err != nil {
			return nil, err
		}
		defer rows.Release()
		if err := w.Write(rows); err != nil {
			return nil, fmt.Errorf("encode Parquet: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode Parquet: %w", err)
	}
	return buf.Bytes(), nil
}

// ReadParquet reads a Parquet file whole, as one batch, which the caller releases. columns names those to read, by
// default all. Files are not trusted: one that is cut off or damaged is an error, of the kind Invalid, that names it.
//
// Only the Parquet types count: what pyarrow stored as large_string or as a dictionary comes as plain strings.
func ReadParquet(ctx context.Context, path string, mem memory.Allocator, columns ...string) (arrow.RecordBatch, error) {
	var rows arrow.RecordBatch
	err := rowfile.Parquet(path, mem, func(r *pqarrow.FileReader, _ metadata.KeyValueMetadata) error {
		var err error
		rows, err = readAll(ctx, r, mem, columns)
		return err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// A footer is what a Parquet file says of itself.
type footer struct {
	rows int64
	meta map[string]string
}

func readFooter(path string) (f footer, err error) {
	err = rowfile.ParquetFooter(path, func(says *metadata.FileMetaData) error {
		f = footer{rows: says.NumRows, meta: map[string]string{}}
		for _, kv := range says.KeyValueMetadata() {
			f.meta[kv.Key] = kv.GetValue()
		}
		return nil
	})
	return f, err
}

func readSchema(path string) (schema *arrow.Schema, err error) {
	err = rowfile.ParquetFooter(path, func(says *metadata.FileMetaData) error {
		s, err := pqarrow.FromParquet(says.Schema, nil, nil)
		if err == nil {
			schema = bare(s)
		}
		return err
	})
	return schema, err
}

func readAll(ctx context.Context, r *pqarrow.FileReader, mem memory.Allocator, columns []string) (arrow.RecordBatch, error) {
	full, err := r.Schema()
	if err != nil {
		return nil, err
	}
	var leaves []int
	fields := full.Fields()
	if len(columns) > 0 {
		fields = nil
	}
	for _, name := range columns {
		at := full.FieldIndices(name)
		if len(at) != 1 {
			return nil, fmt.Errorf("there is no column %q", name)
		}
		fields = append(fields, full.Field(at[0]))
	}
	for i := range r.ParquetReader().MetaData().Schema.NumColumns() {
		root := r.ParquetReader().MetaData().Schema.ColumnRoot(i).Name()
		if len(columns) == 0 || slices.Contains(columns, root) {
			leaves = append(leaves, i)
		}
	}
	groups := make([]int, r.ParquetReader().NumRowGroups())
	for i := range groups {
		groups[i] = i
	}
	schema := bare(arrow.NewSchema(fields, nil))
	if len(groups) == 0 {
		return stillhouse.Concat(mem, schema, nil)
	}
	t, err := r.ReadRowGroups(ctx, leaves, groups)
	if err != nil {
		return nil, err
	}
	defer t.Release()
	if t.NumRows() != r.ParquetReader().NumRows() {
		return nil, fmt.Errorf("it says that it has %d rows, but there are %d", r.ParquetReader().NumRows(), t.NumRows())
	}
	return joined(t, schema, mem)
}

// joined makes one batch of a table, its columns in the order of schema.
func joined(t arrow.Table, schema *arrow.Schema, mem memory.Allocator) (arrow.RecordBatch, error) {
	cols := make([]arrow.Array, schema.NumFields())
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, f := range schema.Fields() {
		at := t.Schema().FieldIndices(f.Name)
		if len(at) != 1 {
			return nil, fmt.Errorf("the column %q is there %d times", f.Name, len(at))
		}
		chunks := t.Column(at[0]).Data().Chunks()
		one, err := array.Concatenate(chunks, mem)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		cols[i] = retype(one, f.Type)
		one.Release()
		if int64(cols[i].Len()) != t.NumRows() {
			return nil, fmt.Errorf("the column %q has %d values for %d rows", f.Name, cols[i].Len(), t.NumRows())
		}
	}
	return array.NewRecordBatch(schema, cols, t.NumRows()), nil
}
