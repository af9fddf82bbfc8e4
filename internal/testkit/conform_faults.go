package testkit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

var errFault = errors.New("a fault put in by the test")

// An emitter counts what a stage hands to it and can fail or call back at a given call.
type emitter struct {
	mem    memory.Allocator
	schema *arrow.Schema // that what is emitted must have, if set
	failAt int           // the number of the call that fails, from 1
	at     int           // the number of the call at which then is called
	then   func()

	mu    sync.Mutex
	calls int
	n     int64
}

var _ stillhouse.Emitter = (*emitter)(nil)

func (e *emitter) call(rows int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls++
	if e.calls == e.at {
		e.then()
	}
	if e.failAt > 0 && e.calls >= e.failAt {
		return errFault
	}
	e.n += rows
	return nil
}

func (e *emitter) Emit(b arrow.RecordBatch) error {
	defer b.Release()
	if e.schema != nil && !b.Schema().Equal(e.schema) {
		return fmt.Errorf("emits a batch of another schema than it promised:\n%v\nnot\n%v", b.Schema(), e.schema)
	}
	return e.call(b.NumRows())
}

func (e *emitter) Drop(rows arrow.RecordBatch, _, _ string) error { return e.call(rows.NumRows()) }
func (e *emitter) Fail(rows arrow.RecordBatch, _ error) error     { return e.call(rows.NumRows()) }
func (e *emitter) Skip(n int, _ string) error                     { return e.call(int64(n)) }
func (e *emitter) Accept(int)                                     {}
func (e *emitter) Shard() int                                     { return 0 }
func (e *emitter) Tick(int)                                       {}
func (e *emitter) Allocator() memory.Allocator                    { return e.mem }

func (e *emitter) rows() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

// drive hands one batch to a stage as the runner would.
func (e *emitter) drive(ctx context.Context, s stillhouse.Stage, rows arrow.RecordBatch) error {
	_, err := within(func() (struct{}, error) {
		if o, ok := s.(stillhouse.Ordered); ok {
			if err := o.Begin(); err != nil {
				return struct{}{}, err
			}
		}
		if q, ok := s.(stillhouse.Sequenced); ok {
			q.Restart()
			q.Shard(0, rows.NumRows(), nil)
		}
		if err := s.Process(ctx, rows, e); err != nil {
			return struct{}{}, err
		}
		if f, ok := s.(stillhouse.Flusher); ok {
			return struct{}{}, f.Flush(ctx, e)
		}
		return struct{}{}, nil
	})
	return err
}

// sampled are the numbers of the calls at which faults are put in: the first few and the last.
func sampled(calls int) (out []int) {
	for i := 1; i <= min(calls, 4); i++ {
		out = append(out, i)
	}
	if calls > 4 {
		out = append(out, calls)
	}
	return out
}

// calls is how often the stage calls the emitter for all rows in one batch.
func (c Case) calls(mem memory.Allocator, rows arrow.RecordBatch) (int, error) {
	e := &emitter{mem: mem}
	if err := e.drive(context.Background(), c.stage(), rows); err != nil {
		return 0, fmt.Errorf("all rows in one batch: %w", err)
	}
	return e.calls, nil
}

// checkEmitterFails lets Emit, Drop and Fail fail: the stage must end with that error.
func (c Case) checkEmitterFails(mem memory.Allocator) error {
	rows := c.Input(mem)
	defer rows.Release()
	calls, err := c.calls(mem, rows)
	if err != nil {
		return err
	}
	for _, at := range sampled(calls) {
		s := c.stage()
		err := (&emitter{mem: mem, failAt: at}).drive(context.Background(), s, rows)
		if !errors.Is(err, errFault) {
			return fmt.Errorf("call %d of the emitter failed, but the stage's error is %v: hand on its error, wrapped with %%w", at, err)
		}
		if err := forget(s); err != nil {
			return err
		}
	}
	return nil
}

// checkEndsFail lets the source and the sink fail.
func (c Case) checkEndsFail(mem memory.Allocator) error {
	rows := c.Input(mem)
	defer rows.Release()
	pieces := shards(rows, 1)
	defer release(pieces)
	fault := func(shard int) error {
		if shard == len(pieces)-1 {
			return errFault
		}
		return nil
	}
	for _, at := range []string{"source", "sink"} {
		in, out := NewMemorySource(rows.Schema(), pieces...), &MemorySink{}
		if at == "source" {
			in.Fault = fault
		} else {
			out.Fault = fault
		}
		s := c.stage()
		_, err := within(func() (stillhouse.Account, error) {
			return stillhouse.Run(context.Background(), in, s, out, stillhouse.Options{Allocator: mem, Workers: 2})
		})
		in.Release()
		out.Release()
		if !errors.Is(err, errFault) {
			return fmt.Errorf("the %s failed, but the run's error is %v", at, err)
		}
		if err := forget(s); err != nil {
			return err
		}
	}
	return nil
}

// checkCancelled cancels before and in the middle of the work. A stage that had finished may say so instead.
func (c Case) checkCancelled(mem memory.Allocator) error {
	rows := c.Input(mem)
	defer rows.Release()
	calls, err := c.calls(mem, rows)
	if err != nil {
		return err
	}
	for _, at := range append([]int{0}, sampled(calls)...) {
		ctx, cancel := context.WithCancel(context.Background())
		if at == 0 {
			cancel()
		}
		err := c.interrupted(ctx, mem, rows, &emitter{mem: mem, at: at, then: cancel})
		cancel()
		if err != nil {
			return fmt.Errorf("cancelled at call %d of the emitter: %w", at, err)
		}
	}
	late, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel()
	if err := c.interrupted(late, mem, rows, &emitter{mem: mem}); err != nil {
		return fmt.Errorf("past its deadline: %w", err)
	}
	return c.cancelledRun(mem, rows)
}

func (c Case) interrupted(ctx context.Context, mem memory.Allocator, rows arrow.RecordBatch, e *emitter) error {
	s := c.stage()
	err := e.drive(ctx, s, rows)
	if err != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("the error is %v, not the context's", err)
	}
	if err == nil {
		whole := &emitter{mem: mem}
		if err := whole.drive(context.Background(), c.stage(), rows); err != nil {
			return err
		}
		if e.rows() != whole.rows() {
			return fmt.Errorf("no error, but %d rows of %d are decided", e.rows(), whole.rows())
		}
	}
	return forget(s)
}

// cancelledRun cancels a run after its first shard.
func (c Case) cancelledRun(mem memory.Allocator, rows arrow.RecordBatch) error {
	pieces := shards(rows, 1)
	defer release(pieces)
	if len(pieces) < 2 {
		return errors.New("the case has one prompt only: give it several, so that a run can be cancelled between them")
	}
	in, out := NewMemorySource(rows.Schema(), pieces...), &MemorySink{}
	defer in.Release()
	defer out.Release()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out.Fault = func(int) error { cancel(); return nil }
	s := c.stage()
	_, err := within(func() (stillhouse.Account, error) {
		return stillhouse.Run(ctx, in, s, out, stillhouse.Options{Allocator: mem, Workers: 1})
	})
	if !errors.Is(err, context.Canceled) {
		return fmt.Errorf("a run cancelled after its first shard ends with %v", err)
	}
	if n := len(out.Shards()); n != 1 {
		return fmt.Errorf("a run cancelled after its first shard wrote %d", n)
	}
	return forget(s)
}
