package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"stillhouse"
	"stillhouse/internal/rowfile"
)

// ReadRows reads the rows of data. Errors begin with the key.
func (o Options) ReadRows(ctx context.Context) ([]Row, error) {
	list, err := ReadRows(ctx, o.Data, o.DatasetTextField)
	if err != nil {
		return nil, fmt.Errorf("train.data.path: %w", err)
	}
	return list, nil
}

// ReadRows reads the rows of a JSONL or a Parquet file, which are all of one kind. textField is the column of plain
// text rows. Errors name the file and the line, or the row, and what would be right.
func ReadRows(ctx context.Context, d Data, textField string) (out []Row, err error) {
	f, err := rowfile.Open(d.Path, fieldNames(textField)...)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for d.Limit == 0 || len(out) < d.Limit {
		fields, err := f.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		name := filepath.Base(d.Path) + " " + f.Place()
		var bad *rowfile.BadRow
		switch {
		case errors.As(err, &bad):
			return nil, stillhouse.Invalidf("%s: %w: mend the row or take it out", name, err)
		case err != nil:
			return nil, err
		}
		if own := sampleName(fields); own != "" {
			name += " (" + own + ")"
		}
		there, all := f.Columns()
		if !all { // each line has its own
			there = slices.Sorted(maps.Keys(fields))
		}
		r, err := row(name, fields, there, textField)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		if first := out[0]; r.kind() != first.kind() || isString(r.Prompt) != isString(first.Prompt) {
			return nil, stillhouse.Invalidf("%s has rows of another kind (%s) than %s (%s): all rows of a file must be of one kind",
				r.Name, r.kind(), first.Name, first.kind())
		}
	}
	return out, nil
}
