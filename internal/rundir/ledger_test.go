package rundir

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

var fanout = Options{Fanout: map[string]int{"distill": 2}}

// TestLedgerOfUnasked takes samples that nobody asked for through the shards and ledger.json.
func TestLedgerOfUnasked(t *testing.T) {
	ctx := context.Background()
	d := opened(t, t.TempDir(), config, Options{Fanout: map[string]int{"distill": 4}})
	defer d.Close()
	put := func(name, stage string, kept string, a stillhouse.Account) {
		t.Helper()
		if err := d.Sink(name, stage).Write(ctx, 0, stillhouse.Shard{Kept: batches(memory.DefaultAllocator, int(a.Kept))[kept], Account: a}); err != nil {
			t.Fatal(err)
		}
	}
	put("prompts", "prompts", "prompts", stillhouse.Account{In: 3, Kept: 3})
	want := stillhouse.Account{In: 12, Kept: 5, Unasked: map[string]int64{"enough": 3, "target_reached": 4}, Accepted: 2}.Plus(stillhouse.Account{})
	put("candidates", "distill", "candidates", want)
	if _, err := d.WriteLedger(); err != nil {
		t.Fatal(err)
	}
	l, err := d.Check(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := l.Step("distill"); !reflect.DeepEqual(got, want) {
		t.Errorf("the ledger has %+v", got)
	}
	text, err := os.ReadFile(d.Path("ledger.json"))
	if err != nil || !strings.Contains(string(text), `"target_reached": 4`) || strings.Count(string(text), "unasked") != 1 {
		t.Errorf("%v: ledger.json is\n%s", err, text)
	}
	short := want
	short.Unasked = map[string]int64{"enough": 3}
	if err := d.Sink("candidates", "distill").Write(ctx, 0, stillhouse.Shard{Kept: batches(memory.DefaultAllocator, 5)["candidates"], Account: short}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Check(ctx); !errors.Is(err, stillhouse.ErrUnbalanced) {
		t.Errorf("an account that lost four samples: %v", err)
	}
}

const filledLedger = `{
  "prompts": {
    "in": 12,
    "kept": 12,
    "dropped": {},
    "failed": {},
    "balanced": true
  },
  "distill": {
    "in": 24,
    "kept": 20,
    "dropped": {},
    "failed": {
      "permanent": 4
    },
    "balanced": true
  },
  "curate": {
    "in": 20,
    "kept": 8,
    "dropped": {
      "short": 12
    },
    "failed": {},
    "balanced": true
  },
  "filter": {
    "in": 8,
    "kept": 6,
    "dropped": {
      "short": 2
    },
    "failed": {},
    "balanced": true
  },
  "train": {
    "in": 6,
    "kept": 5,
    "dropped": {
      "untrained": 1
    },
    "failed": {},
    "balanced": true
  }
}
`

func TestLedger(t *testing.T) {
	d := opened(t, t.TempDir(), config, fanout)
	if l, err := d.Check(context.Background()); err != nil || len(l.Entries) != 0 {
		t.Errorf("a new run: %v, %v", l, err)
	}
	fill(t, d)
	text, err := os.ReadFile(d.Path(ledgerFile))
	if err != nil || string(text) != filledLedger {
		t.Errorf("ledger.json holds\n%s", text)
	}
	l, err := d.Check(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var back Ledger
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	for _, e := range l.Entries {
		if a, ok := back.Step(e.Step); !ok || a.In != e.Account.In || a.Kept != e.Account.Kept {
			t.Errorf("%s came back as %+v", e.Step, a)
		}
	}
	if _, ok := l.Step("eval"); ok {
		t.Error("there is an account of eval")
	}
	// A look from beside, while the run is open.
	v, err := View(d.Path(), fanout)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := v.Check(context.Background()); err != nil || len(l.Entries) != 5 {
		t.Errorf("View: %v, %v", l, err)
	}
}

// TestCheck spoils a good run in every way.
func TestCheck(t *testing.T) {
	ctx := context.Background()
	whole := opened(t, t.TempDir(), config, fanout)
	fill(t, whole)
	rewrite := func(d *Dir, dir, stage string, shard, kept int, a stillhouse.Account) error {
		return d.Sink(dir, stage).Write(ctx, shard, stillhouse.Shard{Kept: batches(memory.DefaultAllocator, kept)["samples"], Account: a})
	}
	for name, tc := range map[string]struct {
		spoil func(d *Dir) error
		says  string // nothing when it's still right
		fault bool   // damage, not an unbalanced account
	}{
		"nothing": {spoil: func(*Dir) error { return nil }},
		"a step in progress": {spoil: func(d *Dir) error {
			return errors.Join(os.Remove(d.Path("kept", partName(1))), os.RemoveAll(d.Path("dropped/train")), os.Remove(d.Path(ledgerFile)))
		}},
		"no ledger.json": {spoil: func(d *Dir) error { return os.Remove(d.Path(ledgerFile)) }},

		"rows lost": {says: "part-00001.parquet holds 3 rows", spoil: func(d *Dir) error {
			return rewrite(d, "kept", "filter", 1, 3, stillhouse.Account{In: 4, Kept: 4})
		}},
		"rows lost between stages": {says: "filter took in 7 rows, but curate passed on 8", spoil: func(d *Dir) error {
			return d.Sink("kept", "filter").Write(ctx, 1, stillhouse.Shard{Kept: batches(memory.DefaultAllocator, 2)["samples"],
				Dropped: leftOut(t, 1, "short").Dropped, Account: stillhouse.Account{In: 3, Kept: 2, Dropped: map[string]int64{"short": 1}}})
		}},
		"a shard's account is wrong": {says: "part-00001.parquet", spoil: func(d *Dir) error {
			return rewrite(d, "kept", "filter", 1, 3, stillhouse.Account{In: 5, Kept: 3, Dropped: map[string]int64{"short": 1}})
		}},
		"dropped rows gone": {says: "dropped/curate", spoil: func(d *Dir) error { return os.Remove(d.Path("dropped/curate", partName(1))) }},
		"failed rows gone":  {says: "failed/distill", spoil: func(d *Dir) error { return os.RemoveAll(d.Path("failed/distill")) }},
		"another reason": {says: "dropped/filter", spoil: func(d *Dir) error {
			data, err := EncodeParquet(leftOut(t, 1, "long").Dropped, nil)
			return errors.Join(err, WriteFile(d.Path("dropped/filter", partName(1)), data))
		}},
		"a shard gone": {says: "kept/part-00000.parquet is missing", spoil: func(d *Dir) error { return os.Remove(d.Path("kept", partName(0))) }},
		"too many": {says: "filter took in 12 rows, but curate passed on 8", spoil: func(d *Dir) error {
			return rewrite(d, "kept", "filter", 2, 4, stillhouse.Account{In: 4, Kept: 4})
		}},
		"a stage gone": {says: "none of curate", spoil: func(d *Dir) error { return os.RemoveAll(d.Path("samples")) }},
		"the ledger differs": {says: "ledger.json says of filter: 8 in, 7 kept", spoil: func(d *Dir) error {
			return WriteFile(d.Path(ledgerFile), []byte(strings.Replace(filledLedger, `"kept": 6`, `"kept": 7`, 1)))
		}},
		"train's account": {says: "train took in 7 rows", spoil: func(d *Dir) error {
			return d.Book(ctx, "train", stillhouse.Shard{Account: stillhouse.Account{In: 7, Kept: 7}})
		}},
		"train's rows": {says: "dropped/train", spoil: func(d *Dir) error { return os.Remove(d.Path("dropped/train", partName(0))) }},

		"a damaged ledger":  {fault: true, says: "ledger.json", spoil: func(d *Dir) error { return os.Truncate(d.Path(ledgerFile), 40) }},
		"an unknown step":   {fault: true, says: `"tran"`, spoil: func(d *Dir) error { return WriteFile(d.Path(ledgerFile), []byte(`{"tran": {}}`)) }},
		"a damaged shard":   {fault: true, says: "kept/part-00000.parquet", spoil: func(d *Dir) error { return os.Truncate(d.Path("kept", partName(0)), 99) }},
		"a damaged drop":    {fault: true, says: "dropped/filter/part-00000.parquet", spoil: func(d *Dir) error { return os.Truncate(d.Path("dropped/filter", partName(0)), 99) }},
		"a damaged account": {fault: true, says: "account.json", spoil: func(d *Dir) error { return os.Truncate(d.Path("dropped/train/account.json"), 5) }},
	} {
		d := copied(t, whole)
		if err := tc.spoil(d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err := d.Check(ctx)
		switch {
		case tc.says == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case err == nil || stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), tc.says):
			t.Errorf("%s: the error is %v", name, err)
		case errors.Is(err, stillhouse.ErrUnbalanced) == tc.fault:
			t.Errorf("%s: unbalanced is %t: %v", name, !tc.fault, err)
		}
	}
}

// copied is a run like d, to be spoiled.
func copied(t testing.TB, d *Dir) *Dir {
	t.Helper()
	path := t.TempDir()
	if err := os.CopyFS(path, os.DirFS(d.Path())); err != nil {
		t.Fatal(err)
	}
	return opened(t, path, config, fanout)
}
