package rundir

import (
	"context"
	"errors"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

// A run may begin with candidates of files: its books begin there, and prompts and distill are not missed.
func TestCandidatesOfFiles(t *testing.T) {
	d := opened(t, t.TempDir(), config, Options{})
	ctx := context.Background()
	rows := batches(memory.DefaultAllocator, 10)
	put := func(name, stage string, a stillhouse.Account) {
		t.Helper()
		a.Kept = rows[name].NumRows()
		if err := d.Sink(name, stage).Write(ctx, 0, stillhouse.Shard{Kept: rows[name], Account: a}); err != nil {
			t.Fatal(err)
		}
	}
	n := rows["candidates"].NumRows()
	put("candidates", "candidates", stillhouse.Account{In: n})
	put("scored", "score", stillhouse.Account{In: n})
	l, err := d.Check(ctx)
	if err != nil || len(l.Entries) != 2 || l.Entries[0].Step != "candidates" || l.Entries[1].Step != "curate" {
		t.Fatalf("%+v, %v", l, err)
	}
	if _, err := d.WriteLedger(); err != nil {
		t.Fatal(err)
	}
	if err := d.Reopen("candidates", []int{0}); err != nil || exists(d, "scored") {
		t.Errorf("reopened: %v", err)
	}
	put("candidates", "candidates", stillhouse.Account{In: n})
	put("scored", "score", stillhouse.Account{In: n + 1, Dropped: map[string]int64{"lost": 1}})
	if _, err := d.Check(ctx); !errors.Is(err, stillhouse.ErrUnbalanced) {
		t.Errorf("a row too many: %v", err)
	}
	if err := d.Reset("candidates"); err != nil || exists(d, "candidates") {
		t.Errorf("reset: %v", err)
	}
}
