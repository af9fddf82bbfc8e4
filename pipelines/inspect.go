package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/jedib0t/go-pretty/v6/table"

	"stillhouse"
	"stillhouse/internal/rundir"
)

// InspectOptions say what of a run is looked at.
type InspectOptions struct {
	Rows  string // a folder whose rows are shown; empty for the overview alone
	Limit int    // how many rows
}

// Inspection is what lies in a run.
type Inspection struct {
	Run     string            `json:"run"`
	Folders []Folder          `json:"folders"`
	Rows    []json.RawMessage `json:"rows,omitempty"`
}

// Folder is one folder of shards.
type Folder struct {
	Name   string `json:"name"`
	Shards int    `json:"shards"`
	Rows   int64  `json:"rows"`
}

// Inspect looks into a run.
func Inspect(ctx context.Context, dir string, o InspectOptions) (*Inspection, error) {
	d, err := rundir.View(dir, rundir.Options{})
	if err != nil {
		return nil, err
	}
	in := &Inspection{Run: d.Path()}
	names, err := d.Folders()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		files, err := d.Files(name)
		if err != nil {
			return nil, err
		}
		rows, err := d.Rows(name)
		if err != nil {
			return nil, err
		}
		in.Folders = append(in.Folders, Folder{Name: name, Shards: len(files), Rows: rows})
	}
	if o.Rows == "" {
		return in, nil
	}
	if !slices.Contains(names, path.Clean(o.Rows)) {
		return nil, stillhouse.Invalidf("run %s has no rows in %q: there are %s", dir, o.Rows, strings.Join(names, ", "))
	}
	s, err := rundir.ReadShards(d.Path(o.Rows)) // left-out rows are not in every shard
	if err != nil {
		return nil, err
	}
	for i := range s.Shards() {
		batch, err := s.Read(ctx, i, memory.DefaultAllocator)
		if err != nil {
			return nil, err
		}
		n := min(batch.NumRows(), int64(o.Limit-len(in.Rows)))
		some := batch.NewSlice(0, max(0, n))
		var rows []json.RawMessage
		data, err := some.MarshalJSON()
		some.Release()
		batch.Release()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Rows, err)
		}
		if err := json.Unmarshal(data, &rows); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Rows, err)
		}
		if in.Rows = append(in.Rows, rows...); len(in.Rows) >= o.Limit {
			break
		}
	}
	return in, nil
}

// WriteText writes an inspection for people.
func (in *Inspection) WriteText(w io.Writer) error {
	t := newTable(w)
	t.AppendHeader(table.Row{"folder", "shards", "rows"})
	for _, f := range in.Folders {
		t.AppendRow(table.Row{f.Name, f.Shards, f.Rows})
	}
	t.Render()
	for _, row := range in.Rows {
		var b bytes.Buffer
		if err := json.Indent(&b, row, "", "  "); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "\n%s\n", b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
