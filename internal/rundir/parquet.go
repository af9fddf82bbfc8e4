package rundir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	pqfile "github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/klauspost/compress/snappy"

	"stillhouse"
)

// Files of a run carry keys with this prefix in their metadata.
const metaPrefix = "stillhouse:"

func init() {
	if c, err := compress.GetCodec(compress.Codecs.Snappy); err == nil {
		compress.RegisterCodec(compress.Codecs.Snappy, boundedSnappy{c})
	}
}

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
	err := open(path, mem, func(r *pqarrow.FileReader, _ metadata.KeyValueMetadata) error {
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
	rows   int64
	schema *arrow.Schema
	meta   map[string]string
}

func readFooter(path string) (f footer, err error) {
	err = open(path, memory.DefaultAllocator, func(r *pqarrow.FileReader, meta metadata.KeyValueMetadata) error {
		f = footer{rows: r.ParquetReader().NumRows(), meta: map[string]string{}}
		for _, kv := range meta {
			f.meta[kv.Key] = kv.GetValue()
		}
		s, err := r.Schema()
		if err != nil {
			return err
		}
		f.schema = bare(s)
		return nil
	})
	return f, err
}

// open opens a Parquet file for do. The reader panics on some damaged files; here, and on this goroutine only since
// nothing is read in parallel, that becomes an error.
func open(path string, mem memory.Allocator, do func(*pqarrow.FileReader, metadata.KeyValueMetadata) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return stillhouse.Invalidf("%s: there is no such file", path)
		}
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.IsDir() {
		return stillhouse.Invalidf("%s is a directory, not a Parquet file", path)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			err = stillhouse.Invalidf("%s is cut off, damaged or no Parquet file: %w", path, err)
		}
	}()
	// Pages come from Go's allocator: the reader gives them back by finalizers.
	r, err := pqfile.NewParquetReader(section(f), pqfile.WithReadProps(parquet.NewReaderProperties(memory.NewGoAllocator())))
	if err != nil {
		return err
	}
	// The Arrow schema stored in the metadata is not looked at. It would bring large strings and dictionaries in, and a
	// damaged one makes the reader allocate what it claims, up to the end of the process.
	meta := r.MetaData().KeyValueMetadata()
	r.MetaData().FileMetaData.KeyValueMetadata = nil
	if err := walk(r); err != nil {
		return err
	}
	a, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, mem)
	if err != nil {
		return err
	}
	return do(a, meta)
}

// walk reads the head of every column chunk. pqarrow does so on goroutines of its own for columns within structs, where
// a panic over a damaged file would end the process: here it can be recovered.
func walk(r *pqfile.Reader) error {
	for g := range r.NumRowGroups() {
		group := r.RowGroup(g)
		for c := range group.NumColumns() {
			pages, err := group.GetColumnPageReader(c)
			if err != nil {
				return err
			}
			pages.Next()
			if err := errors.Join(pages.Err(), pages.Close()); err != nil {
				return err
			}
		}
	}
	return nil
}

// section keeps the reader from closing the file, which its opener does.
func section(f *os.File) parquet.ReaderAtSeeker {
	return struct {
		io.ReaderAt
		io.Seeker
	}{f, f}
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

// boundedSnappy refuses a block that claims to be larger than its page: by default the room is allocated unseen.
type boundedSnappy struct{ compress.Codec }

func (c boundedSnappy) DecodeWithError(dst, src []byte) ([]byte, error) {
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n > len(dst) {
		return nil, fmt.Errorf("a snappy block claims %d bytes in a page of %d", n, len(dst))
	}
	return snappy.Decode(dst, src)
}
