// Package stillhouse is the contract of the pipeline: what a stage is, what flows between stages, and how a stage is
// run so that no row is lost.
//
//	prompts ──distill──▶ candidates ──score──▶ scored ──select──▶ samples ──filter──▶ kept ──train──▶ student
//
// Every arrow but the last is a [Stage]: Arrow record batches of one schema in, record batches of another out. The
// schemas are in schema.go, the typed rows behind them in rows.go, the runner in run.go.
//
// To write a stage: a plain struct with its options, a Name, a Schema, a Process. Then let testkit.Conform hold it
// against the promises written here.
package stillhouse

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// A Stage turns record batches of one schema into record batches of another.
//
// A stage is a plain struct of options that survives JSON both ways: no closures and no globals, so that it can be
// stored, compared and shipped. What it emits is a function of its options and its input alone: not of how the rows
// are cut into batches, how many workers there are, or in which order answers arrive.
//
// Process may be called from several goroutines at once, unless the stage is [Ordered].
type Stage interface {
	// Name is the stage's name in the ledger, in paths and in errors: a lower-case word.
	Name() string

	// Schema says what comes out for what goes in. An error names the column that is missing or has another type.
	// It costs nothing: whole chains are checked with it before the first request is sent (see [Check]).
	Schema(in *arrow.Schema) (*arrow.Schema, error)

	// Process consumes one batch. It borrows the batch: to keep it beyond the call, Retain it.
	//
	// Each row of the batch must end in exactly one of Emit, Drop and Fail by the time Process returns (or Flush, for
	// a [Flusher]). A batch is never empty of meaning: zero rows are allowed and mean nothing to do. A batch never
	// splits the candidates of one prompt.
	//
	// An error ends the run, whatever its kind; a row that fails alone is handed to out.Fail and the run goes on.
	Process(ctx context.Context, batch arrow.RecordBatch, out Emitter) error
}

// An Ordered stage remembers rows from one batch to the next (duplicates, quotas). The runner calls Begin once, then
// Process for one batch at a time, in the order of the input.
type Ordered interface {
	Stage
	// Begin forgets everything and releases what it still held. It is called before the first batch of every run.
	Begin() error
}

// A Flusher is an Ordered stage that can decide about some rows only after it has seen all of them. Flush is called
// once, after the last batch; what it emits forms the last shard.
type Flusher interface {
	Ordered
	Flush(ctx context.Context, out Emitter) error
}

// An Expander makes several rows of one: Fanout rows of output are accounted for every row of input, so that the
// books balance as rows in × Fanout = kept + dropped + failed + unasked. For distill it is the most samples that a
// prompt can get; those that it has no need of are booked by Skip.
type Expander interface {
	Stage
	Fanout() int
}

// A Sequenced stage takes its shards side by side, as any stage does, but how far it goes depends on the rows before:
// distill ends with the prompt that reaches its target. So it is told which shards there are.
type Sequenced interface {
	Stage
	// Restart forgets all shards. It is called before the first shard of every run.
	Restart()
	// Shard is called once for each shard: before its rows come, with how many they are, or with the account of a shard
	// that is there already, whose rows do not come. The calls come in any order and from several goroutines, but no
	// shard waits for a later one.
	Shard(shard int, rows int64, made *Account)
}

// An Emitter is where a stage's rows go. Its methods may be called from several goroutines, though the order of the
// calls to Emit is the order of the output: a stage that works in parallel puts its rows in order first.
type Emitter interface {
	// Emit passes on a batch of the stage's output schema. It takes over the caller's reference, also when it fails.
	Emit(batch arrow.RecordBatch) error

	// Drop is the only way to leave rows out. The rows have the stage's input schema and are borrowed. The reason is
	// one word for the ledger (truncated, duplicate); the detail is for people and says what was seen.
	Drop(rows arrow.RecordBatch, reason, detail string) error

	// Fail records rows that ended in an error. The rows have the stage's input schema and are borrowed. The error's
	// kind is what the ledger counts.
	Fail(rows arrow.RecordBatch, err error) error

	// Skip books n rows of output that an [Expander] has no need to make, because of a reason of one word (enough): no
	// row is lost, and none is written.
	Skip(n int, reason string) error

	// Accept books that n of the rows emitted are good enough for the stages after this one, where a stage knows.
	Accept(n int)

	// Shard is the number of the shard of input whose rows are being processed: rows of lower shards stand before them.
	Shard() int

	// Tick tells whoever watches that n more rows of output are decided. It changes nothing else. A stage that is quick
	// leaves it out: the runner ticks what is left of a shard when the shard is written.
	Tick(n int)

	// Allocator is where a stage takes Arrow memory from.
	Allocator() memory.Allocator
}

// Check checks a chain of stages before anything is run: that every stage accepts what the one before it makes, and
// that names are unique. It returns the schema of the last stage's output.
func Check(in *arrow.Schema, stages ...Stage) (*arrow.Schema, error) {
	seen := make(map[string]bool, len(stages))
	for _, s := range stages {
		if seen[s.Name()] {
			return nil, Invalidf("two stages are named %q: give one another name", s.Name())
		}
		seen[s.Name()] = true
		out, err := s.Schema(in)
		if err != nil {
			return nil, &Error{Kind: Invalid, Err: fmt.Errorf("%s: %w", s.Name(), err)}
		}
		in = out
	}
	return in, nil
}

// A Source is a stage's input: shards that can be read again and again.
type Source interface {
	Schema() *arrow.Schema
	// Shards is the number of shards. Their order and the rows in each never change, and the rows of one prompt lie
	// side by side in one shard.
	Shards() int
	// Read returns the rows of one shard as one batch, which the caller releases.
	Read(ctx context.Context, shard int, mem memory.Allocator) (arrow.RecordBatch, error)
}

// A Sink is where a stage's output goes: one write-once shard of output for each shard of input. Its methods may be
// called from several goroutines, for different shards.
type Sink interface {
	// Done returns the account of a shard that is already there and whole.
	Done(shard int) (a Account, ok bool, err error)
	// Write makes a shard durable, wholly or not at all. It borrows the batches. An Ordered stage that goes on writes
	// shards that are there once more, with the same rows.
	Write(ctx context.Context, shard int, out Shard) error
}

// A Shard is what became of one shard of input.
type Shard struct {
	Kept    arrow.RecordBatch // the stage's output schema
	Dropped arrow.RecordBatch // the stage's input schema + stage, reason, detail; nil when there are none
	Failed  arrow.RecordBatch // the same, reason is the error's kind; nil when there are none
	Account Account
}
