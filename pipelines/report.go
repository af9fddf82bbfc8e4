package pipelines

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/internal/accuracy"
	"stillhouse/internal/rundir"
	"stillhouse/train"
)

// Report is what a run did, read from its directory alone.
type Report struct {
	Run       string           `json:"run"`
	Ledger    map[string]Books `json:"ledger"` // by step
	Selection *curate.Summary  `json:"selection,omitempty"`
	Train     *train.Result    `json:"train,omitempty"`
	Eval      *Evaluation      `json:"eval,omitempty"`

	steps []string
}

// Books are a step's account and whether it balances.
type Books struct {
	stillhouse.Account
	Balanced bool `json:"balanced"`
}

// Evaluation is what the students can do.
type Evaluation struct {
	Arms       map[string]Arm       `json:"arms"`
	Difference *accuracy.Difference `json:"difference,omitempty"` // curated minus uncurated

	order []string
}

// ReadReport reads the report of a run.
func ReadReport(dir string) (*Report, error) {
	d, err := rundir.Read(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return report(d)
}

func report(d *rundir.Dir) (*Report, error) {
	ledger, err := d.Ledger()
	if err != nil {
		return nil, err
	}
	r := &Report{Run: d.Path(), Ledger: map[string]Books{}, steps: ledger.Steps()}
	for _, step := range r.steps {
		a := ledger.Account(step)
		r.Ledger[step] = Books{a, a.Balanced()}
	}
	if r.Selection, err = selection(d); err != nil {
		return nil, err
	}
	if r.Train, err = trained(filepath.Join(d.Path(), "student")); err != nil {
		return nil, err
	}
	if r.Eval, err = evaluation(d); err != nil {
		return nil, err
	}
	return r, nil
}

// trained reads the result that training left beside a student.
func trained(dir string) (*train.Result, error) {
	data, err := os.ReadFile(filepath.Join(dir, train.ResultFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r train.Result
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, stillhouse.Invalidf("%s: %v: train again with --from train", filepath.Join(dir, train.ResultFile), err)
	}
	return &r, nil
}

// Balanced is an error when a step's books do not balance.
func (r *Report) Balanced() error {
	for _, step := range r.steps {
		if b := r.Ledger[step]; !b.Balanced {
			return fmt.Errorf("%s: %w: %d rows in, %d kept, %d dropped, %d failed", step, stillhouse.ErrUnbalanced, b.In, b.Kept, count(b.Dropped), count(b.Failed))
		}
	}
	return nil
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	t := newTable(w)
	t.AppendHeader(table.Row{"step", "rows in", "kept", "dropped", "failed", "why"})
	for _, step := range r.steps {
		b := r.Ledger[step]
		t.AppendRow(table.Row{step, b.In, b.Kept, count(b.Dropped), count(b.Failed), reasons(b.Dropped, b.Failed)})
	}
	t.Render()
	if s := r.Selection; s != nil {
		fmt.Fprintln(w)
		fmt.Fprintln(w, s)
	}
	if tr := r.Train; tr != nil {
		fmt.Fprintf(w, "\nTraining: %d updates, %d tokens, %.0f tokens/s, loss %.4f → %.4f.\n", tr.Steps, tr.Tokens, tr.TokensPerS, tr.LossFirst, tr.LossLast)
	}
	if r.Eval != nil {
		fmt.Fprintln(w)
		r.Eval.writeText(w)
	}
	return nil
}

func newTable(w io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Options.SeparateRows = false
	return t
}

func count(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

// reasons lists what rows were lost to, the commonest first.
func reasons(maps_ ...map[string]int64) string {
	var out []string
	for _, m := range maps_ {
		keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
			if m[a] != m[b] {
				return int(m[b] - m[a])
			}
			return strings.Compare(a, b)
		})
		for _, k := range keys {
			out = append(out, fmt.Sprintf("%s %d", k, m[k]))
		}
	}
	return strings.Join(out, ", ")
}
