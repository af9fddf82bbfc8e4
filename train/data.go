package train

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/internal/rundir"
)

// ReadRows reads the rows of a JSONL or a Parquet file, which are all of one kind. textField is the column of plain
// text rows. Errors name the file and the line, or the row, and what would be right.
func ReadRows(ctx context.Context, d Data, textField string) ([]Row, error) {
	f, err := os.Open(d.Path)
	if err != nil {
		return nil, stillhouse.Invalidf("data.path: %w: name a JSONL or Parquet file", err)
	}
	defer f.Close()
	name := filepath.Base(d.Path)
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, stillhouse.Invalidf("data.path: %s is a directory: name a JSONL or Parquet file", d.Path)
	}
	magic := make([]byte, 4)
	n, err := io.ReadFull(f, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("data.path: read %s: %w", name, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("data.path: read %s: %w", name, err)
	}
	var out []Row
	if bytes.Equal(magic[:n], []byte("PAR1")) || filepath.Ext(name) == ".parquet" {
		out, err = readParquet(ctx, d, name, textField)
	} else {
		out, err = readJSONL(ctx, f, name, d.Limit, textField)
	}
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, stillhouse.Invalidf("data.path: %s has no rows: there is nothing to train on", d.Path)
	}
	first := out[0]
	for _, r := range out {
		if r.kind() != first.kind() || isString(r.Prompt) != isString(first.Prompt) {
			return nil, stillhouse.Invalidf("data.path: %s has rows of another kind (%s) than %s (%s): all rows of a file must be of one kind",
				r.Name, r.kind(), first.Name, first.kind())
		}
	}
	return out, nil
}

// maxLine bounds the memory that one line can take.
const maxLine = 64 << 20

func readJSONL(ctx context.Context, f io.Reader, name string, limit int, textField string) (out []Row, err error) {
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for n := 1; lines.Scan() && (limit == 0 || len(out) < limit); n++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		line := bytes.TrimSpace(lines.Bytes())
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(line) == 0 {
			continue
		}
		at := fmt.Sprintf("%s line %d", name, n)
		r, err := parseLine(line, at, textField)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, stillhouse.Invalidf("data.path: %s: a line after %d rows is longer than %d MiB: is it JSONL, one object a line?", name, len(out), maxLine>>20)
		}
		return nil, fmt.Errorf("data.path: read %s: %w", name, err)
	}
	return out, nil
}

func parseLine(line []byte, at, textField string) (Row, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return Row{}, stillhouse.Invalidf("%s is not a JSON object: %w: mend the line or take it out", at, err)
	}
	there := make([]string, 0, len(fields))
	for k := range fields {
		there = append(there, k)
	}
	slices.Sort(there)
	return row(at, fields, there, textField)
}

func readParquet(ctx context.Context, d Data, name, textField string) ([]Row, error) {
	batch, err := rundir.ReadParquet(ctx, d.Path, memory.DefaultAllocator)
	if err != nil {
		return nil, fmt.Errorf("data.path: %w", err)
	}
	defer batch.Release()
	if d.Limit > 0 && int64(d.Limit) < batch.NumRows() {
		batch = batch.NewSlice(0, int64(d.Limit))
		defer batch.Release()
	}
	return rows(batch, textField, func(i int) string { return fmt.Sprintf("%s row %d", name, i+1) })
}
