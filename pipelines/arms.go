package pipelines

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
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
	n, err := r.fit(ctx, "kept", r.studentOf(curatedArm), "train")
	if err != nil {
		return err
	}
	if r.config.Eval == nil || !slices.Contains(r.config.Eval.Arms, uncuratedArm) {
		return nil
	}
	if err := r.draw(ctx, n); err != nil {
		return err
	}
	_, err = r.fit(ctx, uncuratedRows, r.studentOf(uncuratedArm), "arms/uncurated/train")
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

// fair is how many samples every prompt is asked for whatever comes of them, 0 when all are.
func (c *Config) fair() int {
	if c.Distill.Samples.Adaptive() {
		return c.Distill.Samples.Min
	}
	return 0
}

// draw lays down n rows for the control arm.
func (r *run) draw(ctx context.Context, n int) error {
	sink := r.dir.Sink(uncuratedRows, uncuratedRows)
	if _, done, err := sink.Done(0); err != nil || done {
		return err
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
	rows := curate.Uncurated(all, n, *r.config.Train.Seed, r.config.fair())
	batch := stillhouse.SampleBatch(memory.DefaultAllocator, rows)
	defer batch.Release()
	return sink.Write(ctx, 0, stillhouse.Shard{Kept: batch, Account: stillhouse.Account{In: int64(len(rows)), Kept: int64(len(rows))}})
}

// fit trains one student on a folder of samples, unless it is there, books the rows, and returns how many there were.
func (r *run) fit(ctx context.Context, from, dir, stage string) (int, error) {
	in, err := r.dir.Source(from)
	if err != nil {
		return 0, err
	}
	s, err := train.Load(ctx, *r.config.Train, nil)
	if err != nil {
		return 0, err
	}
	defer s.Tokenizer.Close()
	if stage != "train" && s.Options.LoggingDir != "" { // each arm has its own curves
		s.Options.LoggingDir = filepath.Join(s.Options.LoggingDir, uncuratedArm)
	}
	examples, shard, err := encode(ctx, s, in)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", stage, err)
	}
	defer releaseLeft(shard)
	done, err := trained(dir)
	if err != nil {
		return 0, err
	}
	if done == nil {
		if _, err := s.Train(ctx, examples, dir, r.ui.training(r.checkpoint)); err != nil {
			if stage == "train" {
				return 0, err // which says so itself
			}
			return 0, fmt.Errorf("%s: %w", stage, err)
		}
	} else if err := train.DropCheckpoints(dir); err != nil { // it was killed just after the student was whole
		return 0, err
	}
	return int(shard.Account.In), r.dir.Book(ctx, stage, shard)
}

func releaseLeft(s stillhouse.Shard) {
	for _, rows := range []arrow.RecordBatch{s.Dropped, s.Failed} {
		if rows != nil {
			rows.Release()
		}
	}
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
func selection(scored []stillhouse.Scored, c *Config) *curate.Summary {
	if len(scored) == 0 {
		return nil
	}
	t := curate.NewTally(c.Curate.Select)
	t.First = c.fair()
	t.Add(scored)
	s := t.Summary()
	return &s
}

// scoredRows reads all rows of a folder of scored candidates; none when it isn't there.
func scoredRows(ctx context.Context, d *rundir.Dir, name string) ([]stillhouse.Scored, error) {
	if !exists(d.Path(name, "part-00000.parquet")) {
		return nil, nil
	}
	src, err := d.Source(name)
	if err != nil {
		return nil, err
	}
	var all []stillhouse.Scored
	for i := range src.Shards() {
		batch, err := src.Read(ctx, i, memory.DefaultAllocator)
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
