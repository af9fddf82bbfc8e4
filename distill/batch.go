package distill

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"stillhouse"
	"stillhouse/distill/batchapi"
	"stillhouse/internal/options"
)

// What mode may be.
const (
	ModeOnline = "online"
	ModeBatch  = "batch"
)

// BatchOptions are the block `distill.batch`: how requests are gathered where mode is batch.
type BatchOptions struct {
	MaxRequests  int           `yaml:"max_requests" json:"max_requests" doc:"Requests of one batch; what is more goes into further ones. 50,000 is OpenAI's bound."`
	MaxMegabytes int           `yaml:"max_megabytes" json:"max_megabytes" doc:"The size of a batch's file, in millions of bytes. 200 is OpenAI's bound."`
	Window       string        `yaml:"completion_window" json:"completion_window" doc:"Within what time the endpoint is to answer; OpenAI takes 24h only."`
	Poll         time.Duration `yaml:"poll" json:"poll" doc:"The longest time between two looks at a batch; the first come after seconds."`
	Forget       []string      `yaml:"forget" json:"forget" doc:"Batches that nothing will come of any more, by the name that an error told: their requests are asked anew."`
}

// EnsureDefaults fills in what was left out.
func (o *BatchOptions) EnsureDefaults() {
	if o.MaxRequests == 0 {
		o.MaxRequests = 50_000
	}
	if o.MaxMegabytes == 0 {
		o.MaxMegabytes = 200
	}
	if o.Window == "" {
		o.Window = "24h"
	}
	if o.Poll == 0 {
		o.Poll = time.Minute
	}
}

// Validate says which key of the block has a value that cannot be, and what would be right.
func (o *BatchOptions) Validate() error {
	switch {
	case o.MaxRequests < 1 || o.MaxRequests > 10_000_000:
		return options.Wrongf("max_requests", "is %d: it must be 1 to 10000000", o.MaxRequests)
	case o.MaxMegabytes < 1 || o.MaxMegabytes > 100_000:
		return options.Wrongf("max_megabytes", "is %d: it must be 1 to 100000", o.MaxMegabytes)
	case o.Poll < 0:
		return options.Wrongf("poll", "is %v: it must be a positive duration such as 1m", o.Poll)
	}
	return nil
}

// A batcher gets answers by the Batch API. Requests are written down in the store before anything is sent; then each batch
// is uploaded, made, looked at until it has ended, and its answers put into the store, where the stage finds them. What was
// done is noted after each step, and what may have been done is looked for before it is done again:
//
//	planned ──upload──▶ uploaded ──▶ creating ──create──▶ created ──poll, fetch──▶ closed
//	   └ the file is looked for by its name  └ the batch is looked for by its token
//
// So a batch is never made twice, wherever a process was killed. Whoever needs an answer that is in a batch waits for that,
// whichever process made it.
type batcher struct {
	a    *asker
	o    BatchOptions
	api  *batchapi.Client
	from *endpoint // for what it says of failures
	say  func(format string, args ...any)
	stop func(step string) error // of tests: ends the process, as far as the store can tell

	filling sync.Mutex // one fill at a time

	mu     sync.Mutex
	failed map[Key]*failure // samples that have no answer in this process
	tries  map[Key]int      // how often a batch brought none that may come yet
	broke  bool             // the budget is spent
	fresh  map[uint64]bool  // answers that batches brought to this process, and that it has not handed out yet, by part of their keys
	whole  bool             // Fill has been through all prompts
}

func newBatcher(a *asker, from *endpoint) *batcher {
	return &batcher{a: a, o: a.opts.Batch, from: from, api: batchapi.New(from.url, from.key, newTransport(4)), say: func(string, ...any) {},
		stop: func(string) error { return nil }, failed: map[Key]*failure{}, tries: map[Key]int{}, fresh: map[uint64]bool{}}
}

func (b *batcher) failure(k Key) *failure {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed[k]
}

func (b *batcher) fail(k Key, f *failure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed[k] = f
}

// again notes that a batch brought no answer that another may bring, and says whether one more is to be tried.
func (b *batcher) again(k Key, f *failure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tries[k]++; b.tries[k] > *b.a.opts.MaxRetries {
		b.failed[k] = f
		return
	}
	b.a.tally.retry(f.kind)
}

// request is what [asker.request] is where answers come by batches: they are in the store, or have failed.
func (b *batcher) request(ctx context.Context, q *query, samples []int, out []outcome) (left []int, f *failure, err error) {
	left, err = b.a.lookUp(ctx, q, samples, out)
	b.handOut(q, samples, left)
	if err != nil || len(left) == 0 {
		return left, nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch f = b.failed[q.keys[left[0]]]; {
	case f == nil && b.broke:
		f = &failure{scope: noMoney, kind: BudgetSpent, wait: -1, message: "the budget is spent (distill.budget)"}
	case f == nil:
		f = &failure{scope: again, kind: "batch", wait: -1, message: "no batch brought an answer"}
	}
	return left, f, nil
}

// part is enough of a key to tell it from others.
func (k Key) part() uint64 { return binary.LittleEndian.Uint64(k[:]) }

// bring notes answers that a batch brought.
func (b *batcher) bring(keys []Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		b.fresh[k.part()] = true
	}
}

// handOut takes those samples that batches brought to this process, and that are not left, out of the count of what was in
// the store before.
func (b *batcher) handOut(q *query, samples, left []int) {
	n := int64(0)
	b.mu.Lock()
	for _, s := range samples {
		if k := q.keys[s].part(); b.fresh[k] && !slices.Contains(left, s) {
			delete(b.fresh, k)
			n++
		}
	}
	b.mu.Unlock()
	b.a.tally.add(func(c *Counters) { c.FromStore -= n })
}

// fill brings answers to all queries into the store, as far as there are any.
func (b *batcher) fill(ctx context.Context, all queries) error {
	b.filling.Lock()
	defer b.filling.Unlock()
	if err := b.forget(ctx); err != nil {
		return err
	}
	for {
		wait, p := map[int64]bool{}, &plan{}
		anything := errors.New("something is missing")
		_, err := b.missing(ctx, all, wait, func(*query, []int) error { return anything })
		if errors.Is(err, anything) {
			err = b.locked(ctx, func() (err error) {
				p, err = b.plan(ctx, all, wait)
				return err
			})
		}
		if err != nil {
			return err
		}
		b.mu.Lock()
		b.broke = b.broke || p.broke > 0 && p.placed == 0 && len(wait) == 0
		b.mu.Unlock()
		if len(wait) == 0 && p.failed == 0 { // what cannot be sent makes room for others in the wave
			return nil
		}
		if err := b.finish(ctx, wait); err != nil {
			return err
		}
	}
}

// forget closes the batches that the config gives up.
func (b *batcher) forget(ctx context.Context) error {
	if len(b.o.Forget) == 0 {
		return nil
	}
	return b.locked(ctx, func() error {
		open, err := b.a.store.openBatches(ctx)
		for _, row := range open {
			if err == nil && (slices.Contains(b.o.Forget, row.batch) || slices.Contains(b.o.Forget, row.token)) {
				err = b.a.store.closeBatch(ctx, row.id, "forgotten")
			}
		}
		return err
	})
}

// locked runs do while this process alone plans, makes and ends batches of the store. The system gives the lock back when
// the process ends, however it ends.
func (b *batcher) locked(ctx context.Context, do func() error) error {
	path := b.a.store.Path() + ".batches.lock"
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return stillhouse.Invalidf("lock batches: %v: name a file in a directory that can be written in distill.store", err)
	}
	defer f.Close() // which gives the lock back
	for said := false; ; said = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return do()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock %s: %w", path, err)
		}
		if !said {
			b.say("another process is at work on the batches of this store: waiting")
		}
		if err := b.a.clock.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// firstLook is when a batch is looked at first; the time between looks grows by half each time.
const firstLook = 5 * time.Second

// finish makes the batches that were not made yet, and waits until all have ended and their answers are in the store.
func (b *batcher) finish(ctx context.Context, wait map[int64]bool) error {
	pause := firstLook
	var full time.Time // since when there is no room at the endpoint
	for {
		moved, room, err := b.look(ctx, wait)
		if err != nil {
			return err
		}
		if len(wait) == 0 {
			return nil
		}
		switch now := b.a.clock.Now(); {
		case room || moved:
			full = time.Time{}
		case full.IsZero():
			full = now
		case now.Sub(full) > b.a.opts.GiveUpAfter:
			return stillhouse.Transientf("the endpoint %s has had no room for a further batch for %v (distill.give_up_after): run again later, every answer is kept; or lower distill.batch.max_requests",
				b.a.opts.Endpoint, now.Sub(full).Round(time.Second))
		}
		if moved {
			pause = firstLook
		}
		if err := b.a.clock.Sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(pause*3/2, max(b.o.Poll, time.Millisecond))
	}
}

// look goes over the batches once. Those that have ended are taken out of wait. moved says that one has; room is false when
// the endpoint had none for a batch, and no other is at work.
func (b *batcher) look(ctx context.Context, wait map[int64]bool) (moved, room bool, err error) {
	ids := make([]int64, 0, len(wait))
	for id := range wait {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	room = true
	atWork, refused := 0, false
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return moved, room, err
		}
		row, err := b.a.store.batch(ctx, id)
		if err != nil {
			return moved, room, err
		}
		if row.state != batchCreated && row.state != batchClosed && !refused { // one refusal is enough for a round
			err := b.locked(ctx, func() error {
				row, err = b.submit(ctx, id)
				return err
			})
			if err != nil {
				return moved, room, err
			}
			refused = row.state != batchCreated && row.state != batchClosed
		}
		done := row.state == batchClosed
		if row.state == batchCreated {
			if done, refused, err = b.poll(ctx, row); err != nil {
				return moved, room, err
			}
			if !done && !refused {
				atWork++
			}
		}
		if done {
			delete(wait, id)
			moved = true
		}
	}
	return moved, !refused || atWork > 0, nil
}
