package pipelines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/internal/rundir"
)

// derivedFile says in a run which other one its candidates and scores come from.
const derivedFile = "derived.json"

// Derived says where a run has its candidates and their scores from.
type Derived struct {
	From   string `json:"from"`          // the run, as a path from this one
	Was    string `json:"its_selection"` // what it selects
	Select string `json:"selection"`     // what this one selects
}

// DeriveOptions say where another selection of a run goes.
type DeriveOptions struct {
	Name string // of the new run; by default RUN-POLICY
	Runs string // the folder that it lies in; by default that of the run
	UI   UI
}

// Derive makes another run of the candidates and scores of a run: prompts, candidates and scores are shared, selection and filters are
// made anew, and nobody is asked. `stillhouse run DIR/config.yaml` goes on with it, with a student of its own. Told once more it goes on where it was.
func Derive(ctx context.Context, dir string, s curate.Select, o DeriveOptions) (*Report, error) {
	c, from, err := scoredRun(dir)
	if err != nil {
		return nil, err
	}
	if err := c.checkSelect(&s); err != nil {
		return nil, err
	}
	was, err := selectText(c.Curate.Select)
	if err != nil {
		return nil, err
	}
	now, err := selectText(s)
	if err != nil {
		return nil, err
	}
	policy := s.Policy
	if policy == "" {
		policy = curate.PolicyBest
	}
	if o.Name == "" {
		o.Name = filepath.Base(from.Path()) + "-" + policy
	}
	if o.Runs == "" {
		o.Runs = filepath.Dir(filepath.Clean(dir))
	}
	path := filepath.Join(o.Runs, o.Name)
	if a, err := filepath.Abs(path); err == nil {
		if b, err := filepath.Abs(dir); err == nil && a == b {
			return nil, stillhouse.Invalidf("%s is the run itself: give the other selection another --name, or change curate.select in its config and run it with --from curate", path)
		}
	}
	c.Name, c.Curate.Select = o.Name, s
	if s.Policy == curate.PolicyPairs && (c.Train != nil || len(c.Filter) > 0) {
		o.UI.say("Preference pairs are for `stillhouse export`: train, eval and filter are left out of the new run")
		c.Train, c.Eval, c.Filter = nil, nil, nil
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	resolved, err := c.Resolved()
	if err != nil {
		return nil, err
	}
	to, err := rundir.Open(path, resolved, rundir.Options{Free: free, Earlier: c.earlier(), Fanout: c.fanout()})
	if err != nil {
		return nil, err
	}
	defer to.Close()
	r := &run{config: c, dir: to, ui: o.UI}
	r.ui.say("Run %s", to.Path())
	if err := r.inherit(from, Derived{Was: was, Select: now}); err != nil {
		return nil, err
	}
	_, choose := c.Curate.Stages()
	if err := r.next(ctx, "scored", choose, "samples", "curate"); err != nil {
		return nil, err
	}
	if _, err := to.WriteLedger(); err != nil {
		return nil, err
	}
	if err := r.filter(ctx); err != nil {
		return nil, err
	}
	if _, err := to.WriteLedger(); err != nil {
		return nil, err
	}
	return report(ctx, to, c)
}

// inherit takes over what another run has up to its scores.
func (r *run) inherit(from *rundir.Dir, d Derived) error {
	here, err := filepath.Abs(r.dir.Path())
	if err != nil {
		return err
	}
	there, err := filepath.Abs(from.Path())
	if err != nil {
		return err
	}
	if d.From, err = filepath.Rel(here, there); err != nil {
		d.From = there
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := rundir.WriteFile(r.dir.Path(derivedFile), append(text, '\n')); err != nil {
		return err
	}
	// What was spent stays spent: a budget is not there a second time. The other run's account is written in place, so this is a copy.
	names := []string{requestsFile, termsFile}
	books, err := os.ReadDir(from.Path(rewardBooks))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(books) > 0 {
		if err := os.MkdirAll(r.dir.Path(rewardBooks), 0o755); err != nil {
			return err
		}
	}
	for _, b := range books {
		names = append(names, filepath.Join(rewardBooks, b.Name()))
	}
	for _, name := range names {
		data, err := os.ReadFile(from.Path(name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil && !exists(r.dir.Path(name)) {
			err = rundir.WriteFile(r.dir.Path(name), data)
		}
		if err != nil {
			return err
		}
	}
	return r.dir.Share(from, "curate")
}

// derived reads where a run comes from; nil when it has asked for itself.
func derived(d *rundir.Dir) (*Derived, error) {
	data, err := os.ReadFile(d.Path(derivedFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out Derived
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, stillhouse.Invalidf("%s is damaged: %v: remove it, or derive the run again", d.Path(derivedFile), err)
	}
	return &out, nil
}

// text says it for people.
func (d *Derived) text() string {
	return fmt.Sprintf("Prompts, candidates and scores, and what they cost, are those of %s, which selects %s; this run selects %s.", d.From, d.Was, d.Select)
}
