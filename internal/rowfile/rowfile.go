// Package rowfile reads the rows of files that users bring.
//
// In goes a path: a JSONL file, one object a line, a JSON file with one array of objects, either of them packed by gzip or
// not, or a Parquet file. Its first bytes say which it is, or its name where that ends in .parquet. A byte order mark, lines that end in CRLF and lines of white space are passed over; a line may be
// as long as [MaxLine].
//
// Out come the rows one by one, each as the JSON values of its columns, with its place for errors: line 7, row 7. Values
// of JSONL are as they stand in the file; those of Parquet are as encoding/json writes them. What the columns mean is for
// the caller to say.
//
// Files are not trusted. A row that cannot be read, such as a line that is no object or a text that is not UTF-8, is a
// [BadRow], after which others can be read. All else is an error of the kind Invalid that names the file: one that is
// missing, empty, cut off or damaged. A damaged Parquet file never ends the process.
package rowfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"stillhouse"
)

// A Row holds the values of a row's columns.
type Row map[string]json.RawMessage

// A BadRow is an error of one row, after which others can be read.
type BadRow struct{ Err error }

func (b *BadRow) Error() string { return b.Err.Error() }
func (b *BadRow) Unwrap() error { return b.Err }

// BadRowf makes an error of the row that was read last.
func BadRowf(format string, args ...any) error { return &BadRow{fmt.Errorf(format, args...)} }

// A File is a file whose rows are read.
type File struct {
	path string
	file *os.File
	rows reader
	some bool // whether a row was there
}

// A reader hands out the rows of one format. Its errors do not name the file.
type reader interface {
	next() (Row, error) // io.EOF at the end
	number() int        // of the row handed out last, in its word
	word() string
	columns() (names []string, all bool)
	close()
}

// Open opens the file at path. Of a Parquet file only the named columns are read, by default all; that one of them is not
// there is no error. The caller closes the file.
func Open(path string, columns ...string) (*File, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, 4)
	n, _ := f.ReadAt(magic, 0)
	r := &File{path: path, file: f}
	switch {
	case n == 0:
		err = stillhouse.Invalidf("%s is empty: name a file that has rows", path)
	case bytes.Equal(magic[:n], []byte("PAR1")) || strings.EqualFold(filepath.Ext(path), ".parquet"):
		r.rows, err = openParquetRows(f, path, columns)
	default:
		if r.rows, err = newText(f); err != nil {
			err = stillhouse.Invalidf("%s: %w: make or fetch it again", path, err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

func open(path string) (*os.File, error) {
	info, err := os.Stat(path) // before it is opened, which would wait at a pipe
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, stillhouse.Invalidf("there is no file %s: check the path", path)
	case err != nil:
		return nil, stillhouse.Invalidf("%w: name a file that can be read", err)
	case info.IsDir():
		return nil, stillhouse.Invalidf("%s is a directory: name a file in it", path)
	case !info.Mode().IsRegular():
		return nil, stillhouse.Invalidf("%s is a pipe or a device: write the rows to a file and name that", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, stillhouse.Invalidf("%w: name a file that can be read", err)
	}
	return f, nil
}

// Next returns the next row. At the end it returns io.EOF; a file without any row is an error.
func (f *File) Next(ctx context.Context) (Row, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := f.rows.next()
	var bad *BadRow
	switch {
	case err == nil || errors.As(err, &bad):
		f.some = true
		return r, err
	case errors.Is(err, io.EOF) && f.some:
		return nil, io.EOF
	case errors.Is(err, io.EOF):
		return nil, stillhouse.Invalidf("%s has no rows: name a file that has some", f.path)
	default:
		return nil, stillhouse.Invalidf("%s: %w", f.path, err)
	}
}

// Place is that of the row that Next returned last: line 7, or row 7.
func (f *File) Place() string { return fmt.Sprintf("%s %d", f.rows.word(), f.rows.number()) }

// Number is that of the row that Next returned last, and Word what it counts: line, row.
func (f *File) Number() int  { return f.rows.number() }
func (f *File) Word() string { return f.rows.word() }

// Columns are those of the file, in their order, or, where they are not all known before the end, those seen so far.
func (f *File) Columns() (names []string, all bool) { return f.rows.columns() }

// Close closes the file.
func (f *File) Close() error {
	f.rows.close()
	return f.file.Close()
}

// Encode writes JSON as it should be stored: names sorted, no escapes for HTML, numbers of type json.Number as they are.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// Decode reads exactly one JSON value into to and keeps numbers as they are written, as json.Number, where to leaves the
// type open.
func Decode(b []byte, to any) error {
	switch v := to.(type) { // without numbers of open types, which most rows are read as, twice as fast
	case *Row:
		if json.Unmarshal(b, v) == nil {
			return nil
		}
	case *any:
		if text := ""; len(b) > 0 && b[0] == '"' && json.Unmarshal(b, &text) == nil {
			*v = text
			return nil
		}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err := d.Decode(to)
	var other *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it breaks off")
	case errors.As(err, &other) && other.Field == "":
		return fmt.Errorf("it is a JSON %s", other.Value)
	case err != nil:
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the value")
	}
	return nil
}
