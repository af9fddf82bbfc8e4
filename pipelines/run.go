package pipelines

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/distill"
	"stillhouse/filter"
	"stillhouse/internal/options"
	"stillhouse/internal/rundir"
	"stillhouse/train"
)

// RunOptions say how a run is run; they do not change what it makes.
type RunOptions struct {
	Runs string // the folder that runs lie in
	From string // the step to begin again from; empty goes on where the run was
	UI   UI
}

// Steps are the steps of a run, by the keys of their config.
var Steps = []string{"prompts", "distill", "curate", "filter", "train", "eval"}

// A run is a pipeline at work on its directory.
type run struct {
	config *Config
	dir    *rundir.Dir
	ui     UI
}

// Run runs a pipeline, or goes on with it where it was stopped, and returns its report.
//
//	prompts/ ─distill─▶ candidates/ ─score─▶ scored/ ─curate─▶ samples/ ─filter─▶ kept/ ─train─▶ student/ ─▶ evals/
func Run(ctx context.Context, c *Config, o RunOptions) (*Report, error) {
	r, err := start(ctx, c, o)
	if err != nil {
		return nil, err
	}
	defer r.dir.Close()
	for _, step := range []func(context.Context) error{r.prompts, r.distill, r.curate, r.filter, r.train, r.eval} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return report(r.dir)
}

// start opens the run's directory and checks all that can be wrong before anything is asked of the teacher.
func start(ctx context.Context, c *Config, o RunOptions) (*run, error) {
	if o.From != "" && !slices.Contains(Steps[1:], o.From) {
		return nil, stillhouse.Invalidf("--from %s: there is no such step: %s", o.From, options.Nearest(o.From, Steps[1:]))
	}
	if err := c.Check(ctx); err != nil {
		return nil, err
	}
	resolved, err := c.Resolved()
	if err != nil {
		return nil, err
	}
	if o.Runs == "" {
		o.Runs = "runs"
	}
	dir, err := rundir.Open(filepath.Join(o.Runs, c.Name), resolved, rundir.Options{From: o.From})
	if err != nil {
		return nil, err
	}
	o.UI.say("Run %s", dir.Path())
	return &run{config: c, dir: dir, ui: o.UI}, nil
}

// Check checks the whole chain: that every stage takes what the one before it makes, and that prompts, problems and
// student are there and can be read. Nothing is asked of the teacher.
func (c *Config) Check(ctx context.Context) error {
	stages := []stillhouse.Stage{distill.New(c.Distill), &curate.Score{Rewards: c.Curate.Rewards}, &curate.Select{Options: c.Curate.Select}, &filter.Filter{Rules: c.Filter}}
	if _, err := stillhouse.Check(stillhouse.PromptSchema, stages...); err != nil {
		return err
	}
	if _, _, err := distill.ReadPrompts(c.Prompts); err != nil {
		return err
	}
	if c.Eval != nil {
		if _, _, err := distill.ReadPrompts(c.Eval.PromptsOptions); err != nil {
			return fmt.Errorf("eval: %w", err)
		}
	}
	if c.Train == nil {
		return nil
	}
	return train.Check(ctx, *c.Train)
}

// shardPrompts is the number of prompts a shard. It is part of the run's format: a resumed run cuts as it did before.
const shardPrompts = 256

func (r *run) prompts(ctx context.Context) error {
	if err := r.writePrompts(ctx, "prompts", r.config.Prompts); err != nil {
		return err
	}
	if r.config.Eval == nil {
		return nil
	}
	return r.writePrompts(ctx, "evals/prompts", r.config.Eval.PromptsOptions)
}

// writePrompts lays down the prompts as shards. The source file is read once in a run's life.
func (r *run) writePrompts(ctx context.Context, name string, o distill.PromptsOptions) error {
	if r.dir.Complete(name) {
		return nil
	}
	rows, account, err := distill.ReadPrompts(o)
	if err != nil {
		return err
	}
	sink := r.dir.Sink(name, name)
	for i := 0; i == 0 || i*shardPrompts < len(rows); i++ {
		part := rows[i*shardPrompts : min((i+1)*shardPrompts, len(rows))]
		a := stillhouse.Account{In: int64(len(part)), Kept: int64(len(part))}
		if i == 0 { // rows that were skipped are booked with the first shard
			lost := account.In - account.Kept
			a.In, a.Dropped = a.In+lost, account.Dropped
		}
		batch := stillhouse.PromptBatch(memory.DefaultAllocator, part)
		err := sink.Write(ctx, i, stillhouse.Shard{Kept: batch, Account: a.Plus(stillhouse.Account{})})
		batch.Release()
		if err != nil {
			return err
		}
	}
	return r.dir.SetComplete(name)
}

func (r *run) distill(ctx context.Context) error {
	in, err := r.dir.Source("prompts")
	if err != nil {
		return err
	}
	o := r.config.Distill
	if o.Endpoint == embeddedEndpoint {
		teacher, err := serveTeacher(ctx, &o)
		if err != nil {
			return err
		}
		defer teacher.Close()
	}
	stage := distill.New(o)
	if err := stage.Open(ctx); err != nil {
		return err
	}
	defer stage.Close()
	if _, err := r.step(ctx, "distill", in, stage, "candidates"); err != nil {
		return failed(ctx, err)
	}
	return nil
}

// failed marks an error of a step whose input was right.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, stillhouse.ErrUnbalanced) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrRunFailed, err)
}

func (r *run) curate(ctx context.Context) error {
	candidates, err := r.dir.Source("candidates")
	if err != nil {
		return err
	}
	if _, err := r.step(ctx, "curate", candidates, &curate.Score{Rewards: r.config.Curate.Rewards}, "scored"); err != nil {
		return err
	}
	scored, err := r.dir.Source("scored")
	if err != nil {
		return err
	}
	_, err = r.step(ctx, "curate", scored, &curate.Select{Options: r.config.Curate.Select}, "samples")
	return err
}

func (r *run) filter(ctx context.Context) error {
	samples, err := r.dir.Source("samples")
	if err != nil {
		return err
	}
	a, err := r.step(ctx, "filter", samples, &filter.Filter{Rules: r.config.Filter}, "kept")
	if err == nil && a.Kept == 0 {
		return fmt.Errorf("%w: no row is left after filter: see why with `stillhouse report %s`", ErrRunFailed, r.dir.Path())
	}
	return err
}

// step runs one stage of a step of the ledger from a source into a folder, with a bar, and books it.
func (r *run) step(ctx context.Context, step string, in stillhouse.Source, s stillhouse.Stage, folder string) (stillhouse.Account, error) {
	total := 0
	fanout := 1
	if e, ok := s.(stillhouse.Expander); ok {
		fanout = e.Fanout()
	}
	for i := range in.Shards() {
		n, err := r.dir.RowsOf(in, i)
		if err != nil {
			return stillhouse.Account{}, err
		}
		total += int(n) * fanout
	}
	b := r.ui.bar(s.Name(), total)
	ledgerStep, _, isEval := strings.Cut(step, " ")
	if isEval {
		ledgerStep = folder
	}
	a, err := stillhouse.Run(ctx, in, s, r.dir.Sink(folder, ledgerStep), stillhouse.Options{Tick: b.tick})
	if err != nil {
		b.clear()
		return a, err
	}
	b.done("%d rows in, %d kept%s", a.In, a.Kept, lost(a))
	return a, r.dir.SetComplete(folder)
}

// lost says what a stage did not keep.
func lost(a stillhouse.Account) string {
	var s string
	if n := count(a.Dropped); n > 0 {
		s += fmt.Sprintf(", %d dropped (%s)", n, reasons(a.Dropped))
	}
	if n := count(a.Failed); n > 0 {
		s += fmt.Sprintf(", %d failed (%s)", n, reasons(a.Failed))
	}
	return s
}
