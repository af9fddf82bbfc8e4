package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
)

var (
	reason = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	kinds  = []string{stillhouse.Permanent.String(), stillhouse.Transient.String(), stillhouse.Invalid.String()}
)

// checkAccount looks at what the books say of the plain run.
func (c Case) checkAccount(mem memory.Allocator) error {
	rows := c.Input(mem)
	defer rows.Release()
	got, err := c.base(mem)
	if err != nil {
		return err
	}
	s, a := c.stage(), got.Account
	if !reason.MatchString(s.Name()) {
		return fmt.Errorf("the name %q is no lower-case word", s.Name())
	}
	fanout := int64(1)
	if e, ok := s.(stillhouse.Expander); ok {
		fanout = int64(e.Fanout())
	}
	if want := rows.NumRows() * fanout; a.In != want || !a.Balanced() {
		return fmt.Errorf("%d rows × %d went in, the books say %+v", rows.NumRows(), fanout, a)
	}
	for r := range maps.Keys(a.Dropped) {
		if !reason.MatchString(r) {
			return fmt.Errorf("the reason %q of a drop is no lower-case word", r)
		}
	}
	for r := range maps.Keys(a.Unasked) {
		if !reason.MatchString(r) {
			return fmt.Errorf("the reason %q of rows that were not made is no lower-case word", r)
		}
	}
	if a.Accepted > a.Kept {
		return fmt.Errorf("%d rows are accepted, but only %d kept", a.Accepted, a.Kept)
	}
	for k := range maps.Keys(a.Failed) {
		if !slices.Contains(kinds, k) {
			return fmt.Errorf("the kind %q of a failure is none of %v", k, kinds)
		}
	}
	for _, line := range slices.Concat(got.Dropped, got.Failed) {
		if strings.Contains(line, `detail="" `) {
			return fmt.Errorf("a row is left out without a detail: %s", line)
		}
	}
	if c.Account == nil {
		return nil
	}
	if d := cmp.Diff(c.Account.Plus(stillhouse.Account{}), a); d != "" {
		return fmt.Errorf("another account (-wanted +got):\n%s", d)
	}
	return nil
}

// checkSplits runs the stage over the same rows cut otherwise.
func (c Case) checkSplits(mem memory.Allocator) error {
	want, err := c.base(mem)
	if err != nil {
		return err
	}
	rows := c.Input(mem)
	defer rows.Release()
	for _, shard := range []int{1, 3, int(rows.NumRows())} {
		for _, batch := range []int{1, 2, 3, 1024} {
			for _, workers := range []int{1, 4} {
				pieces := shards(rows, shard)
				got, err := run(context.Background(), mem, c.stage(), rows.Schema(), pieces, stillhouse.Options{Workers: workers, BatchRows: batch})
				release(pieces)
				how := fmt.Sprintf("with shards of %d rows, batches of %d and %d workers", shard, batch, workers)
				if err != nil {
					return fmt.Errorf("%s: %w", how, err)
				}
				if err := same(how, want, got); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkAgain runs one stage twice.
func (c Case) checkAgain(mem memory.Allocator) error {
	rows := c.Input(mem)
	defer rows.Release()
	s := c.stage()
	var first outcome
	for i := range 2 {
		got, err := run(context.Background(), mem, s, rows.Schema(), []arrow.RecordBatch{rows}, stillhouse.Options{Workers: 1})
		if err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		if i == 0 {
			first = got
		} else if err := same("in a second run of the same stage", first, got); err != nil {
			return err
		}
	}
	return nil
}

// checkJSON sends the stage's options through JSON.
func (c Case) checkJSON(mem memory.Allocator) error {
	want, err := c.base(mem)
	if err != nil {
		return err
	}
	text, err := json.Marshal(c.New())
	if err != nil {
		return fmt.Errorf("to JSON: %w", err)
	}
	s, err := decode(text, c.New(), json.Unmarshal)
	if err != nil {
		return fmt.Errorf("from JSON: %w", err)
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(text, again) {
		return fmt.Errorf("the options change on their way through JSON: %s became %s (%v)", text, again, err)
	}
	rows := c.Input(mem)
	defer rows.Release()
	got, err := run(context.Background(), mem, c.joined(s), rows.Schema(), []arrow.RecordBatch{rows}, stillhouse.Options{Workers: 1})
	if err != nil {
		return fmt.Errorf("after JSON: %w", err)
	}
	return same("of the stage that went through JSON", want, got)
}

// checkEmpty gives the stage nothing to do, in every way.
func (c Case) checkEmpty(mem memory.Allocator) error {
	rows := c.Input(mem)
	defer rows.Release()
	none := rows.NewSlice(0, 0)
	defer none.Release()

	e := &emitter{mem: mem}
	if err := e.drive(context.Background(), c.stage(), none); err != nil {
		return fmt.Errorf("a batch without rows: %w", err)
	}
	if e.rows() != 0 {
		return fmt.Errorf("a batch without rows made %d rows", e.rows())
	}
	for how, in := range map[string][]arrow.RecordBatch{"no shards": nil, "a shard without rows": {none}} {
		got, err := run(context.Background(), mem, c.stage(), rows.Schema(), in, stillhouse.Options{})
		if err != nil {
			return fmt.Errorf("%s: %w", how, err)
		}
		if err := same("of "+how, outcome{Account: stillhouse.Account{}.Plus(stillhouse.Account{})}, got); err != nil {
			return err
		}
	}
	want, err := c.base(mem)
	if err != nil {
		return err
	}
	got, err := run(context.Background(), mem, c.stage(), rows.Schema(), []arrow.RecordBatch{none, rows, none}, stillhouse.Options{})
	if err != nil {
		return fmt.Errorf("between shards without rows: %w", err)
	}
	return same("between shards without rows", want, got)
}
