package stillhouse_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

// The toys take and make prompts.

// same is embedded by the toys whose output has the schema of their input.
type same struct{}

func (same) Schema(in *arrow.Schema) (*arrow.Schema, error) {
	return in, stillhouse.Require(in, stillhouse.PromptSchema, "prompt_id", "prompt", "source", "tools", "reference", "meta")
}

// sort passes rows on, drops those of the source "drop" and fails those of the source "fail".
type sort struct{ same }

func (*sort) Name() string { return "sort" }

func (*sort) Process(_ context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	return each(batch, func(row arrow.RecordBatch, p stillhouse.Prompt) error {
		switch p.Source {
		case "drop":
			return out.Drop(row, "unwanted", "its source is drop")
		case "fail":
			return out.Fail(row, stillhouse.Transientf("prompt %q: no answer", p.ID))
		}
		row.Retain()
		return out.Emit(row)
	})
}

func each(batch arrow.RecordBatch, do func(arrow.RecordBatch, stillhouse.Prompt) error) error {
	prompts, err := stillhouse.Prompts(batch)
	if err != nil {
		return err
	}
	for i, p := range prompts {
		row := batch.NewSlice(int64(i), int64(i+1))
		err := do(row, p)
		row.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// triple makes three rows of one, but drops the third of every second prompt.
type triple struct{ same }

func (*triple) Name() string { return "triple" }

func (*triple) Fanout() int { return 3 }

func (*triple) Process(_ context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	return each(batch, func(row arrow.RecordBatch, p stillhouse.Prompt) error {
		for k := range 3 {
			if k == 2 && strings.HasSuffix(p.ID, "1") {
				return out.Drop(row, "third", "one too many")
			}
			row.Retain()
			if err := out.Emit(row); err != nil {
				return err
			}
		}
		return nil
	})
}

// spare makes up to three rows of one, has no need of the third, nor of the second of every second prompt, and accepts
// the first.
type spare struct{ same }

func (*spare) Name() string { return "spare" }

func (*spare) Fanout() int { return 3 }

func (*spare) Process(_ context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	return each(batch, func(row arrow.RecordBatch, p stillhouse.Prompt) error {
		n := 2
		if strings.HasSuffix(p.ID, "1") {
			n = 1
		}
		for range n {
			row.Retain()
			if err := out.Emit(row); err != nil {
				return err
			}
		}
		out.Accept(1)
		if err := out.Skip(2-n, "easy"); err != nil {
			return err
		}
		return out.Skip(1, "spare")
	})
}

// told notes what a Sequenced stage is told, and in which shard each row stands.
type told struct {
	same
	mu       sync.Mutex
	restarts int
	rows     map[int]int64
	made     map[int]stillhouse.Account
	early    []string // rows that came before their shard was told
	at       map[int]int64
}

func (*told) Name() string { return "told" }

func (s *told) Restart() {
	s.restarts++
	s.rows, s.made, s.at = map[int]int64{}, map[int]stillhouse.Account{}, map[int]int64{}
}

func (s *told) Shard(shard int, rows int64, made *stillhouse.Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if made != nil {
		s.made[shard] = *made
	} else {
		s.rows[shard] = rows
	}
}

func (s *told) Process(_ context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.rows[out.Shard()]; !ok {
		s.early = append(s.early, fmt.Sprint(out.Shard()))
	}
	s.at[out.Shard()] += batch.NumRows()
	batch.Retain()
	return out.Emit(batch)
}

// unique drops prompts that it has seen.
type unique struct {
	same
	seen map[string]bool
}

func (*unique) Name() string { return "unique" }

func (s *unique) Begin() error { s.seen = map[string]bool{}; return nil }

func (s *unique) Process(_ context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	return each(batch, func(row arrow.RecordBatch, p stillhouse.Prompt) error {
		text := p.Prompt[0].Content
		if s.seen[text] {
			return out.Drop(row, "duplicate", "seen before")
		}
		s.seen[text] = true
		row.Retain()
		return out.Emit(row)
	})
}

// latest holds each row back until the next one comes, and drops the first of all at the end.
type latest struct {
	same
	held  []arrow.RecordBatch
	first arrow.RecordBatch
}

func (*latest) Name() string { return "latest" }

func (s *latest) Begin() error {
	for _, b := range s.held {
		b.Release()
	}
	s.held = nil
	if s.first != nil {
		s.first.Release()
	}
	s.first = nil
	return nil
}

func (s *latest) Process(_ context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	for i := range batch.NumRows() {
		row := batch.NewSlice(i, i+1)
		if s.first == nil {
			s.first = row
			continue
		}
		s.held = append(s.held, row)
		if len(s.held) > 1 {
			b := s.held[0]
			s.held = s.held[1:]
			if err := out.Emit(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *latest) Flush(_ context.Context, out stillhouse.Emitter) error {
	for len(s.held) > 0 {
		b := s.held[0]
		s.held = s.held[1:]
		if err := out.Emit(b); err != nil {
			return err
		}
	}
	if s.first == nil {
		return nil
	}
	b := s.first
	s.first = nil
	defer b.Release()
	return out.Drop(b, "first", "the first of all")
}

// wrong breaks the contract in the way that its field names.
type wrong struct {
	same
	How string
}

func (*wrong) Name() string { return "wrong" }

var errStage = errors.New("the stage gave up")

func (s *wrong) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	switch s.How {
	case "loses":
		none := batch.NewSlice(0, 0)
		defer none.Release()
		return out.Drop(none, "nothing", "no rows")
	case "makes up":
		batch.Retain()
		batch.Retain()
		return errors.Join(out.Emit(batch), out.Emit(batch))
	case "skips":
		return out.Skip(1, "spare")
	case "another schema":
		return out.Emit(stillhouse.SampleBatch(out.Allocator(), []stillhouse.Sample{{}}))
	case "drops another schema", "fails another schema":
		rows := stillhouse.SampleBatch(out.Allocator(), []stillhouse.Sample{{}})
		defer rows.Release()
		if s.How[0] == 'd' {
			return out.Drop(rows, "other", "other")
		}
		return out.Fail(rows, errStage)
	case "gives up":
		return stillhouse.Invalidf("prompt 1: %w", errStage)
	case "waits":
		<-ctx.Done()
		return ctx.Err()
	}
	panic(s.How)
}

// prompts makes n prompts, a few of which are to be dropped or to fail, and some of which say the same.
func prompts(mem memory.Allocator, n int) arrow.RecordBatch {
	var rows []stillhouse.Prompt
	for i := range n {
		p := stillhouse.Prompt{ID: fmt.Sprint("p", i), Source: "test", Prompt: []stillhouse.Message{{Role: "user", Content: fmt.Sprint(i % 13)}}}
		switch {
		case i%5 == 3:
			p.Source = "drop"
		case i%7 == 2:
			p.Source = "fail"
		}
		rows = append(rows, p)
	}
	return stillhouse.PromptBatch(mem, rows)
}
