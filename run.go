package stillhouse

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"
)

// Options say how a stage is run. They never change what comes out.
type Options struct {
	Workers   int              // shards at a time, by default the number of processors; 1 for an Ordered stage
	BatchRows int              // rows a batch, rounded up to whole prompts; by default 1024
	Allocator memory.Allocator // by default Go's
	Tick      func(rows int)   // called as rows of output are decided; may be nil, may be called from several goroutines
}

func (o Options) withDefaults(s Stage) Options {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if _, ok := s.(Ordered); ok {
		o.Workers = 1
	}
	if o.BatchRows <= 0 {
		o.BatchRows = 1024
	}
	if o.Allocator == nil {
		o.Allocator = memory.DefaultAllocator
	}
	if o.Tick == nil {
		o.Tick = func(int) {}
	}
	return o
}

// Run runs one stage over all shards of in and returns its account. Shards that out already has are not made again,
// except that an [Ordered] stage, which needs to see every row, starts over unless out has them all.
//
// Run fails with the first error of the stage, the source or the sink, or when the books of a shard do not balance.
// What was written stays, and the next Run goes on from there.
func Run(ctx context.Context, in Source, s Stage, out Sink, opts Options) (Account, error) {
	opts = opts.withDefaults(s)
	schema, err := s.Schema(in.Schema())
	if err != nil {
		return Account{}, &Error{Kind: Invalid, Err: fmt.Errorf("%s: %w", s.Name(), err)}
	}
	r := &runner{stage: s, in: in, out: out, schema: schema, opts: opts}
	if o, ok := s.(Ordered); ok {
		return r.ordered(ctx, o)
	}
	return r.shards(ctx)
}

type runner struct {
	stage  Stage
	in     Source
	out    Sink
	schema *arrow.Schema
	opts   Options
}

func (r *runner) shards(ctx context.Context) (Account, error) {
	if s, ok := r.stage.(Sequenced); ok {
		s.Restart()
	}
	accounts := make([]Account, r.in.Shards())
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opts.Workers)
	for i := range accounts {
		g.Go(func() (err error) {
			accounts[i], err = r.shard(ctx, i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Account{}, err
	}
	return total(accounts), nil
}

// shard makes one shard, or finds it made.
func (r *runner) shard(ctx context.Context, i int) (Account, error) {
	if err := ctx.Err(); err != nil {
		return Account{}, fmt.Errorf("%s: %w", r.stage.Name(), err)
	}
	a, done, err := r.done(i)
	if err != nil {
		return Account{}, err
	}
	if done {
		if s, ok := r.stage.(Sequenced); ok {
			s.Shard(i, 0, &a)
		}
		r.opts.Tick(int(a.In))
		return a, nil
	}
	c := r.collect(i)
	defer c.release()
	if err := r.feed(ctx, i, c); err != nil {
		return Account{}, err
	}
	return r.write(ctx, i, c)
}

func (r *runner) done(shard int) (Account, bool, error) {
	a, ok, err := r.out.Done(shard)
	if err != nil {
		err = fmt.Errorf("%s: shard %d: %w", r.stage.Name(), shard, err)
	}
	return a, ok, err
}

// ordered runs an Ordered stage: every shard in turn, the rows it held back as one shard more.
func (r *runner) ordered(ctx context.Context, s Ordered) (Account, error) {
	flusher, flushes := s.(Flusher)
	n := r.in.Shards()
	if flushes {
		n++
	}
	accounts := make([]Account, n)
	if whole, err := r.whole(accounts); err != nil {
		return Account{}, err
	} else if whole {
		all := total(accounts)
		r.opts.Tick(int(all.In))
		return all, nil
	}
	if err := s.Begin(); err != nil {
		return Account{}, fmt.Errorf("%s: %w", s.Name(), err)
	}
	held := r.collect(r.in.Shards()) // counts the rows that are still with the stage
	defer held.release()
	for i := range r.in.Shards() {
		a, err := r.next(ctx, i, held, flushes)
		if err != nil {
			return Account{}, err
		}
		accounts[i] = a
	}
	if flushes {
		if err := flusher.Flush(ctx, held); err != nil {
			return Account{}, fmt.Errorf("%s: %w", s.Name(), err)
		}
		a, err := r.write(ctx, n-1, held)
		if err != nil {
			return Account{}, err
		}
		accounts[n-1] = a
	}
	return total(accounts), nil
}

// whole fills in the accounts of the shards that are there and reports whether all are.
func (r *runner) whole(accounts []Account) (bool, error) {
	for i := range accounts {
		a, done, err := r.done(i)
		if err != nil || !done {
			return false, err
		}
		accounts[i] = a
	}
	return len(accounts) > 0, nil
}

// next makes the next shard of an Ordered stage. The rows that a Flusher has neither passed on nor dropped are booked
// as held; when it passes on rows of earlier shards, fewer are held.
func (r *runner) next(ctx context.Context, shard int, held *collector, flushes bool) (Account, error) {
	c := r.collect(shard)
	defer c.release()
	if err := r.feed(ctx, shard, c); err != nil {
		return Account{}, err
	}
	if flushes {
		left := c.account.In - c.decided()
		c.account.In -= left
		held.account.In += left
	}
	return r.write(ctx, shard, c)
}

func total(accounts []Account) (sum Account) {
	for _, a := range accounts {
		sum = sum.Plus(a)
	}
	return sum.Plus(Account{})
}

// feed hands a shard of input to the stage, batch by batch.
func (r *runner) feed(ctx context.Context, shard int, c *collector) error {
	rows, err := r.in.Read(ctx, shard, r.opts.Allocator)
	if err != nil {
		return fmt.Errorf("%s: shard %d: %w", r.stage.Name(), shard, err)
	}
	defer rows.Release()
	if !rows.Schema().Equal(r.in.Schema()) {
		return Invalidf("%s: shard %d has the columns %v, but the first one promised %v: all files of one input need the same columns",
			r.stage.Name(), shard, names(rows.Schema()), names(r.in.Schema()))
	}
	fanout := 1
	if e, ok := r.stage.(Expander); ok {
		fanout = e.Fanout()
	}
	c.account.In = rows.NumRows() * int64(fanout)
	if s, ok := r.stage.(Sequenced); ok {
		s.Shard(shard, rows.NumRows(), nil)
	}
	for _, cut := range batches(rows, r.opts.BatchRows) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", r.stage.Name(), err)
		}
		b := rows.NewSlice(cut[0], cut[1])
		err := r.stage.Process(ctx, b, c)
		b.Release()
		if err != nil {
			return fmt.Errorf("%s: %w", r.stage.Name(), err)
		}
	}
	return nil
}

// batches cuts rows into pieces of about size rows that never split the rows of one prompt.
func batches(rows arrow.RecordBatch, size int) (cuts [][2]int64) {
	var ids *array.String
	if at := rows.Schema().FieldIndices("prompt_id"); len(at) == 1 {
		ids, _ = rows.Column(at[0]).(*array.String)
	}
	n := int(rows.NumRows())
	for from := 0; from < n; {
		to := min(from+size, n)
		for ids != nil && to < n && ids.Value(to) == ids.Value(to-1) {
			to++
		}
		cuts = append(cuts, [2]int64{int64(from), int64(to)})
		from = to
	}
	return cuts
}

// write closes the books of a shard and hands it to the sink.
func (r *runner) write(ctx context.Context, shard int, c *collector) (Account, error) {
	if err := ctx.Err(); err != nil {
		return Account{}, fmt.Errorf("%s: %w", r.stage.Name(), err)
	}
	if !c.account.Balanced() {
		return Account{}, &Error{Kind: Invalid, Err: fmt.Errorf("%s: shard %d: %w: %d rows in, %d kept, %d dropped, %d failed, %d unasked",
			r.stage.Name(), shard, ErrUnbalanced, c.account.In, c.account.Kept, sum(c.account.Dropped), sum(c.account.Failed), sum(c.account.Unasked))}
	}
	s := Shard{Account: c.account.Plus(Account{})}
	var err error
	if s.Kept, err = Concat(r.opts.Allocator, r.schema, c.kept); err != nil {
		return Account{}, err
	}
	defer s.Kept.Release()
	for _, part := range []struct {
		rows []arrow.RecordBatch
		to   *arrow.RecordBatch
	}{{c.dropped, &s.Dropped}, {c.failed, &s.Failed}} {
		if len(part.rows) == 0 {
			continue
		}
		if *part.to, err = Concat(r.opts.Allocator, DropSchema(r.in.Schema()), part.rows); err != nil {
			return Account{}, err
		}
		defer (*part.to).Release()
	}
	if err := r.out.Write(ctx, shard, s); err != nil {
		return Account{}, fmt.Errorf("%s: shard %d: %w", r.stage.Name(), shard, err)
	}
	if rest := s.Account.In - c.ticked; rest > 0 { // the stage ticks when it can say more than that a shard is done
		r.opts.Tick(int(rest))
	}
	return s.Account, nil
}

func (r *runner) collect(shard int) *collector { return &collector{runner: r, shard: shard} }

// A collector is the Emitter of one shard: it keeps what comes out and counts it.
type collector struct {
	*runner
	shard                 int
	mu                    sync.Mutex
	account               Account
	ticked                int64
	kept, dropped, failed []arrow.RecordBatch
}

func (c *collector) Emit(batch arrow.RecordBatch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !batch.Schema().Equal(c.schema) {
		defer batch.Release()
		return Invalidf("emitted a batch of another schema than promised: %v, not %v", names(batch.Schema()), names(c.schema))
	}
	c.kept = append(c.kept, batch)
	c.account.Kept += batch.NumRows()
	return nil
}

func (c *collector) Drop(rows arrow.RecordBatch, reason, detail string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leave(rows, &c.account.Dropped, &c.dropped, reason, detail)
}

func (c *collector) Fail(rows arrow.RecordBatch, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leave(rows, &c.account.Failed, &c.failed, KindOf(err).String(), err.Error())
}

func (c *collector) leave(rows arrow.RecordBatch, counts *map[string]int64, list *[]arrow.RecordBatch, reason, detail string) error {
	if !rows.Schema().Equal(c.in.Schema()) {
		return Invalidf("left out rows (%s) of another schema than the input's: %v, not %v", reason, names(rows.Schema()), names(c.in.Schema()))
	}
	if rows.NumRows() == 0 {
		return nil
	}
	*counts = plus(*counts, map[string]int64{reason: rows.NumRows()})
	*list = append(*list, withText(c.opts.Allocator, rows, DropSchema(c.in.Schema()), c.stage.Name(), reason, detail))
	return nil
}

func (c *collector) Skip(n int, reason string) error {
	if _, ok := c.stage.(Expander); !ok {
		return Invalidf("skipped %d rows (%s), but is no Expander: a row of input is dropped or fails", n, reason)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		c.account.Unasked = plus(c.account.Unasked, map[string]int64{reason: int64(n)})
	}
	return nil
}

func (c *collector) Accept(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.account.Accepted += int64(n)
}

func (c *collector) Shard() int { return c.shard }

func (c *collector) Tick(n int) {
	c.mu.Lock()
	c.ticked += int64(n)
	c.mu.Unlock()
	c.opts.Tick(n)
}

func (c *collector) Allocator() memory.Allocator { return c.opts.Allocator }

func (c *collector) decided() int64 {
	return c.account.Kept + sum(c.account.Dropped) + sum(c.account.Failed) + sum(c.account.Unasked)
}

func (c *collector) release() {
	for _, list := range [][]arrow.RecordBatch{c.kept, c.dropped, c.failed} {
		for _, b := range list {
			b.Release()
		}
	}
}
