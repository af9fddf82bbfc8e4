package pipelines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/internal/rundir"
)

// Exported says what an export wrote.
type Exported struct {
	Rows  int64    `json:"rows"`
	Files []string `json:"files"`
}

// Export copies the kept rows of a run to dir as a dataset: data/train-00000-of-0000N.parquet and a README.md. It does
// not write over anything.
func Export(ctx context.Context, run, dir string) (*Exported, error) {
	c, err := Load(filepath.Join(run, rundir.ConfigFile))
	if err != nil {
		return nil, fmt.Errorf("%s is no run: %w", run, err)
	}
	d, err := rundir.View(run, rundir.Options{Fanout: c.fanout()})
	if err != nil {
		return nil, err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, stillhouse.Invalidf("export to %s: there is something in it already: name a new folder", dir)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, stillhouse.Invalidf("export to %s: %v", dir, err)
	}
	shards, err := d.Files("kept")
	if err != nil {
		return nil, err
	}
	var files []string // that hold rows: a file without any cannot be loaded as a split's first
	e := &Exported{}
	for _, file := range shards {
		batch, err := rundir.ReadParquet(ctx, file, memory.DefaultAllocator, "prompt_id")
		if err != nil {
			return nil, err
		}
		if n := batch.NumRows(); n > 0 {
			files = append(files, file)
			e.Rows += n
		}
		batch.Release()
	}
	if e.Rows == 0 {
		return nil, stillhouse.Invalidf("export %s: the run has kept no row", run)
	}
	for i, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := filepath.Join("data", fmt.Sprintf("train-%05d-of-%05d.parquet", i, len(files)))
		if err := rundir.WriteFile(filepath.Join(dir, name), data); err != nil {
			return nil, err
		}
		e.Files = append(e.Files, name)
	}
	r, err := report(ctx, d, c)
	if err != nil {
		return nil, err
	}
	e.Files = append(e.Files, "README.md")
	return e, rundir.WriteFile(filepath.Join(dir, "README.md"), []byte(card(d, r, e)))
}

// card is the README of an exported dataset.
func card(d *rundir.Dir, r *Report, e *Exported) string {
	var b strings.Builder
	what := "`prompt` and `completion` are conversations"
	if r.pairs {
		what = "preference pairs, whose `prompt`, `chosen` and `rejected` are conversations"
	}
	fmt.Fprintf(&b, "# %s\n\n%d rows that stillhouse kept of a run: %s, the other columns say where a row comes from.\n\n", filepath.Base(d.Path()), e.Rows, what)
	b.WriteString("```python\nfrom datasets import load_dataset\nrows = load_dataset(\"parquet\", data_files=\"data/*.parquet\", split=\"train\")\n```\n\n## What became of every row\n\n")
	b.WriteString("| step | rows in | kept | dropped | failed | why |\n|---|---|---|---|---|---|\n")
	for _, step := range r.steps {
		x := r.Ledger[step]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %s |\n", step, x.In, x.Kept, count(x.Dropped), count(x.Failed), reasons(x.Dropped, x.Failed))
	}
	return b.String()
}
