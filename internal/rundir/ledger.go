package rundir

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

// A Ledger is the account of a run, step by step, in the order of the steps. As JSON it is an object by step.
type Ledger struct{ Entries []Entry }

// An Entry is the account of one step.
type Entry struct {
	Step    string
	Account stillhouse.Account
}

// Step is the account of a step, if it has one yet.
func (l Ledger) Step(name string) (stillhouse.Account, bool) {
	for _, e := range l.Entries {
		if e.Step == name {
			return e.Account, true
		}
	}
	return stillhouse.Account{}, false
}

type entryJSON struct {
	stillhouse.Account
	Balanced bool `json:"balanced"`
}

func (l Ledger) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range l.Entries {
		if i > 0 {
			b.WriteByte(',')
		}
		a := e.Account.Plus(stillhouse.Account{})
		text, err := json.Marshal(entryJSON{a, a.Balanced()})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", e.Step, text)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (l *Ledger) UnmarshalJSON(text []byte) error {
	var m map[string]entryJSON
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	l.Entries = nil
	for _, step := range Steps {
		if e, ok := m[step]; ok {
			l.Entries = append(l.Entries, Entry{step, e.Account.Plus(stillhouse.Account{})})
			delete(m, step)
		}
	}
	for step := range m {
		return fmt.Errorf("there is no step %q", step)
	}
	return nil
}

// Book makes the account of a stage that writes no shards of rows kept (train) durable, with the rows it left out. Kept
// is not written. It takes the place of an earlier one.
func (d *Dir) Book(ctx context.Context, stage string, out stillhouse.Shard) error {
	s := &sink{d, "", stage}
	meta := map[string]string{stageKey: stage, shardKey: "0"}
	if err := s.leave(ctx, s.path("dropped", 0), out.Dropped, meta); err != nil {
		return err
	}
	if err := s.leave(ctx, s.path("failed", 0), out.Failed, meta); err != nil {
		return err
	}
	text, err := json.Marshal(out.Account.Plus(stillhouse.Account{}))
	if err != nil {
		return err
	}
	return writeFile(d.disk, d.accountPath(stage), append(text, '\n'))
}

func (d *Dir) accountPath(stage string) string { return d.Path("dropped", stage, "account.json") }

// tally is what the shards of one stage say.
type tally struct {
	place
	shards  int // 0 for a stage that writes none
	there   bool
	account stillhouse.Account
}

// tally adds up the accounts of a stage's shards.
func (d *Dir) tally(p place) (tally, error) {
	t := tally{place: p, account: stillhouse.Account{}.Plus(stillhouse.Account{})}
	if p.dir == "" {
		text, err := os.ReadFile(d.accountPath(p.stage))
		if errors.Is(err, fs.ErrNotExist) {
			return t, nil
		} else if err != nil {
			return t, err
		}
		var a stillhouse.Account
		if err := json.Unmarshal(text, &a); err != nil {
			return t, stillhouse.Invalidf("%s is damaged: %w; start again with --from %s", d.accountPath(p.stage), err, p.step)
		}
		t.there, t.account = true, a.Plus(t.account)
		return t, nil
	}
	dir := d.file(p.dir)
	paths, err := parts(dir)
	if err != nil {
		return t, err
	}
	if others, err := ofOthers(p, paths); err != nil || others {
		return t, err
	}
	for _, path := range paths {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(path), "part-%d.parquet", &n); err != nil {
			return t, err
		}
		a, err := readAccount(path, p.stage, n)
		if err != nil {
			return t, err
		}
		t.account = t.account.Plus(a)
	}
	t.shards, t.there = len(paths), len(paths) > 0
	return t, nil
}

// ofOthers says whether the shards in a stage's folder are those of the stage that stands in its place.
func ofOthers(p place, paths []string) (bool, error) {
	for _, other := range places {
		if other.dir != p.dir || other.stage == p.stage || len(paths) == 0 {
			continue
		}
		f, err := readFooter(paths[0])
		if err != nil || f.meta[stageKey] == other.stage {
			return err == nil, err
		}
	}
	return false, nil
}

func (d *Dir) tallies() (all []tally, err error) {
	for _, p := range places {
		if p.stage == "" {
			continue
		}
		t, err := d.tally(p)
		if err != nil {
			return nil, err
		}
		if t.there {
			all = append(all, t)
		}
	}
	return all, nil
}

// ledger puts the stages of a step together.
func ledger(all []tally) (l Ledger) {
	for _, t := range all {
		if n := len(l.Entries); n > 0 && l.Entries[n-1].Step == t.step {
			l.Entries[n-1].Account = l.Entries[n-1].Account.Then(t.account)
		} else {
			l.Entries = append(l.Entries, Entry{t.step, t.account})
		}
	}
	return l
}

// Ledger is the account of the run as the shards that are there have it.
func (d *Dir) Ledger() (Ledger, error) {
	all, err := d.tallies()
	return ledger(all), err
}

// WriteLedger writes ledger.json from the shards. It is for when a step is done.
func (d *Dir) WriteLedger() (Ledger, error) {
	l, err := d.Ledger()
	if err != nil {
		return l, err
	}
	return l, d.write(l)
}

func (d *Dir) write(l Ledger) error {
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(d.disk, d.file(ledgerFile), append(text, '\n'))
}

// stored is ledger.json, nil when there is none.
func (d *Dir) stored() (*Ledger, error) {
	text, err := os.ReadFile(d.file(ledgerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var l Ledger
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, stillhouse.Invalidf("%s is damaged: %w; remove it, it is made again from the shards", d.file(ledgerFile), err)
	}
	return &l, nil
}

// Finished reports whether a step was done to its end: ledger.json, which is written then, has it.
func (d *Dir) Finished(step string) (bool, error) {
	l, err := d.stored()
	if err != nil || l == nil {
		return false, err
	}
	_, done := l.Step(step)
	return done, nil
}

// Check audits the run: every shard holds the rows that its account says, kept, dropped by reason and failed by kind;
// each stage took in what the one before it kept, times its fanout (for a stage in progress: no more than that); and
// ledger.json says the same. An error wraps [stillhouse.ErrUnbalanced] when the books are wrong.
func (d *Dir) Check(ctx context.Context) (Ledger, error) {
	all, err := d.tallies()
	if err != nil {
		return Ledger{}, err
	}
	l := ledger(all)
	for i, t := range all {
		if err := d.audit(ctx, t, i == len(all)-1); err != nil {
			return l, err
		}
		if i == 0 {
			continue
		}
		before := all[i-1]
		if next := after(before.place); next.stage != t.stage {
			return l, unbalanced("run %s has rows of %s, but none of %s", d.path, t.stage, next.stage)
		}
		want := before.account.Kept * int64(max(1, d.opts.Fanout[t.stage]))
		progress := t.dir != "" && t.shards < before.shards
		if t.account.In > want || t.account.In < want && !progress {
			return l, unbalanced("run %s: %s took in %d rows, but %s passed on %d", d.path, t.stage, t.account.In, before.stage, want)
		}
	}
	stored, err := d.stored()
	if err != nil || stored == nil {
		return l, err
	}
	for _, e := range stored.Entries {
		if a, ok := l.Step(e.Step); !ok || !reflect.DeepEqual(a, e.Account) {
			return l, unbalanced("run %s: %s says of %s: %s; the shards say: %s", d.path, ledgerFile, e.Step, told(e.Account), told(a))
		}
	}
	return l, nil
}

// audit looks into the files of one stage. The last one may be at work on shards between those that are there.
func (d *Dir) audit(ctx context.Context, t tally, last bool) error {
	if !t.account.Balanced() {
		return unbalanced("run %s: %s: %s", d.path, t.stage, told(t.account))
	}
	if t.dir != "" && !last {
		paths, err := parts(d.file(t.dir))
		if err != nil {
			return err
		}
		if err := whole(d.file(t.dir), paths); err != nil {
			return unbalanced("%w", err)
		}
	}
	for where, want := range map[string]map[string]int64{"dropped": t.account.Dropped, "failed": t.account.Failed} {
		got, err := d.reasons(ctx, filepath.Join(where, t.stage), t.dir)
		if err != nil {
			return err
		}
		if !maps.Equal(got, want) {
			return unbalanced("run %s: %s/%s holds the rows %v, the accounts of %s say %v", d.path, where, t.stage, got, t.stage, want)
		}
	}
	return nil
}

// reasons counts the rows of a directory of left-out rows. A file whose shard of rows kept is not there belongs to a
// shard in progress, and doesn't count.
func (d *Dir) reasons(ctx context.Context, name, kept string) (map[string]int64, error) {
	paths, err := parts(d.file(name))
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for _, path := range paths {
		if _, err := os.Stat(d.Path(kept, filepath.Base(path))); kept != "" && err != nil {
			continue
		}
		rows, err := ReadParquet(ctx, path, memory.DefaultAllocator, "reason")
		if err != nil {
			return nil, err
		}
		column, ok := rows.Column(0).(*array.String)
		if !ok {
			rows.Release()
			return nil, stillhouse.Invalidf("%s: the column \"reason\" is no text", path)
		}
		for i := range column.Len() {
			counts[column.Value(i)]++
		}
		rows.Release()
	}
	return counts, nil
}

func unbalanced(format string, args ...any) error {
	return &stillhouse.Error{Kind: stillhouse.Invalid, Err: fmt.Errorf("%w: %w", stillhouse.ErrUnbalanced, fmt.Errorf(format, args...))}
}

// told says an account in words.
func told(a stillhouse.Account) string {
	return strconv.FormatInt(a.In, 10) + " in, " + strconv.FormatInt(a.Kept, 10) + fmt.Sprintf(" kept, dropped %v, failed %v, unasked %v, %d accepted", a.Dropped, a.Failed, a.Unasked, a.Accepted)
}
