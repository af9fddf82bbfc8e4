package rundir

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
)

func someScored() []stillhouse.Scored {
	var rows []stillhouse.Scored
	for i := range 5 {
		s := stillhouse.Scored{Reward: float64(i), Scores: []stillhouse.Score{{Name: "math", Score: 1, Verdict: "right", Evidence: "seen"}, {Name: "length", Verdict: "wrong"}}[:1+i%2]}
		s.ID, s.Sample, s.Completion = "p", int32(i), []stillhouse.Message{{Role: "assistant", Content: "a"}, {Role: "assistant", Content: "b"}}
		rows = append(rows, s)
	}
	return rows
}

// scoredDir is a run with one shard of scored candidates and one dropped row before it.
func scoredDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path, []byte("name: a\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	batch := stillhouse.ScoredBatch(memory.DefaultAllocator, someScored())
	defer batch.Release()
	if err := d.Sink("scored", "score").Write(t.Context(), 0, stillhouse.Shard{Kept: batch, Dropped: batch, Account: stillhouse.Account{In: 10, Kept: 5, Dropped: map[string]int64{"x": 5}}}); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestReadLeaves(t *testing.T) {
	d := scoredDir(t, filepath.Join(t.TempDir(), "run"))
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	batch, err := ReadLeaves(context.Background(), d.Path("scored", partName(0)), mem, "reward", "scores.verdict", "completion.content", "nothing")
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Release()
	var names []string
	for _, f := range batch.Schema().Fields() {
		names = append(names, f.Name)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"completion", "reward", "scores"}) || batch.NumRows() != 5 {
		t.Errorf("%v, %d rows", names, batch.NumRows())
	}
	scores := batch.Column(batch.Schema().FieldIndices("scores")[0]).(*array.List)
	fields := scores.ListValues().(*array.Struct)
	if from, to := scores.ValueOffsets(1); fields.NumField() != 1 || to-from != 2 || fields.Field(0).(*array.String).Value(int(to)-1) != "wrong" {
		t.Errorf("%v", scores)
	}
	if _, err := ReadLeaves(context.Background(), d.Path(ConfigFile), mem, "reward"); stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Errorf("no Parquet: %v", err)
	}
}

func TestShare(t *testing.T) {
	dir := t.TempDir()
	from := scoredDir(t, filepath.Join(dir, "a"))
	to, err := Open(filepath.Join(dir, "b"), []byte("name: b\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := to.Share(from, "filtre"); err == nil {
		t.Error("no such stage")
	}
	for range 2 { // the second time all is there
		if err := to.Share(from, "curate"); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"scored", "dropped/score"} {
		a, errA := os.Stat(from.Path(name, partName(0)))
		b, errB := os.Stat(to.Path(name, partName(0)))
		if errA != nil || errB != nil || !os.SameFile(a, b) {
			t.Errorf("%s: not one file: %v, %v", name, errA, errB)
		}
	}
	was, _ := from.Ledger()
	is, err := to.Ledger()
	if d := cmp.Diff(was, is); d != "" || err != nil {
		t.Errorf("%s, %v", d, err)
	}
	// What one run makes anew leaves the other as it was.
	if err := to.Reset("curate"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(from.Path("scored", partName(0))); err != nil {
		t.Error(err)
	}
	// Where a file system has no hard links, files are copied.
	if err := to.link(from.Path("scored", partName(0)), to.Path("kept", partName(0))); err != nil {
		t.Errorf("into a folder that isn't there: %v", err)
	}
}
