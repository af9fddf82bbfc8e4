package rundir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

type (
	schema = arrow.Schema
	batch  = arrow.RecordBatch
)

// A faulty disk fails where fail says so; full is the error of a disk without space. Otherwise it is the real one, and
// notes what it did.
type faulty struct {
	realDisk
	fail func(op, path string) bool
	log  []string
}

func (f *faulty) at(op, path string) error {
	f.log = append(f.log, op+" "+filepath.Base(filepath.Dir(filepath.Dir(path)))+"/"+filepath.Base(filepath.Dir(path)))
	if f.fail != nil && f.fail(op, path) {
		return syscall.ENOSPC
	}
	return nil
}

func (f *faulty) create(path string) (file, error) {
	if err := f.at("create", path); err != nil {
		return nil, err
	}
	real, err := f.realDisk.create(path)
	return &faultyFile{real, f, path}, err
}

func (f *faulty) rename(from, to string) error {
	if err := f.at("rename", to); err != nil {
		return err
	}
	return f.realDisk.rename(from, to)
}

func (f *faulty) syncDir(path string) error {
	if err := f.at("syncdir", filepath.Join(path, "x")); err != nil {
		return err
	}
	return f.realDisk.syncDir(path)
}

type faultyFile struct {
	file
	disk *faulty
	path string
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.disk.at("write", f.path); err != nil {
		n, _ := f.file.Write(p[:len(p)/2])
		return n, err
	}
	return f.file.Write(p)
}

func (f *faultyFile) Sync() error {
	if err := f.disk.at("sync", f.path); err != nil {
		return err
	}
	return f.file.Sync()
}

func shard(t testing.TB) stillhouse.Shard {
	return stillhouse.Shard{Kept: batches(memory.DefaultAllocator, 5)["scored"], Dropped: leftOut(t, 2, "short").Dropped, Failed: leftOut(t, 1, "").Failed,
		Account: stillhouse.Account{In: 8, Kept: 5, Dropped: map[string]int64{"short": 2}, Failed: map[string]int64{"permanent": 1}}}
}

func TestSink(t *testing.T) {
	ctx := context.Background()
	d := opened(t, t.TempDir(), config, Options{})
	disk := &faulty{}
	d.disk = disk
	s := d.Sink("kept", "filter")
	if a, ok, err := s.Done(0); ok || err != nil {
		t.Errorf("before: %v %t %v", a, ok, err)
	}
	want := shard(t)
	for i := range 2 {
		if err := s.Write(ctx, i, want); err != nil {
			t.Fatal(err)
		}
	}
	a, ok, err := s.Done(1)
	if !ok || err != nil || a.In != 8 || a.Kept != 5 || a.Dropped["short"] != 2 || a.Failed["permanent"] != 1 {
		t.Errorf("after: %+v %t %v", a, ok, err)
	}
	var order []string
	for _, l := range disk.log {
		if strings.HasPrefix(l, "rename ") {
			order = append(order, strings.TrimPrefix(l, "rename "))
		}
	}
	base := filepath.Base(d.Path())
	if got := strings.Join(order[:3], " "); got != "dropped/filter failed/filter "+base+"/kept" {
		t.Errorf("written in the order %s", got)
	}

	src, err := d.Source("kept")
	if err != nil {
		t.Fatal(err)
	}
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	rows, err := src.Read(ctx, 1, mem)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Release()
	if src.Shards() != 2 || !src.Schema().Equal(stillhouse.ScoredSchema) || !array.RecordEqual(rows, want.Kept) {
		t.Errorf("%d shards of %v", src.Shards(), src.Schema())
	}
	for where, n := range map[string]int64{"dropped/filter": 2, "failed/filter": 1} {
		out, err := ReadShards(d.Path(where))
		if err != nil {
			t.Fatal(err)
		}
		left, err := out.Read(ctx, 0, mem)
		if err != nil {
			t.Fatal(err)
		}
		if out.Shards() != 2 || left.NumRows() != n || !left.Schema().Equal(stillhouse.DropSchema(stillhouse.SampleSchema)) {
			t.Errorf("%s: %v", where, left)
		}
		left.Release()
	}
	if info, err := os.Stat(d.Path("kept", partName(0))); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v", info.Mode())
	}

	// Written once more without left-out rows, as never happens in one run: nothing stale stays.
	if err := s.Write(ctx, 0, stillhouse.Shard{Kept: want.Kept, Account: stillhouse.Account{In: 5, Kept: 5}}); err != nil {
		t.Fatal(err)
	}
	if exists(d, "dropped/filter/part-00000.parquet") {
		t.Error("dropped rows of an earlier write are still there")
	}
}

func TestSourceErrors(t *testing.T) {
	d := opened(t, t.TempDir(), config, Options{})
	if _, err := d.Source("kept"); stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), "kept") {
		t.Errorf("no shards: %v", err)
	}
	fill(t, d)
	kept := func(name string) string { return d.Path("kept", name) }
	for _, step := range []struct {
		damage func() error
		open   bool // whether the source must be an error, or else shard 0 of the sink
		says   string
	}{
		{func() error { return os.Rename(kept("part-00001.parquet"), kept("part-00002.parquet")) }, true, "part-00001.parquet is missing"},
		{func() error { return os.Rename(kept("part-00002.parquet"), kept("part-2.parquet")) }, true, "part-2.parquet"},
		{func() error {
			return errors.Join(os.Remove(kept("part-2.parquet")), os.Truncate(kept("part-00000.parquet"), 100))
		}, false, "part-00000.parquet"},
		{func() error { return os.Rename(d.Path("samples", "part-00000.parquet"), kept("part-00000.parquet")) }, false, `"curate"`},
		{func() error { return os.Rename(d.Path("candidates", "part-00001.parquet"), kept("part-00000.parquet")) }, false, `"distill"`},
	} {
		if err := step.damage(); err != nil {
			t.Fatal(err)
		}
		_, err := d.Source("kept")
		if !step.open {
			_, _, err = d.Sink("kept", "filter").Done(0)
		}
		if stillhouse.KindOf(err) != stillhouse.Invalid || err == nil || !strings.Contains(err.Error(), step.says) {
			t.Errorf("%s: %v", step.says, err)
		}
	}
	for path, says := range map[string]string{d.Path("nowhere"): "nowhere", t.TempDir(): "no *.parquet files", d.Path("config.yaml"): "config.yaml"} {
		if _, err := ReadShards(path); stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), says) {
			t.Errorf("ReadShards: %v", err)
		}
	}
}

// TestDiskFull lets every operation on the disk fail in turn, and then goes on.
func TestDiskFull(t *testing.T) {
	ctx := context.Background()
	out := shard(t)
	whole := opened(t, t.TempDir(), config, Options{})
	if err := whole.Sink("kept", "filter").Write(ctx, 0, out); err != nil {
		t.Fatal(err)
	}
	for at := 0; ; at++ {
		d := opened(t, t.TempDir(), config, Options{})
		left := at
		d.disk = &faulty{fail: func(string, string) bool { left--; return left < 0 }}
		s := d.Sink("kept", "filter")
		err := s.Write(ctx, 0, out)
		if err == nil {
			if at < 15 {
				t.Errorf("a shard took %d operations only", at)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") || !strings.Contains(err.Error(), d.Path()) {
			t.Fatalf("operation %d: %v", at, err)
		}
		if _, _, err := s.Done(0); err != nil {
			t.Errorf("operation %d: %v", at, err)
		}
		d.disk = realDisk{}
		if err := s.Write(ctx, 0, out); err != nil {
			t.Fatal(err)
		}
		if diff := differing(t, whole.Path(), d.Path()); diff != "" {
			t.Errorf("operation %d: %s", at, diff)
		}
	}
}

// TestWriteFile looks at a real disk without space, too.
func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b.txt")
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("holds %q, %v", got, err)
		}
	}
	full := &faulty{fail: func(op, _ string) bool { return op == "write" }}
	if err := writeFile(full, path, []byte("three")); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("a failed write leaves %v", entries)
	}
	if got, _ := os.ReadFile(path); string(got) != "two" {
		t.Errorf("a failed write leaves %q", got)
	}
	if err := fillUp(device{}, "/dev/full", []byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full device: %v", err)
	}
	if err := WriteFile(filepath.Join(path, "below"), nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("below a file: %v", err)
	}
}

// A device opens what is there.
type device struct{ realDisk }

func (device) create(path string) (file, error) { return os.OpenFile(path, os.O_WRONLY, 0) }

// differing names the first file in which two runs differ.
func differing(t testing.TB, a, b string) (diff string) {
	t.Helper()
	names := map[string]bool{}
	for _, root := range []string{a, b} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && e.Name() != lockFile {
				name, _ := filepath.Rel(root, path)
				names[name] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range names {
		x, errX := os.ReadFile(filepath.Join(a, name))
		y, errY := os.ReadFile(filepath.Join(b, name))
		if errX != nil || errY != nil {
			return name + " is in one of the runs only"
		}
		if string(x) != string(y) {
			return name + " differs"
		}
	}
	return ""
}
