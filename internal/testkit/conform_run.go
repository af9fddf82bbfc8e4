package testkit

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
)

// promptly is how long a run over a few rows may take, and how long one may go on after it was cancelled. It is wide,
// since a busy machine is not a fault of the stage.
const promptly = 30 * time.Second

// An outcome is what a run made, as text: a line a row, the columns by name.
type outcome struct {
	Account               stillhouse.Account
	Kept, Dropped, Failed []string
}

// run runs a stage over the shards and gives its outcome.
func run(ctx context.Context, mem memory.Allocator, s stillhouse.Stage, schema *arrow.Schema, shards []arrow.RecordBatch, o stillhouse.Options) (outcome, error) {
	in := NewMemorySource(schema, shards...)
	defer in.Release()
	out := &MemorySink{}
	defer out.Release()
	account, err := within(func() (stillhouse.Account, error) {
		o.Allocator = mem
		return stillhouse.Run(ctx, in, s, out, o)
	})
	if err != nil {
		return outcome{}, err
	}
	got := outcome{Account: account}
	for _, s := range out.Shards() {
		got.Kept = append(got.Kept, lines(s.Kept)...)
		got.Dropped = append(got.Dropped, lines(s.Dropped)...)
		got.Failed = append(got.Failed, lines(s.Failed)...)
	}
	return got, nil
}

// within is the result of do, or an error when it does not come.
func within[T any](do func() (T, error)) (T, error) {
	type result struct {
		v     T
		err   error
		panic any
	}
	ch := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			r.panic = recover()
			ch <- r
		}()
		r.v, r.err = do()
	}()
	timer := time.NewTimer(promptly)
	defer timer.Stop()
	select {
	case r := <-ch:
		if r.panic != nil {
			r.err = fmt.Errorf("panic: %v", r.panic)
		}
		return r.v, r.err
	case <-timer.C:
		var none T
		return none, fmt.Errorf("still running after %v", promptly)
	}
}

// base is the outcome of the plainest run: one shard, one batch, one worker.
func (c Case) base(mem memory.Allocator) (outcome, error) {
	rows := c.Input(mem)
	defer rows.Release()
	if rows.NumRows() < 2 {
		return outcome{}, fmt.Errorf("the case has %d rows: give it some that can be cut into batches", rows.NumRows())
	}
	o, err := run(context.Background(), mem, c.stage(), rows.Schema(), []arrow.RecordBatch{rows}, stillhouse.Options{Workers: 1})
	if err != nil {
		return o, fmt.Errorf("the plain run failed: %w", err)
	}
	return o, nil
}

// lines writes out a batch, a line a row. Columns stand in the order of their names, so that batches whose columns
// are ordered otherwise compare equal; those in skip are left out.
func lines(b arrow.RecordBatch, skip ...string) (out []string) {
	if b == nil {
		return nil
	}
	order := make([]int, b.NumCols())
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(b.ColumnName(i), b.ColumnName(j)) })
	for row := range int(b.NumRows()) {
		var line strings.Builder
		for _, i := range order {
			if slices.Contains(skip, b.ColumnName(i)) {
				continue
			}
			value := "null"
			if c := b.Column(i); c.IsValid(row) {
				value = fmt.Sprintf("%q", c.ValueStr(row))
			}
			fmt.Fprintf(&line, "%s=%s ", b.ColumnName(i), value)
		}
		out = append(out, line.String())
	}
	return out
}

// same is an error that shows how an outcome differs from the one wanted.
func same(how string, want, got outcome) error {
	if d := cmp.Diff(want, got); d != "" {
		return fmt.Errorf("another output %s (-plain run +this run):\n%s", how, d)
	}
	return nil
}

// shards cuts rows into pieces of about size rows that never split the rows of one prompt. The caller releases them.
func shards(rows arrow.RecordBatch, size int) (out []arrow.RecordBatch) {
	ids := promptIDs(rows)
	n := int(rows.NumRows())
	for from := 0; from < n; {
		to := min(from+size, n)
		for ids != nil && to < n && ids.Value(to) == ids.Value(to-1) {
			to++
		}
		out = append(out, rows.NewSlice(int64(from), int64(to)))
		from = to
	}
	return out
}

func promptIDs(rows arrow.RecordBatch) *array.String {
	at := rows.Schema().FieldIndices("prompt_id")
	if len(at) != 1 {
		return nil
	}
	ids, _ := rows.Column(at[0]).(*array.String)
	return ids
}

func release(batches []arrow.RecordBatch) {
	for _, b := range batches {
		b.Release()
	}
}

// decode makes a new stage of the same type from the JSON of s.
func decode(text []byte, s stillhouse.Stage, unmarshal func([]byte, any) error) (stillhouse.Stage, error) {
	typ := reflect.TypeOf(s)
	if typ.Kind() != reflect.Pointer {
		return nil, errors.New("a stage is a pointer to a struct of options")
	}
	fresh := reflect.New(typ.Elem())
	if err := unmarshal(text, fresh.Interface()); err != nil {
		return nil, err
	}
	return fresh.Interface().(stillhouse.Stage), nil
}
