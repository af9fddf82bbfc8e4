package distill

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

// Fill gets the answers to all prompts of a source by the Batch API, where mode is batch: a run in all needs as few batches
// as hold its requests, and with a target few more. made, which may be nil, says which shards are there already, with their
// accounts; say, which may be nil, is told what goes on. Without Fill, Process makes a batch for what it is given, unless
// there is a target.
func (d *Distill) Fill(ctx context.Context, in stillhouse.Source, made func(shard int) (stillhouse.Account, bool, error), say func(format string, args ...any)) error {
	d.mu.Lock()
	a, err := d.open(ctx)
	d.mu.Unlock()
	if err != nil || a.batch == nil {
		return err
	}
	if say != nil {
		a.batch.say = say
	}
	err = a.batch.fill(ctx, func(ctx context.Context, visit func(*query) error, there func(stillhouse.Account) error) error {
		for i := range in.Shards() {
			if made != nil {
				account, done, err := made(i)
				if err == nil && done {
					err = there(account)
				}
				if err != nil {
					return err
				}
				if done {
					continue
				}
			}
			rows, err := in.Read(ctx, i, memory.DefaultAllocator)
			if err != nil {
				return err
			}
			prompts, err := stillhouse.Prompts(rows)
			rows.Release()
			if err != nil {
				return err
			}
			if err := queriesOf(&a.opts, prompts)(ctx, visit, there); err != nil {
				return err
			}
		}
		return nil
	})
	a.batch.whole = err == nil
	return err
}

// queriesOf are the queries of some prompts. Those that cannot be made are told when they are asked for.
func queriesOf(o *Options, prompts []stillhouse.Prompt) queries {
	return func(ctx context.Context, visit func(*query) error, _ func(stillhouse.Account) error) error {
		for _, p := range prompts {
			if err := ctx.Err(); err != nil {
				return err
			}
			q, err := newQuery(o, p)
			if err != nil {
				continue
			}
			if err := visit(q); err != nil {
				return err
			}
		}
		return nil
	}
}
