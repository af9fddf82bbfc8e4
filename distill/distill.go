// Package distill asks a teacher: prompts in, K candidates to each out.
//
// The parts, from the outside in: distill.go is the stage; target.go and budget.go say how far it goes; ask.go and
// adaptive.go decide what to ask next; endpoint.go sends it, or batch.go gathers it for the Batch API;
// failure.go says what went wrong and patience.go what to do about it; store.go keeps every answer for ever; package
// prompts reads the prompts.
package distill

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"stillhouse"
	"stillhouse/internal/options"
)

// Distill is the stage that asks the teacher.
//
// In: rows of [stillhouse.PromptSchema]. Out: rows of [stillhouse.CandidateSchema], K for each prompt, in the order of
// the prompts and, for each, of the samples, in whatever order the answers came. Columns that are not known are passed
// on. Samples are dropped with the reason context_length when the endpoint says that prompt and answer do not fit into the
// model's context. Samples are left out unasked when their prompt has enough accepted answers (enough) or none at
// all (prompt_failed), when the prompts before it reach the target (target_reached), and when the budget is spent
// (budget_spent). A sample fails alone when the endpoint refuses its request for good (permanent) or when
// max_retries tries brought nothing (transient). The run ends when the endpoint refuses the key or the model, when
// nothing can be reached, when everything fails in the same way, and when it has refused everything for give_up_after.
//
// The same options with the same store give the same rows, byte for byte.
type Distill struct {
	Options `yaml:",inline"`

	mu       sync.Mutex
	asker    *asker
	expected int
	notify   func(Wait)
	judge    Judge
	book     Book
	spans    *spans         // nil for no traces
	queue    *queue         // nil without a target
	made     walk           // the shards that were there already
	clock    clock          // of tests
	draw     func() float64 // of tests
}

var (
	_ stillhouse.Stage     = (*Distill)(nil)
	_ stillhouse.Expander  = (*Distill)(nil)
	_ stillhouse.Sequenced = (*Distill)(nil)
)

// Name is "distill".
func (d *Distill) Name() string { return "distill" }

// Fanout is the most samples that a prompt gets.
func (d *Distill) Fanout() int { return max(1, d.Samples.Max) }

// candidateColumns are those that a candidate has and a prompt has not.
var candidateColumns = stillhouse.CandidateSchema.Fields()[stillhouse.PromptSchema.NumFields():]

// Schema is that of the input with the columns of a candidate after it.
func (d *Distill) Schema(in *arrow.Schema) (*arrow.Schema, error) {
	if err := stillhouse.RequireRows(in, stillhouse.PromptSchema); err != nil {
		return nil, err
	}
	if d.Tools != nil && !in.HasField("tools") {
		return nil, stillhouse.Invalidf("the prompts have no column \"tools\" for the tools of distill.tools: add one that is null, or take distill.tools out")
	}
	var fields []arrow.Field
	for _, f := range in.Fields() {
		fields = append(fields, arrow.Field{Name: f.Name, Type: f.Type, Nullable: f.Nullable})
	}
	for _, f := range candidateColumns {
		if in.HasField(f.Name) {
			return nil, stillhouse.Invalidf("the prompts have a column %q, which is the name of a column of the candidates: rename it", f.Name)
		}
		fields = append(fields, f)
	}
	return arrow.NewSchema(fields, nil), nil
}

// Open checks the options, reads the key and opens the store: all that can be wrong before a request is sent.
// Process does it by itself where nobody has.
func (d *Distill) Open(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.open(ctx)
	return err
}

func (d *Distill) open(ctx context.Context) (*asker, error) {
	if d.asker != nil {
		return d.asker, nil
	}
	o := d.Options
	o.EnsureDefaults()
	if err := options.Under("distill", o.Validate()); err != nil {
		return nil, err
	}
	if err := options.Under("distill", o.ReadFiles()); err != nil {
		return nil, err
	}
	if o.Endpoint == Embedded {
		return nil, options.Wrongf("distill.endpoint", "is %q: it must be served first and its URL put here", Embedded)
	}
	if d.judge == nil && (o.Samples.Adaptive() || o.Target.Accepted > 0) {
		return nil, stillhouse.Invalidf("distill: samples.enough and target.accepted count accepted answers, and nobody judges them: join a judge")
	}
	lanes, err := newLanes(&o)
	if err != nil {
		return nil, err
	}
	earlier := Counters{}
	if d.book != nil {
		if earlier, err = d.book.Load(); err != nil {
			return nil, err
		}
	}
	store, err := OpenStore(context.WithoutCancel(ctx), o.Store)
	if err != nil {
		return nil, err
	}
	a := &asker{opts: o, store: store, clock: wallClock{}, draw: jitter}
	if d.clock != nil {
		a.clock, a.draw = d.clock, d.draw
	}
	a.pool = newPool(lanes, a.clock, a.draw, o.GiveUpAfter)
	a.pool.notify = d.notify
	a.atWork = semaphore.NewWeighted(int64(4 * a.pool.most)) // those that wait for a retry leave their passes to others
	a.accept, a.spans = d.judge, d.spans.of(&o)
	a.tally.Counters, a.tally.earlier, a.tally.book, a.tally.exact, a.tally.clock = earlier, earlier, d.book, o.Budget != Budget{}, a.clock
	a.purse = &purse{budget: o.Budget, prices: o.Prices, tally: &a.tally}
	a.patience = &patience{clock: a.clock, giveUp: o.GiveUpAfter, expected: d.expected}
	a.trial = semaphore.NewWeighted(1)
	if err := errors.Join(a.recallN(ctx), a.recallSchemas(ctx)); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if o.Mode == ModeBatch {
		a.batch = newBatcher(a, lanes[0].endpoint)
	}
	d.asker = a
	return a, nil
}

// Expect tells how many prompts the whole run has. A run of fewer than 20 prompts can then end when all of them have
// failed in the same way. It is called before Open.
func (d *Distill) Expect(prompts int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expected = prompts
}

// OnWait has do called whenever nothing can be sent for some seconds, because the endpoint asked for it or is out of
// order, and when that is over. It must return soon. OnWait is called before Open.
func (d *Distill) OnWait(do func(Wait)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notify = do
}

// Workers is how many shards of so many prompts are to be worked on at a time: enough that the slowest requests of some
// do not leave the endpoints idle, which can have four times as many as they take wait in line, and no more than 32,768
// answers at a time where fewer shards do.
func (d *Distill) Workers(prompts int) int {
	o := d.Options
	o.EnsureDefaults()
	prompts = max(1, prompts)
	return max(2, 1+4*o.most()/prompts, min(8, 32768/(prompts*d.Fanout())))
}

// Speed says how fast the endpoints are asked now.
func (d *Distill) Speed() Speed {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asker == nil {
		return Speed{}
	}
	return d.asker.pool.speed()
}

// Join gives the stage the judge that says which answers are good enough. It is called before Open.
func (d *Distill) Join(j Judge) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.judge = j
}

// Remember gives the stage the book of what earlier processes did for this run, and in which it writes what it does
// itself. It is called before Open.
func (d *Distill) Remember(b Book) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.book = b
}

// Restart forgets which shards there are.
func (d *Distill) Restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue, d.made = nil, walk{}
	if d.Target.Accepted > 0 && d.judge != nil {
		d.queue = newQueue(d.Target.Accepted, min(d.judge.Most(), d.Fanout()))
	}
}

// Shard counts a shard that is there, and puts it into the queue where there is a target.
func (d *Distill) Shard(shard int, rows int64, made *stillhouse.Account) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if made != nil {
		d.made.before(*made, d.Fanout())
		if d.asker != nil {
			d.asker.patience.prompts(int(made.In) / d.Fanout())
		}
	}
	if d.queue != nil {
		d.queue.shard(shard, rows, made)
	}
}

// Close closes the store and the idle connections. Nothing that was answered is lost without it.
func (d *Distill) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asker == nil {
		return nil
	}
	a := d.asker
	d.asker = nil
	a.pool.idle()
	if a.batch != nil {
		a.batch.api.Close()
	}
	return errors.Join(a.tally.close(), a.store.Close())
}

// Requests says what was done at the endpoint since Open, and for the run before that where a [Book] remembers it.
func (d *Distill) Requests() Counters {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asker == nil {
		return Counters{Retries: map[string]int64{}}
	}
	return d.asker.tally.snapshot()
}

// Process asks for the answers to a batch of prompts and emits them in order.
func (d *Distill) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	if err := ctx.Err(); err != nil || batch.NumRows() == 0 {
		return err
	}
	prompts, err := stillhouse.Prompts(batch)
	if err != nil {
		return err
	}
	d.mu.Lock()
	a, err := d.open(ctx)
	line := d.queue
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if line == nil && a.opts.Target.Accepted > 0 {
		return stillhouse.Invalidf("a target follows the order of the prompts, and nobody told it: call Restart and Shard, as stillhouse.Run does")
	}
	switch {
	case a.batch == nil:
	case line == nil:
		if err := a.batch.fill(ctx, queriesOf(&a.opts, prompts)); err != nil {
			return err
		}
	case !a.batch.whole:
		return stillhouse.Invalidf("by batches, a target is reached wave by wave, over all prompts: call Fill first")
	}
	outcomes := make([][]outcome, len(prompts))
	queries := make([]*query, len(prompts))
	accepted := make([]int, len(prompts))
	g, asking := errgroup.WithContext(ctx)
	for i, p := range prompts {
		if asking.Err() != nil {
			break
		}
		if line != nil {
			asked, err := line.enter(asking, out.Shard())
			if err != nil {
				break
			}
			if !asked {
				outcomes[i] = make([]outcome, a.opts.Samples.Max)
				leave(outcomes[i], TargetReached, out.Tick)
				a.tally.prompt(false, 0)
				a.patience.prompts(1)
				continue
			}
		}
		if err := a.atWork.Acquire(asking, 1); err != nil {
			break
		}
		g.Go(func() (err error) {
			defer a.atWork.Release(1)
			if queries[i], outcomes[i], accepted[i], err = a.prompt(asking, p, out.Tick); err != nil {
				return err
			}
			if a.accept != nil {
				accepted[i] = min(accepted[i], a.accept.Most())
			}
			if line != nil {
				line.decided(accepted[i])
			}
			a.tally.prompt(slices.ContainsFunc(outcomes[i], func(o outcome) bool { return o.fresh }), accepted[i])
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := a.noteN(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if a.opts.Samples.Adaptive() || line != nil { // else it would only be for those who watch
		for _, n := range accepted {
			out.Accept(n)
		}
	}
	return d.emit(&a.opts, batch, prompts, queries, outcomes, out)
}

// prompt asks for the answers to one prompt.
func (a *asker) prompt(ctx context.Context, p stillhouse.Prompt, decided func(n int)) (*query, []outcome, int, error) {
	defer a.patience.prompts(1)
	q, err := newQuery(&a.opts, p)
	if err != nil {
		out := make([]outcome, a.opts.Samples.Max)
		for i := range out {
			out[i].failed = &failure{scope: rowOnly, message: err.Error()}
		}
		decided(len(out))
		return nil, out, 0, nil
	}
	out, accepted, err := a.ask(ctx, q, decided)
	return q, out, accepted, err
}

// emit puts the outcomes in order.
func (d *Distill) emit(o *Options, batch arrow.RecordBatch, prompts []stillhouse.Prompt, queries []*query, outcomes [][]outcome, out stillhouse.Emitter) error {
	mem := out.Allocator()
	b := array.NewRecordBuilder(mem, arrow.NewSchema(candidateColumns, nil))
	defer b.Release()
	var at []int
	var rows []stillhouse.Candidate
	for i := range prompts {
		for s, x := range outcomes[i] {
			if x.answered() {
				at = append(at, i)
				rows = append(rows, o.candidate(queries[i], s, x.answer))
				appendCandidate(b, rows[len(rows)-1])
			}
		}
	}
	schema, err := d.Schema(batch.Schema())
	if err != nil {
		return err
	}
	repeated, err := stillhouse.Rows(mem, batch, at)
	if err != nil {
		return err
	}
	defer repeated.Release()
	answers := b.NewRecordBatch()
	defer answers.Release()
	columns, release := o.withAsked(mem, repeated, rows)
	defer release()
	columns = append(columns, answers.Columns()...)
	if err := out.Emit(array.NewRecordBatch(schema, columns, int64(len(at)))); err != nil {
		return err
	}
	unasked := map[string]int{}
	for i, p := range prompts {
		for s, o := range outcomes[i] {
			if o.unasked != "" {
				unasked[o.unasked]++
			}
			if o.failed == nil {
				continue
			}
			row := batch.NewSlice(int64(i), int64(i)+1)
			var err error
			if o.failed.reason != "" {
				err = out.Drop(row, o.failed.reason, fmt.Sprintf("sample %d: %s", s, o.failed.message))
			} else {
				err = out.Fail(row, o.failed.asError("distill: prompt %q sample %d: %s", p.ID, s, o.failed.message))
			}
			row.Release()
			if err != nil {
				return err
			}
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(unasked)) {
		if err := out.Skip(unasked[reason], reason); err != nil {
			return err
		}
	}
	return nil
}

// String keeps %v from printing the stage's insides.
func (d *Distill) String() string { return fmt.Sprintf("distill from %s", d.Endpoint) }
