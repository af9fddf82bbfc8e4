package rundir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

const (
	accountKey = metaPrefix + "account" // the shard's account, JSON; of rows kept only
	stageKey   = metaPrefix + "stage"
	shardKey   = metaPrefix + "shard"
)

func partName(shard int) string { return fmt.Sprintf("part-%05d.parquet", shard) }

// parts lists the shards in a directory, which are numbered from 0 without a gap. No directory means none.
func parts(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		middle, ok := strings.CutPrefix(e.Name(), "part-")
		if middle, isParquet := strings.CutSuffix(middle, ".parquet"); ok && isParquet {
			n, err := strconv.Atoi(middle)
			if err != nil || partName(n) != e.Name() {
				return nil, stillhouse.Invalidf("%s/%s is no shard's name: move it away", dir, e.Name())
			}
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	paths := make([]string, len(numbers))
	for i, n := range numbers {
		paths[i] = filepath.Join(dir, partName(n))
	}
	return paths, nil
}

// whole is an error when shards are missing between others.
func whole(dir string, paths []string) error {
	for i, p := range paths {
		if filepath.Base(p) != partName(i) {
			return stillhouse.Invalidf("%s/%s is missing, though later shards are there: start the run again to make it anew", dir, partName(i))
		}
	}
	return nil
}

// A shards is a Source over Parquet files, a shard each.
type shards struct {
	paths  []string
	schema *arrow.Schema
}

var _ stillhouse.Source = (*shards)(nil)

// Source is what a stage kept, as the input of the next: the shards of prompts, candidates, scored, samples or kept.
func (d *Dir) Source(name string) (stillhouse.Source, error) {
	dir := d.file(name)
	paths, err := parts(dir)
	if err != nil {
		return nil, err
	}
	if err := whole(dir, paths); err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, stillhouse.Invalidf("run %s has no %s: the step that makes them has not run yet", d.path, name)
	}
	return newShards(paths)
}

// ReadShards is a source over plain Parquet: a file, or the *.parquet files of a directory and of those below it, in the
// order of their paths.
func ReadShards(path string) (stillhouse.Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, stillhouse.Invalidf("%s: there is no such file or directory", path)
	}
	paths := []string{path}
	if info.IsDir() {
		paths = nil
		err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && strings.HasSuffix(p, ".parquet") && !strings.HasPrefix(e.Name(), ".") {
				paths = append(paths, p)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(paths) == 0 {
		return nil, stillhouse.Invalidf("%s holds no *.parquet files", path)
	}
	return newShards(paths)
}

func newShards(paths []string) (*shards, error) {
	schema, err := readSchema(paths[0])
	if err != nil {
		return nil, err
	}
	return &shards{paths: paths, schema: schema}, nil
}

func (s *shards) Schema() *arrow.Schema { return s.schema }

func (s *shards) Shards() int { return len(s.paths) }

func (s *shards) Read(ctx context.Context, shard int, mem memory.Allocator) (arrow.RecordBatch, error) {
	return ReadParquet(ctx, s.paths[shard], mem)
}

// ReadShard reads one shard of a folder, also where others before it are not there yet.
func (d *Dir) ReadShard(ctx context.Context, name string, shard int, mem memory.Allocator) (arrow.RecordBatch, error) {
	return ReadParquet(ctx, d.Path(name, partName(shard)), mem)
}

// A sink writes the shards of one stage.
type sink struct {
	dir         *Dir
	name, stage string
}

var _ stillhouse.Sink = (*sink)(nil)

// Sink is where a stage writes: the rows kept under name, those left out under dropped/stage and failed/stage. The
// places of a run are prompts (stage prompts), candidates (distill, or candidates where files hold them), scored (score), samples (curate), kept (filter).
func (d *Dir) Sink(name, stage string) stillhouse.Sink { return &sink{d, name, stage} }

func (s *sink) path(where string, shard int) string {
	switch where {
	case "kept":
		return s.dir.Path(s.name, partName(shard))
	default:
		return s.dir.Path(where, s.stage, partName(shard))
	}
}

func (s *sink) Done(shard int) (stillhouse.Account, bool, error) {
	path := s.path("kept", shard)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return stillhouse.Account{}, false, nil
	} else if err != nil {
		return stillhouse.Account{}, false, err
	}
	a, err := readAccount(path, s.stage, shard)
	return a, err == nil, err
}

// readAccount is the account that a shard of rows kept carries. It must fit the shard's place and rows.
func readAccount(path, stage string, shard int) (stillhouse.Account, error) {
	const help = "remove this file and start the run again, which makes it anew"
	f, err := readFooter(path)
	if err != nil {
		return stillhouse.Account{}, fmt.Errorf("%w; %s", err, help)
	}
	var a stillhouse.Account
	switch err := json.Unmarshal([]byte(f.meta[accountKey]), &a); {
	case err != nil:
		return a, stillhouse.Invalidf("%s carries no account of its rows: %w; %s", path, err, help)
	case f.meta[stageKey] != stage || f.meta[shardKey] != strconv.Itoa(shard):
		return a, stillhouse.Invalidf("%s is shard %s of %q, not shard %d of %q; %s", path, f.meta[shardKey], f.meta[stageKey], shard, stage, help)
	case a.Kept != f.rows || !a.Balanced():
		return a, stillhouse.Invalidf("%w: %s holds %d rows, its account says %s; %s", stillhouse.ErrUnbalanced, path, f.rows, told(a), help)
	}
	return a.Plus(stillhouse.Account{}), nil
}

func (s *sink) Write(ctx context.Context, shard int, out stillhouse.Shard) error {
	account, err := json.Marshal(out.Account.Plus(stillhouse.Account{}))
	if err != nil {
		return err
	}
	meta := map[string]string{stageKey: s.stage, shardKey: strconv.Itoa(shard)}
	for _, left := range []struct {
		where string
		rows  arrow.RecordBatch
	}{{"dropped", out.Dropped}, {"failed", out.Failed}} {
		if err := s.leave(ctx, s.path(left.where, shard), left.rows, meta); err != nil {
			return err
		}
	}
	meta[accountKey] = string(account)
	return s.put(ctx, s.path("kept", shard), out.Kept, meta)
}

// leave writes rows that were left out; no rows are no file.
func (s *sink) leave(ctx context.Context, path string, rows arrow.RecordBatch, meta map[string]string) error {
	if rows == nil || rows.NumRows() == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return s.put(ctx, path, rows, meta)
}

func (s *sink) put(ctx context.Context, path string, rows arrow.RecordBatch, meta map[string]string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	data, err := EncodeParquet(rows, meta)
	if err != nil {
		return err
	}
	return writeFile(s.dir.disk, path, data)
}

// Files lists the files of a folder's shards, in order; none when the folder isn't there.
func (d *Dir) Files(name string) ([]string, error) { return parts(d.file(name)) }

// Rows counts the rows in a folder's shards, from what the files say of themselves.
func (d *Dir) Rows(name string) (int64, error) {
	paths, err := d.Files(name)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, path := range paths {
		f, err := readFooter(path)
		if err != nil {
			return 0, err
		}
		n += f.rows
	}
	return n, nil
}

// Folders lists the folders that hold shards, by their paths in the run, in the order of the alphabet.
func (d *Dir) Folders() (names []string, err error) {
	err = filepath.WalkDir(d.path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasPrefix(e.Name(), "part-") || !strings.HasSuffix(path, ".parquet") {
			return err
		}
		name, err := filepath.Rel(d.path, filepath.Dir(path))
		if name = filepath.ToSlash(name); !slices.Contains(names, name) {
			names = append(names, name)
		}
		return err
	})
	return names, err
}
