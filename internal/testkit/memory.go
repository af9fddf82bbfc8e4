package testkit

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

// A MemorySource is a source whose shards lie in memory.
type MemorySource struct {
	schema *arrow.Schema
	shards []arrow.RecordBatch

	// Fault, when set, is asked before a shard is read; its error is the shard's.
	Fault func(shard int) error
}

var _ stillhouse.Source = (*MemorySource)(nil)

// NewMemorySource makes a source of the batches, a shard each. It takes references of its own; Release gives them back.
func NewMemorySource(schema *arrow.Schema, shards ...arrow.RecordBatch) *MemorySource {
	for _, b := range shards {
		b.Retain()
	}
	return &MemorySource{schema: schema, shards: slices.Clone(shards)}
}

func (m *MemorySource) Schema() *arrow.Schema { return m.schema }

func (m *MemorySource) Shards() int { return len(m.shards) }

func (m *MemorySource) Read(_ context.Context, shard int, _ memory.Allocator) (arrow.RecordBatch, error) {
	if m.Fault != nil {
		if err := m.Fault(shard); err != nil {
			return nil, err
		}
	}
	m.shards[shard].Retain()
	return m.shards[shard], nil
}

// Release gives back the memory of the shards.
func (m *MemorySource) Release() {
	for _, b := range m.shards {
		b.Release()
	}
	m.shards = nil
}

// A MemorySink is a sink that keeps its shards in memory. The zero value is ready.
type MemorySink struct {
	// Fault, when set, is asked before a shard is written; its error is the shard's.
	Fault func(shard int) error

	mu     sync.Mutex
	shards map[int]stillhouse.Shard
}

var _ stillhouse.Sink = (*MemorySink)(nil)

func (m *MemorySink) Done(shard int) (stillhouse.Account, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.shards[shard]
	return s.Account, ok, nil
}

func (m *MemorySink) Write(_ context.Context, shard int, out stillhouse.Shard) error {
	if m.Fault != nil {
		if err := m.Fault(shard); err != nil {
			return err
		}
	}
	for _, b := range parts(out) {
		b.Retain()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shards == nil {
		m.shards = map[int]stillhouse.Shard{}
	}
	for _, b := range parts(m.shards[shard]) {
		b.Release()
	}
	m.shards[shard] = out
	return nil
}

// Shards are the shards written, in order. They belong to the sink.
func (m *MemorySink) Shards() []stillhouse.Shard {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]stillhouse.Shard, len(m.shards))
	for i := range out {
		s, ok := m.shards[i]
		if !ok {
			panic(fmt.Sprintf("testkit: %d shards are written, but not shard %d", len(m.shards), i))
		}
		out[i] = s
	}
	return out
}

// Forget removes a shard, as if it had not been written before a crash.
func (m *MemorySink) Forget(shard int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range parts(m.shards[shard]) {
		b.Release()
	}
	delete(m.shards, shard)
}

// Kept joins the rows kept of all shards into one batch, which the caller releases. The schema is that of the stage's
// output, for the case that there is no shard.
func (m *MemorySink) Kept(mem memory.Allocator, schema *arrow.Schema) (arrow.RecordBatch, error) {
	var kept []arrow.RecordBatch
	for _, s := range m.Shards() {
		kept = append(kept, s.Kept)
	}
	return stillhouse.Concat(mem, schema, kept)
}

// Source makes the rows kept the source of the next stage.
func (m *MemorySink) Source(schema *arrow.Schema) *MemorySource {
	var kept []arrow.RecordBatch
	for _, s := range m.Shards() {
		kept = append(kept, s.Kept)
	}
	return NewMemorySource(schema, kept...)
}

// Release gives back the memory of the shards.
func (m *MemorySink) Release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.shards {
		for _, b := range parts(s) {
			b.Release()
		}
	}
	m.shards = nil
}

func parts(s stillhouse.Shard) (out []arrow.RecordBatch) {
	for _, b := range []arrow.RecordBatch{s.Kept, s.Dropped, s.Failed} {
		if b != nil {
			out = append(out, b)
		}
	}
	return out
}
