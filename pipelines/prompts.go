package pipelines

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"stillhouse"
	"stillhouse/distill/prompts"
	"stillhouse/internal/options"
)

// scan reads the prompts of the config's files, of which there may be none where all are grown, or has them from the check.
func (c *Config) scan(ctx context.Context, to prompts.Sink) (prompts.Summary, error) {
	switch {
	case c.Prompts.fromNothing():
		return prompts.Summary{}, nil
	case c.read.whole:
		return c.read.play(to)
	}
	return prompts.Scan(ctx, c.Prompts.Options, to)
}

// checkPrompts reads all prompts once, so that a row that cannot be used costs nothing.
func (c *Config) checkPrompts(ctx context.Context) error {
	unanswered := 0
	c.read = recording{}
	var now recording
	read, err := c.scan(ctx, now.sink(func(p stillhouse.Prompt) {
		if p.Reference == nil || strings.TrimSpace(*p.Reference) == "" {
			unanswered++
		}
	}))
	if err != nil {
		return err
	}
	now.summary = read
	c.read = now
	if err := c.checkReferences(unanswered, int(read.Account.Kept)); err != nil {
		return err
	}
	if g := c.Prompts.Grow; g != nil {
		if err := g.CheckSeeds(int(read.Account.Kept)); err != nil {
			return err
		}
	}
	return c.checkProblems(ctx)
}

// checkProblems reads the evaluation's problems once.
func (c *Config) checkProblems(ctx context.Context) error {
	if c.Eval == nil {
		return nil
	}
	_, err := prompts.Scan(ctx, prompts.Options{Rows: c.Eval.Rows}, prompts.Sink{})
	return err
}

// checkReferences is an error when no prompt has a reference answer that a reward compares with, and a warning when some
// have none.
func (c *Config) checkReferences(unanswered, all int) error {
	c.Notes = nil
	score, _ := c.Curate.Stages()
	names := score.NeedsReference()
	switch {
	case len(names) == 0 || unanswered == 0:
	case unanswered == all:
		return options.Wrongf("prompts.reference", "is %q, which is empty in all of %d rows: reward %q compares with it: name the column of the right answers", c.Prompts.Reference, all, names[0])
	default:
		c.Notes = append(c.Notes, fmt.Sprintf("%d of %d prompts have no reference answer in column %q: reward %q will find their candidates unparsable",
			unanswered, all, c.Prompts.Reference, names[0]))
	}
	return nil
}

func (r *run) prompts(ctx context.Context) error {
	defer func() { r.config.read = recording{} }()
	w := &promptShards{run: r, name: "prompts", from: r.config.Prompts.Path.String()}
	scan := func(to prompts.Sink) (prompts.Summary, error) { return r.config.scan(ctx, to) }
	var err error
	if r.config.Prompts.Grow == nil {
		err = w.write(ctx, scan)
	} else if done, doneErr := r.dir.Finished("prompts"); doneErr != nil || !done { // what is grown stays, also where the teacher is another now
		if err = doneErr; err == nil {
			err = r.grownPrompts(ctx, w, scan)
		}
	}
	if err != nil {
		return err
	}
	return r.problems(ctx)
}

// problems lays down the evaluation's problems.
func (r *run) problems(ctx context.Context) error {
	if r.config.Eval == nil {
		return nil
	}
	rows := prompts.Options{Rows: r.config.Eval.Rows}
	w := &promptShards{run: r, name: "evals/prompts", from: rows.Path.String()}
	return w.write(ctx, func(to prompts.Sink) (prompts.Summary, error) { return prompts.Scan(ctx, rows, to) })
}

// grownPrompts lays down the prompts of files, where they are kept, and after them what is grown of them.
func (r *run) grownPrompts(ctx context.Context, w *promptShards, scan func(prompts.Sink) (prompts.Summary, error)) error {
	w.from = "what prompts are grown of"
	var seeds []stillhouse.Prompt
	to := prompts.Sink{Bad: w.drop}
	kept := *r.config.Prompts.Grow.KeepSeeds
	if !kept {
		to.Bad = nil
	}
	to.Prompt = func(p stillhouse.Prompt) error {
		if seeds = append(seeds, p); kept {
			return w.keep(ctx, p)
		}
		return nil
	}
	defer w.wait()
	read, err := scan(to)
	if err != nil {
		return err
	}
	if !r.config.Prompts.fromNothing() {
		r.ui.say("%-8s %d rows of %s%s", w.name, read.Account.Kept, r.config.Prompts.Path, lost(read.Account))
	}
	if err := r.grow(ctx, seeds, w); err != nil {
		return err
	}
	return w.close(ctx)
}

// write lays down the prompts of files as shards. A run that goes on must find the same prompts in them.
func (w *promptShards) write(ctx context.Context, scan func(prompts.Sink) (prompts.Summary, error)) error {
	defer w.wait()
	read, err := scan(prompts.Sink{
		Prompt: func(p stillhouse.Prompt) error { return w.keep(ctx, p) },
		Bad:    w.drop,
	})
	if err != nil {
		return err
	}
	if err := w.close(ctx); err != nil {
		return err
	}
	drawn := ""
	if read.NotDrawn > 0 {
		drawn = fmt.Sprintf(", drawn from %d", read.NotDrawn+read.Account.Kept)
	}
	w.run.ui.say("%-8s %d rows of %s%s%s", w.name, read.Account.Kept, w.from, drawn, lost(read.Account))
	return nil
}

// shardPrompts is the number of prompts a shard. It is part of the run's format: a resumed run cuts as it did before.
const shardPrompts = 256

// shardsAtOnce is how many shards are written at a time: each waits for the disk several times, and those that wait at the
// same time are synced together.
const shardsAtOnce = 8

// promptShards writes prompts as shards. Rows that were left out are booked with the shard that is being filled.
type promptShards struct {
	run  *run
	name string // of the folder, and of the stage in the books
	from string // what errors call the input

	n       int // shards so far
	rows    []stillhouse.Prompt
	bad     []prompts.BadRow
	writing *errgroup.Group // nil where none is
	ctx     context.Context // of writing, which ends with its first error
}

func (w *promptShards) drop(b prompts.BadRow) error {
	w.bad = append(w.bad, b)
	return nil
}

func (w *promptShards) keep(ctx context.Context, p stillhouse.Prompt) error {
	if len(w.rows) == shardPrompts {
		if err := w.put(ctx); err != nil {
			return err
		}
	}
	w.rows = append(w.rows, p)
	return nil
}

// close writes the last shard. What an earlier run wrote after it is there no more.
func (w *promptShards) close(ctx context.Context) error {
	if err := w.put(ctx); err != nil {
		return err
	}
	if err := w.wait(); err != nil {
		return err
	}
	files, err := w.run.dir.Files(w.name)
	if err == nil && len(files) > w.n {
		return w.differs()
	}
	return err
}

func (w *promptShards) differs() error {
	return stillhouse.Invalidf("%s is not what it was when run %s began: give the run another name, or begin again with --from prompts", w.from, w.run.dir.Path())
}

// put has a shard written, or compared with the one that is there.
func (w *promptShards) put(ctx context.Context) error {
	if w.writing == nil {
		w.writing, w.ctx = errgroup.WithContext(ctx)
		w.writing.SetLimit(shardsAtOnce)
	}
	if err := w.ctx.Err(); err != nil {
		return cmp.Or(w.wait(), err)
	}
	shard := stillhouse.Shard{Kept: stillhouse.PromptBatch(memory.DefaultAllocator, w.rows), Dropped: badRows(w.name, w.bad)}
	shard.Account = stillhouse.Account{In: int64(len(w.rows) + len(w.bad)), Kept: int64(len(w.rows)), Dropped: map[string]int64{}}
	for _, b := range w.bad {
		shard.Account.Dropped[b.Reason]++
	}
	i := w.n
	w.n, w.rows, w.bad = w.n+1, w.rows[:0], nil
	w.writing.Go(func() error {
		defer shard.Kept.Release()
		return w.store(w.ctx, i, shard)
	})
	return nil
}

// wait waits for the shards that are being written.
func (w *promptShards) wait() error {
	if w.writing == nil {
		return nil
	}
	return w.writing.Wait()
}

func (w *promptShards) store(ctx context.Context, i int, shard stillhouse.Shard) error {
	sink := w.run.dir.Sink(w.name, w.name)
	if _, done, err := sink.Done(i); err != nil {
		return err
	} else if !done {
		return sink.Write(ctx, i, shard)
	}
	was, err := w.run.dir.ReadShard(ctx, w.name, i, memory.DefaultAllocator)
	if err != nil {
		return err
	}
	defer was.Release()
	if !array.RecordEqual(was, shard.Kept) {
		return w.differs()
	}
	return nil
}

// badRows are the rows that could not be used: where each stands is in its column source.
func badRows(stage string, bad []prompts.BadRow) arrow.RecordBatch {
	if len(bad) == 0 {
		return nil
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, stillhouse.DropSchema(stillhouse.PromptSchema))
	defer b.Release()
	for _, row := range bad {
		values := map[string]string{"source": row.Place, "stage": stage, "reason": row.Reason, "detail": row.Detail}
		for i, f := range b.Schema().Fields() {
			switch field := b.Field(i).(type) {
			case *array.StringBuilder:
				if v, ok := values[f.Name]; ok || !f.Nullable {
					field.Append(v)
				} else {
					field.AppendNull()
				}
			case *array.ListBuilder: // the conversation
				field.Append(true)
				if m := field.ValueBuilder().(*array.StructBuilder); row.Text != "" {
					m.Append(true)
					m.FieldBuilder(0).(*array.StringBuilder).Append("user")
					m.FieldBuilder(1).(*array.StringBuilder).Append(row.Text)
				}
			}
		}
	}
	return b.NewRecordBatch()
}
