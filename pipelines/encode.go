package pipelines

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/train"
)

// encode makes training examples of samples. The shard has what became of the rows, without those that are kept: they
// are the examples. The caller releases it.
func encode(ctx context.Context, s *train.Student, in stillhouse.Source) ([]train.Example, stillhouse.Shard, error) {
	sink := &memorySink{}
	stage := (&train.Encode{Options: s.Options}).Use(s.Tokenizer)
	defer sink.release()
	a, err := stillhouse.Run(ctx, in, stage, sink, stillhouse.Options{Workers: 1})
	if err != nil {
		return nil, stillhouse.Shard{}, err
	}
	shard := stillhouse.Shard{Account: a}
	for _, part := range []struct {
		rows []arrow.RecordBatch
		to   *arrow.RecordBatch
	}{{sink.dropped, &shard.Dropped}, {sink.failed, &shard.Failed}} {
		if len(part.rows) == 0 {
			continue
		}
		if *part.to, err = stillhouse.Concat(memory.DefaultAllocator, part.rows[0].Schema(), part.rows); err != nil {
			return nil, shard, fmt.Errorf("train: %w", err)
		}
	}
	return sink.examples, shard, nil
}

// A memorySink takes in examples, in the order of the shards, which one worker makes one after the other.
type memorySink struct {
	examples        []train.Example
	dropped, failed []arrow.RecordBatch
}

func (m *memorySink) Done(int) (stillhouse.Account, bool, error) {
	return stillhouse.Account{}, false, nil
}

func (m *memorySink) Write(_ context.Context, _ int, out stillhouse.Shard) error {
	examples, err := train.Examples(out.Kept)
	if err != nil {
		return err
	}
	m.examples = append(m.examples, examples...)
	for _, part := range []struct {
		rows arrow.RecordBatch
		to   *[]arrow.RecordBatch
	}{{out.Dropped, &m.dropped}, {out.Failed, &m.failed}} {
		if part.rows != nil {
			part.rows.Retain()
			*part.to = append(*part.to, part.rows)
		}
	}
	return nil
}

func (m *memorySink) release() {
	for _, rows := range [][]arrow.RecordBatch{m.dropped, m.failed} {
		for _, r := range rows {
			r.Release()
		}
	}
}
