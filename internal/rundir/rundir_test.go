package rundir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/internal/testkit"
)

const config = `name: demo
distill:
  samples: 2
  temperature: 1.0
  concurrency: 8
filter:
  - truncated: {}
  - minhash: {threshold: 0.8}
train:
  learning_rate: 0.0003
`

func opened(t testing.TB, path, config string, o Options) *Dir {
	t.Helper()
	d, err := Open(path, []byte(config), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// fill writes a whole small run: 12 prompts, 2 candidates each, of which some are left out at every step.
func fill(t testing.TB, d *Dir) {
	t.Helper()
	ctx := context.Background()
	put := func(dir, stage string, shard int, n, dropped, failed int) {
		t.Helper()
		mem := memory.DefaultAllocator
		s := stillhouse.Shard{Kept: batches(mem, n)["samples"], Account: stillhouse.Account{In: int64(n + dropped + failed), Kept: int64(n)}}
		in := func(rows int, reason string) stillhouse.Shard {
			return leftOut(t, rows, reason)
		}
		if dropped > 0 {
			s.Dropped, s.Account.Dropped = in(dropped, "short").Dropped, map[string]int64{"short": int64(dropped)}
		}
		if failed > 0 {
			s.Failed, s.Account.Failed = in(failed, "").Failed, map[string]int64{"permanent": int64(failed)}
		}
		if err := d.Sink(dir, stage).Write(ctx, shard, s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		put("prompts", "prompts", i, 6, 0, 0)
		put("candidates", "distill", i, 10, 0, 2)
		put("scored", "score", i, 10, 0, 0)
		put("samples", "curate", i, 4, 6, 0)
		put("kept", "filter", i, 3, 1, 0)
	}
	if err := d.Book(ctx, "train", stillhouse.Shard{Dropped: leftOut(t, 1, "untrained").Dropped,
		Account: stillhouse.Account{In: 6, Kept: 5, Dropped: map[string]int64{"untrained": 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := d.Book(ctx, "arms/base/train", stillhouse.Shard{Account: stillhouse.Account{In: 6, Kept: 6}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"student/model.safetensors", "student.partial/log.jsonl", "student.checkpoints/checkpoint-1/log.jsonl", "arms/base/x", "evals/base.jsonl", "report.html"} {
		if err := WriteFile(d.Path(name), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.WriteLedger(); err != nil {
		t.Fatal(err)
	}
}

// dropper drops or fails all rows.
type dropper struct{ Reason string }

func (s *dropper) Name() string { return "dropper" }

func (s *dropper) Schema(in *schema) (*schema, error) { return in, nil }

func (s *dropper) Process(_ context.Context, b batch, out stillhouse.Emitter) error {
	if s.Reason == "" {
		return out.Fail(b, errors.New("no answer"))
	}
	return out.Drop(b, s.Reason, "the detail")
}

// leftOut is a shard of n rows that were dropped, or that failed when there is no reason.
func leftOut(t testing.TB, n int, reason string) stillhouse.Shard {
	t.Helper()
	in := batches(memory.DefaultAllocator, n)["samples"]
	sink := &testkit.MemorySink{}
	if _, err := stillhouse.Run(context.Background(), testkit.NewMemorySource(in.Schema(), in), &dropper{reason}, sink, stillhouse.Options{}); err != nil {
		t.Fatal(err)
	}
	return sink.Shards()[0]
}

func exists(d *Dir, name string) bool {
	_, err := os.Stat(d.Path(name))
	return err == nil
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs", "demo")
	d := opened(t, path, config, Options{})
	if got, err := d.Config(); err != nil || string(got) != config {
		t.Errorf("config.yaml holds %q, %v", got, err)
	}
	for name, mode := range map[string]os.FileMode{".": 0o755, "config.yaml": 0o644} {
		if info, err := os.Stat(d.Path(name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}

	if _, err := Open(path, []byte(config), Options{}); stillhouse.KindOf(err) != stillhouse.Invalid ||
		!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) {
		t.Errorf("opened twice: %v", err)
	}
	if v, err := View(path, Options{}); err != nil || v.Path() != path {
		t.Errorf("looked at while open: %v", err)
	}
	if err := errors.Join(d.Close(), d.Close()); err != nil {
		t.Error(err)
	}
	if err := opened(t, path, config, Options{}).Close(); err != nil {
		t.Error(err)
	}
	same := strings.Replace(config, "temperature: 1.0", "temperature: 1", 1) + "# a comment\n"
	if err := opened(t, path, same, Options{}).Close(); err != nil {
		t.Error(err)
	}

	for name, tc := range map[string]struct{ path, says string }{
		"no directory": {filepath.Join(t.TempDir(), "x"), "config.yaml"},
		"no run":       {t.TempDir(), "config.yaml"},
	} {
		if _, err := View(tc.path, Options{}); stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("View of %s: %v", name, err)
		}
	}
	strange := t.TempDir()
	if err := WriteFile(filepath.Join(strange, "thesis.tex"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(strange, []byte(config), Options{}); stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("a directory that is no run: %v", err)
	}
	if _, err := Open(path, []byte(config), Options{From: "destil"}); err == nil || !strings.Contains(err.Error(), "distill") {
		t.Errorf("a step that is none: %v", err)
	}
}

func TestOpenSweeps(t *testing.T) {
	path := t.TempDir()
	d := opened(t, path, config, Options{})
	left := []string{"kept/.part-00000.parquet.77-1.tmp", "student/.model.safetensors.1-2.tmp", ".removed-kept/part-00000.parquet"}
	stays := []string{"kept/part-00000.parquet", "student/model.tmp", "student/.hidden"}
	for _, name := range append(left, stays...) {
		if err := WriteFile(d.Path(name), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	_ = d.Close()
	d = opened(t, path, config, Options{})
	for _, name := range left {
		if exists(d, name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range stays {
		if !exists(d, name) {
			t.Errorf("%s is gone", name)
		}
	}
}

func TestOpenOtherConfig(t *testing.T) {
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(config) }
	for name, tc := range map[string]struct {
		config string
		o      Options
		says   []string // nothing when the config is accepted
	}{
		"a value": {config: replace("temperature: 1.0", "temperature: 0.7"),
			says: []string{"distill.temperature: the run has 1.0, the config has 0.7; give the run another name or use --from distill"}},
		"two values": {config: replace("samples: 2", "samples: 3", "learning_rate: 0.0003", "learning_rate: 1e-5"),
			says: []string{"distill.samples: the run has 2, the config has 3", "train.learning_rate: the run has 0.0003, the config has 1e-5", "--from distill"}},
		"in a list":    {config: replace("0.8", "0.7"), says: []string{"filter[1].minhash.threshold: the run has 0.8, the config has 0.7", "--from filter"}},
		"a longer one": {config: replace("  - truncated: {}\n", ""), says: []string{"filter: the run has [{truncated: {}}, {minhash: {threshold: 0.8}}], the config has [{minhash: {threshold: 0.8}}]"}},
		"a key less":   {config: replace("  temperature: 1.0\n", ""), says: []string{"distill.temperature: the run has 1.0, the config has none"}},
		"a key more":   {config: config + "eval: {samples: 4}\n", says: []string{"eval: the run has none, the config has {samples: 4}", "--from eval"}},
		"text":         {config: replace("samples: 2", `samples: "2"`), says: []string{`distill.samples: the run has 2, the config has "2"`}},
		"of no step":   {config: replace("demo", "other"), says: []string{`name: the run has "demo", the config has "other"`, "--from prompts"}},
		"no YAML":      {config: "a: [", says: []string{"no YAML"}},

		"a free key":             {config: replace("concurrency: 8", "concurrency: 2"), o: Options{Free: []string{"distill.concurrency"}}},
		"below a free key":       {config: replace("0.8", "0.7"), o: Options{Free: []string{"filter"}}},
		"beside a free key":      {config: replace("samples: 2", "samples: 3"), o: Options{Free: []string{"distill.sample"}}, says: []string{"distill.samples"}},
		"from that step":         {config: replace("temperature: 1.0", "temperature: 0.7"), o: Options{From: "distill"}},
		"from an earlier step":   {config: replace("0.8", "0.7"), o: Options{From: "curate"}},
		"from a later step":      {config: replace("samples: 2", "samples: 3"), o: Options{From: "filter"}, says: []string{"distill.samples", "--from distill"}},
		"of no step, from first": {config: replace("demo", "other"), o: Options{From: "prompts"}},
	} {
		path := t.TempDir()
		_ = opened(t, path, config, Options{}).Close()
		d, err := Open(path, []byte(tc.config), tc.o)
		want := config
		if len(tc.says) == 0 {
			want = tc.config
		}
		if stored, _ := os.ReadFile(filepath.Join(path, ConfigFile)); string(stored) != want {
			t.Errorf("%s: config.yaml holds\n%s", name, stored)
		}
		if len(tc.says) == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			_ = d.Close()
			continue
		}
		if stillhouse.KindOf(err) != stillhouse.Invalid || err == nil {
			t.Errorf("%s: the error is %v", name, err)
			continue
		}
		for _, say := range tc.says {
			if !strings.Contains(err.Error(), say) {
				t.Errorf("%s: %q does not say %q", name, err, say)
			}
		}
	}
}

func TestReset(t *testing.T) {
	outputs := [][]string{
		{"prompts"},
		{"candidates", "failed/distill"},
		{"scored", "samples", "dropped/curate"},
		{"kept", "dropped/filter"},
		{"student", "student.checkpoints", "student.partial", "arms", "dropped/train", "dropped/arms"},
		{"evals", "report.html"},
	}
	whole := opened(t, t.TempDir(), config, fanout)
	fill(t, whole)
	steps := slices.DeleteFunc(slices.Clone(Steps), func(s string) bool { return s == "candidates" }) // in the place of others
	for first, step := range steps {
		d := copied(t, whole)
		_ = d.Close()
		d = opened(t, d.Path(), config, Options{From: step, Fanout: fanout.Fanout})
		for i, names := range outputs {
			for _, name := range names {
				if exists(d, name) != (i < first) {
					t.Errorf("from %s: %s is there: %t", step, name, exists(d, name))
				}
			}
		}
		if l, err := d.Check(context.Background()); err != nil || len(l.Entries) != min(first, 5) {
			t.Errorf("from %s: the ledger is %v, %v", step, l, err)
		}
		_ = d.Close()
	}
}

// TestResetKilled ends a reset after every step of it: what is left is a run that has not got so far.
func TestResetKilled(t *testing.T) {
	whole := opened(t, t.TempDir(), config, fanout)
	fill(t, whole)
	for after := 0; ; after++ {
		d := copied(t, whole)
		left := after
		d.disk = &faulty{fail: func(string, string) bool { left--; return left < 0 }}
		done := d.Reset("curate") == nil
		_ = d.Close()
		d = opened(t, d.Path(), config, fanout)
		if _, err := d.Check(context.Background()); err != nil {
			t.Errorf("killed after %d steps: %v", after, err)
		}
		_ = d.Close()
		if done {
			if after < 10 {
				t.Errorf("a reset took %d steps only", after)
			}
			return
		}
	}
}
