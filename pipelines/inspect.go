package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/jedib0t/go-pretty/v6/table"

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
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		s, err := d.Source(name)
		if err != nil {
			return nil, err
		}
		f := Folder{Name: name, Shards: s.Shards()}
		for i := range s.Shards() {
			n, err := d.Rows(name, i)
			if err != nil {
				return nil, err
			}
			f.Rows += n
		}
		in.Folders = append(in.Folders, f)
	}
	if o.Rows == "" {
		return in, nil
	}
	s, err := d.Source(filepath.Clean(o.Rows))
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
