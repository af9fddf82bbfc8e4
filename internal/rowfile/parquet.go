package rowfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	pqfile "github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/klauspost/compress/snappy"

	"stillhouse"
)

func init() {
	if c, err := compress.GetCodec(compress.Codecs.Snappy); err == nil {
		compress.RegisterCodec(compress.Codecs.Snappy, boundedSnappy{c})
	}
	if c, err := compress.GetCodec(compress.Codecs.Zstd); err == nil {
		if z, ok := c.(zstdCodec); ok {
			compress.RegisterCodec(compress.Codecs.Zstd, sharedZstd{z})
		}
	}
}

// Parquet opens a Parquet file for do, which must not keep the reader; meta are the pairs in the file's footer. A file
// that is cut off or damaged is an error, of the kind Invalid, that names it, and so is every error of do but one of a
// context. The reader panics on some damaged files; here, and on this goroutine only since nothing is read in parallel,
// that becomes an error.
//
// Only the Parquet types count: what pyarrow stored as large_string or as a dictionary comes as plain strings.
func Parquet(path string, mem memory.Allocator, do func(r *pqarrow.FileReader, meta metadata.KeyValueMetadata) error) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return guard(path, func() error {
		r, meta, err := openParquet(f, mem)
		if err != nil {
			return err
		}
		if err := walk(r.ParquetReader(), nil); err != nil {
			return err
		}
		return do(r, meta)
	})
}

// ParquetFooter opens a Parquet file as [Parquet] does, for do to look at what the file says of itself. Nothing is read of
// its columns.
func ParquetFooter(path string, do func(*metadata.FileMetaData) error) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return guard(path, func() error {
		r, err := pqfile.NewParquetReader(section(f))
		if err != nil {
			return err
		}
		return do(r.MetaData())
	})
}

// ParquetLeaves is as [Parquet], for a file of which do reads only the leaves (columns within columns, scores.list.element.name)
// that want names: do gets their numbers, and nothing is read of the others.
func ParquetLeaves(path string, mem memory.Allocator, want func(leaf string) bool, do func(r *pqarrow.FileReader, leaves []int) error) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return guard(path, func() error {
		r, _, err := openParquet(f, mem)
		if err != nil {
			return err
		}
		leaves := []int{}
		for i := range r.ParquetReader().MetaData().Schema.NumColumns() {
			if want(r.ParquetReader().MetaData().Schema.Column(i).Path()) {
				leaves = append(leaves, i)
			}
		}
		if err := walk(r.ParquetReader(), leaves); err != nil {
			return err
		}
		return do(r, leaves)
	})
}

// guard makes errors and panics of do errors that name the file.
func guard(path string, do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			err = stillhouse.Invalidf("%s is cut off, damaged or no Parquet file: %w: make or fetch it again", path, err)
		}
	}()
	return do()
}

// openParquet panics on some damaged files.
func openParquet(f *os.File, mem memory.Allocator) (*pqarrow.FileReader, metadata.KeyValueMetadata, error) {
	// Pages come from Go's allocator: the reader gives them back by finalizers.
	r, err := pqfile.NewParquetReader(section(f), pqfile.WithReadProps(parquet.NewReaderProperties(memory.NewGoAllocator())))
	if err != nil {
		return nil, nil, err
	}
	// The Arrow schema stored in the metadata is not looked at. It would bring large strings and dictionaries in, and a
	// damaged one makes the reader allocate what it claims, up to the end of the process.
	meta := r.MetaData().KeyValueMetadata()
	r.MetaData().FileMetaData.KeyValueMetadata = nil
	a, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: batchSize}, mem)
	return a, meta, err
}

// walk reads the head of every chunk of the columns with these numbers, of all where leaves is nil. pqarrow does so on
// goroutines of its own for columns within structs, where a panic over a damaged file would end the process: here it can
// be recovered.
func walk(r *pqfile.Reader, leaves []int) error {
	if leaves == nil {
		for c := range r.MetaData().Schema.NumColumns() {
			leaves = append(leaves, c)
		}
	}
	for g := range r.NumRowGroups() {
		group := r.RowGroup(g)
		if group.NumRows() < 0 {
			return fmt.Errorf("row group %d has %d rows", g, group.NumRows())
		}
		for _, c := range leaves {
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

type zstdCodec interface {
	compress.ErrorCodec
	compress.StreamingCodec
}

// sharedZstd packs pages with the encoder that the codec keeps for all callers. What arrow-go has for levels, and takes for
// the default one as well, are encoders that the collector throws away: 2.5 MB each, made anew many times a run.
type sharedZstd struct{ zstdCodec }

func (c sharedZstd) EncodeLevel(dst, src []byte, level int) []byte {
	if level == compress.DefaultCompressionLevel {
		return c.Encode(dst, src)
	}
	return c.zstdCodec.EncodeLevel(dst, src, level)
}
