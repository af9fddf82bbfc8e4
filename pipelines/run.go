package pipelines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"stillhouse"
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

	Checkpoint <-chan os.Signal // asks for a checkpoint of the training now; may be nil
}

// free are the keys that may differ when a run goes on: they don't change what comes out.
var free = []string{"distill.concurrency", "distill.timeout", "distill.max_retries", "distill.give_up_after", "distill.store", "distill.api_key_env", "distill.mode", "distill.batch",
	"distill.endpoints", "distill.limits",
	"train.save_strategy", "train.save_steps", "train.save_total_limit", "train.resume_from_checkpoint", "train.max_grad_norm_spike",
	"distill.target", "distill.budget", "distill.prices", "distill.metrics_address", "distill.metrics_allow_remote",
	"train.report_to", "train.logging_dir", "train.metrics_address", "train.metrics_allow_remote"}

// A run is a pipeline at work on its directory.
type run struct {
	config *Config
	dir    *rundir.Dir
	ui     UI

	garbage    *collector
	checkpoint <-chan os.Signal
}

// Run runs a pipeline, or goes on with it where it was stopped, and returns its report.
//
//	prompts/ ─distill─▶ candidates/ ─score─▶ scored/ ─curate─▶ samples/ ─filter─▶ kept/ ─train─▶ student/ ─eval─▶ evals/
//
// Where candidates are there already, it begins with them.
func Run(ctx context.Context, c *Config, o RunOptions) (*Report, error) {
	garbage := startCollector()
	defer garbage.restore()
	r, err := start(ctx, c, o)
	if err != nil {
		return nil, err
	}
	defer r.dir.Close()
	r.garbage = garbage
	begin := []func(context.Context) error{r.prompts, r.distill}
	if c.Candidates != nil {
		begin = []func(context.Context) error{r.candidates}
	}
	for _, step := range append(begin, r.curate, r.filter, r.train, r.eval) {
		if err := step(ctx); err != nil {
			return nil, err
		}
		if _, err := r.dir.WriteLedger(); err != nil {
			return nil, err
		}
	}
	return report(ctx, r.dir, c)
}

// start checks all that can be wrong before anything is asked of the teacher, and opens the run's directory.
func start(ctx context.Context, c *Config, o RunOptions) (*run, error) {
	if steps := c.steps(); o.From != "" && !slices.Contains(steps, o.From) {
		if slices.Contains(rundir.Steps, o.From) {
			return nil, stillhouse.Invalidf("--from %s: this run has no such step: it begins with %s", o.From, steps[0])
		}
		return nil, stillhouse.Invalidf("--from %s: there is no such step: %s", o.From, options.Nearest(o.From, steps))
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
	dir, err := rundir.Open(filepath.Join(o.Runs, c.Name), resolved, rundir.Options{From: o.From, Free: free, Earlier: c.earlier(), Fanout: c.fanout()})
	if err != nil {
		return nil, err
	}
	o.UI.say("Run %s", dir.Path())
	for _, note := range c.Notes {
		o.UI.say("%s", note)
	}
	score, _ := c.Curate.Stages()
	for _, w := range score.Warnings() {
		o.UI.say("Warning: %s", w)
	}
	return &run{config: c, dir: dir, ui: o.UI, checkpoint: o.Checkpoint}, nil
}

func (c *Config) fanout() map[string]int { return map[string]int{"distill": c.Distill.Samples.Max} }

// earlier are the keys that the teacher's step looks at, though they belong to a later one: how candidates are judged
// says how many of them a prompt gets.
func (c *Config) earlier() map[string]string {
	if c.judged() {
		return map[string]string{"curate": "distill"}
	}
	return nil
}

// Check checks the whole chain: that every stage takes what the one before it makes, and that prompts, problems and
// student are there and can be read. Nothing is asked of the teacher.
func (c *Config) Check(ctx context.Context) error {
	if c.Candidates != nil {
		if _, err := c.checkCandidates(ctx); err != nil {
			return err
		}
		return c.checkStudent(ctx)
	}
	if err := options.Under("distill", c.Distill.ReadFiles()); err != nil {
		return err
	}
	score, choose := c.Curate.Stages()
	stages := []stillhouse.Stage{&distill.Distill{Options: c.Distill}, score, choose, &filter.Filter{Rules: c.Filter}}
	if _, err := stillhouse.Check(stillhouse.PromptSchema, stages...); err != nil {
		return err
	}
	if err := c.checkRewards(score); err != nil {
		return err
	}
	if err := c.checkGrowth(score); err != nil {
		return err
	}
	if c.Prompts.Reference == "" {
		if names := score.NeedsReference(); len(names) > 0 {
			return options.Wrongf("prompts.reference", "is missing: reward %q compares with it: name the column of the right answers", names[0])
		}
	}
	if c.Distill.Endpoint != distill.Embedded {
		if _, err := c.Distill.APIKey(); err != nil {
			return err
		}
	}
	if err := c.checkPrompts(ctx); err != nil {
		return err
	}
	return c.checkStudent(ctx)
}

// checkStudent checks that the student is there and can be read.
func (c *Config) checkStudent(ctx context.Context) error {
	if c.Train == nil {
		return nil
	}
	if _, err := c.Train.ReadEval(ctx); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	s, err := train.Load(ctx, *c.Train, nil)
	if err != nil {
		return err
	}
	return s.Tokenizer.Close()
}

// failed marks an error of a step whose input was right.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, stillhouse.ErrUnbalanced) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrRunFailed, err)
}

func (r *run) curate(ctx context.Context) error {
	score, choose := r.config.Curate.Stages()
	if err := r.scoring(ctx, "candidates", score, "scored", "score"); err != nil {
		return err
	}
	return r.next(ctx, "scored", choose, "samples", "curate")
}

func (r *run) filter(ctx context.Context) error {
	if err := r.next(ctx, "samples", &filter.Filter{Rules: r.config.Filter}, "kept", "filter"); err != nil {
		return err
	}
	n, err := r.kept("kept")
	if err == nil && n == 0 {
		return fmt.Errorf("%w: no row is left: `stillhouse report %s` says what became of them", ErrRunFailed, r.dir.Path())
	}
	return err
}

// next runs a stage on what an earlier one left in the run.
func (r *run) next(ctx context.Context, from string, s stillhouse.Stage, to, name string) error {
	in, err := r.dir.Source(from)
	if err != nil {
		return err
	}
	rows, err := r.kept(from)
	if err != nil {
		return err
	}
	_, err = r.step(ctx, in, rows, s, to, name)
	return err
}

// step runs a stage from a source into a folder of the run, with a bar of so many rows.
func (r *run) step(ctx context.Context, in stillhouse.Source, rows int, s stillhouse.Stage, to, name string) (stillhouse.Account, error) {
	return r.with(ctx, r.ui.bar(name, rows), in, s, to, name)
}

// with is step with a bar that is there.
func (r *run) with(ctx context.Context, b *bar, in stillhouse.Source, s stillhouse.Stage, to, name string) (stillhouse.Account, error) {
	o := stillhouse.Options{Tick: b.tick}
	if d, ok := s.(*distill.Distill); ok { // it waits, mostly
		o.Workers = d.Workers(shardPrompts)
	}
	a, err := stillhouse.Run(ctx, in, s, r.dir.Sink(to, name), o)
	if err != nil {
		b.clear()
		return a, err
	}
	b.done(a)
	return a, nil
}

// kept counts the rows in a folder of the run.
func (r *run) kept(name string) (int, error) {
	n, err := r.dir.Rows(name)
	return int(n), err
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
	if n := count(a.Unasked); n > 0 {
		s += fmt.Sprintf(", %d not asked for (%s)", n, reasons(a.Unasked))
	}
	return s
}
