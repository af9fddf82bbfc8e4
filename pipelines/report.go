package pipelines

import (
	"context"
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
	"stillhouse/internal/rundir"
	"stillhouse/train"
)

// Report is what a run did, read from its directory alone.
type Report struct {
	Run       string           `json:"run"`
	Derived   *Derived         `json:"derived,omitempty"`
	Ledger    map[string]Books `json:"ledger"` // by step
	Requests  *Asking          `json:"requests,omitempty"`
	Rewards   []RewardRequests `json:"reward_requests,omitempty"`
	Selection *curate.Summary  `json:"selection,omitempty"`
	Train     *train.Result    `json:"train,omitempty"`
	Eval      *Evaluation      `json:"eval,omitempty"`

	steps      []string
	fair       int
	pairs      bool
	unbalanced error
}

// Books are a step's account and whether it balances.
type Books struct {
	stillhouse.Account
	Balanced bool `json:"balanced"`
}

// ReadReport reads the report of a run, also of one that is not done, and of a training alone, which has no books.
func ReadReport(ctx context.Context, dir string) (*Report, error) {
	if _, err := os.Stat(filepath.Join(dir, rundir.ConfigFile)); errors.Is(err, os.ErrNotExist) {
		if r, err := trained(filepath.Join(dir, "student")); r != nil || err != nil {
			return &Report{Run: dir, Ledger: map[string]Books{}, Train: r}, err
		}
	}
	c, err := Load(filepath.Join(dir, rundir.ConfigFile))
	if err != nil {
		return nil, fmt.Errorf("%s is no run: %w", dir, err)
	}
	d, err := rundir.View(dir, rundir.Options{Fanout: c.fanout()})
	if err != nil {
		return nil, err
	}
	return report(ctx, d, c)
}

func report(ctx context.Context, d *rundir.Dir, c *Config) (*Report, error) {
	ledger, err := d.Check(ctx)
	r := &Report{Run: d.Path(), Ledger: map[string]Books{}, unbalanced: err, fair: c.fair(), pairs: c.Curate.Select.Policy == curate.PolicyPairs}
	if err != nil && !errors.Is(err, stillhouse.ErrUnbalanced) {
		return nil, err
	}
	for _, e := range ledger.Entries {
		r.steps = append(r.steps, e.Step)
		r.Ledger[e.Step] = Books{e.Account, e.Account.Balanced()}
	}
	if r.Derived, err = derived(d); err != nil {
		return nil, err
	}
	scored, err := scoredRows(ctx, d, "scored")
	if err != nil {
		return nil, err
	}
	r.Selection = selection(scored, c)
	if r.Requests, err = asking(d, c, ledger, scored); err != nil {
		return nil, err
	}
	if r.Rewards, err = rewardRequests(d, c); err != nil {
		return nil, err
	}
	if r.Train, err = trained(d.Path("student")); err != nil {
		return nil, err
	}
	if r.Eval, err = evaluation(ctx, d); err != nil {
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

// Balanced is an error when the books do not balance, within a step or from one to the next, or when the shards do not
// hold what they say.
func (r *Report) Balanced() error { return r.unbalanced }

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	if len(r.steps) > 0 {
		t := newTable(w)
		t.AppendHeader(table.Row{"step", "rows in", "kept", "dropped", "failed", "not asked", "why"})
		for _, step := range r.steps {
			b := r.Ledger[step]
			t.AppendRow(table.Row{step, b.In, b.Kept, count(b.Dropped), count(b.Failed), count(b.Unasked), reasons(b.Dropped, b.Failed, b.Unasked)})
		}
		t.Render()
	}
	if r.Derived != nil {
		fmt.Fprintf(w, "\n%s\n", r.Derived.text())
	}
	if r.Requests != nil {
		r.Requests.writeText(w)
	}
	for _, asked := range r.Rewards {
		asked.writeText(w)
	}
	if s := r.Selection; s != nil {
		fmt.Fprintf(w, "\nSelection: %d of %d candidates kept, for %d of %d prompts; right by %s: %s of the candidates", s.Kept, s.Candidates, s.KeptPrompts, s.Prompts, s.Judge, percent(s.RightShare))
		if r.fair > 0 {
			fmt.Fprintf(w, " (of the first %d a prompt)", r.fair)
		}
		for _, k := range slices.Sorted(maps.Keys(s.PassAt)) {
			if k > 1 {
				fmt.Fprintf(w, ", at least one of %d: %s", k, percent(s.PassAt[k]))
			}
		}
		fmt.Fprintln(w, ".")
		writePairs(w, s.Pairs)
	}
	if tr := r.Train; tr != nil {
		if len(r.steps) > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "Training: %d updates, %d tokens, %.0f tokens/s, loss %.4f → %.4f.\n", tr.Steps, tr.Tokens, tr.TokensPerS, tr.LossFirst, tr.LossLast)
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
