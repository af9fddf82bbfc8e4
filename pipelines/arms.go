package pipelines

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/internal/rundir"
	"stillhouse/train"
)

// train trains the student on the kept rows and, where the evaluation wants it for comparison, another one from the
// same base on as many rows that were drawn, not chosen.
func (r *run) train(ctx context.Context) error {
	if r.config.Train == nil {
		return nil
	}
	kept, err := r.dir.Source("kept")
	if err != nil {
		return err
	}
	a, err := r.fit(ctx, kept, r.studentOf(curatedArm), "train")
	if err != nil {
		return err
	}
	if err := r.dir.Book("train", a); err != nil {
		return err
	}
	if r.config.Eval == nil || !slices.Contains(r.config.Eval.Arms, uncuratedArm) {
		return nil
	}
	if err := r.draw(ctx, int(a.In)); err != nil {
		return err
	}
	drawn, err := r.dir.Source(uncuratedRows)
	if err != nil {
		return err
	}
	_, err = r.fit(ctx, drawn, r.studentOf(uncuratedArm), "train uncurated")
	return err
}

// uncuratedRows is the folder of the rows that the control arm is trained on.
const uncuratedRows = "arms/uncurated/rows"

// studentOf is the model of an arm.
func (r *run) studentOf(arm string) string {
	switch arm {
	case curatedArm:
		return filepath.Join(r.dir.Path(), "student")
	case uncuratedArm:
		return filepath.Join(r.dir.Path(), "arms", "uncurated", "student")
	}
	return r.config.Train.Student
}

// draw lays down n rows for the control arm.
func (r *run) draw(ctx context.Context, n int) error {
	if r.dir.Complete(uncuratedRows) {
		return nil
	}
	src, err := r.dir.Source("candidates")
	if err != nil {
		return err
	}
	var all []stillhouse.Candidate
	for i := range src.Shards() {
		batch, err := src.Read(ctx, i, memory.DefaultAllocator)
		if err != nil {
			return err
		}
		rows, err := stillhouse.Candidates(batch)
		batch.Release()
		if err != nil {
			return err
		}
		all = append(all, rows...)
	}
	rows := curate.Uncurated(all, n, r.config.Train.SeedOrDefault())
	batch := stillhouse.SampleBatch(memory.DefaultAllocator, rows)
	defer batch.Release()
	a := stillhouse.Account{In: int64(len(rows)), Kept: int64(len(rows))}
	if err := r.dir.Sink(uncuratedRows, uncuratedRows).Write(ctx, 0, stillhouse.Shard{Kept: batch, Account: a}); err != nil {
		return err
	}
	return r.dir.SetComplete(uncuratedRows)
}

// fit trains one student, unless it is there.
func (r *run) fit(ctx context.Context, rows stillhouse.Source, dir, label string) (stillhouse.Account, error) {
	if done, err := trained(dir); err != nil {
		return stillhouse.Account{}, err
	} else if done != nil {
		return done.Account, nil
	}
	result, err := train.Fit(ctx, *r.config.Train, rows, dir, train.UI{Out: r.ui.Out, Terminal: r.ui.Terminal})
	if err != nil {
		return stillhouse.Account{}, fmt.Errorf("%s: %w", label, err)
	}
	return result.Account, nil
}

// eval asks every arm's student the held-out problems.
func (r *run) eval(ctx context.Context) error {
	if r.config.Eval == nil {
		return nil
	}
	for _, arm := range r.config.Eval.Arms {
		if err := r.evaluate(ctx, arm, r.studentOf(arm)); err != nil {
			return fmt.Errorf("eval %s: %w", arm, err)
		}
	}
	return nil
}

// selection sums up what the selection did; nil when nothing was scored.
func selection(d *rundir.Dir) (*curate.Summary, error) {
	scored, err := scoredRows(d, "scored")
	if err != nil || len(scored) == 0 {
		return nil, err
	}
	s := curate.Summarise(scored)
	return &s, nil
}

// scoredRows reads all rows of a folder of scored candidates; none when it isn't there.
func scoredRows(d *rundir.Dir, name string) ([]stillhouse.Scored, error) {
	if !d.Has(name) {
		return nil, nil
	}
	src, err := d.Source(name)
	if err != nil {
		return nil, err
	}
	var all []stillhouse.Scored
	for i := range src.Shards() {
		batch, err := src.Read(context.Background(), i, memory.DefaultAllocator)
		if err != nil {
			return nil, err
		}
		rows, err := stillhouse.ScoredRows(batch)
		batch.Release()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, rows...)
	}
	return all, nil
}
