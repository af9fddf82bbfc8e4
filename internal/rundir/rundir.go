// Package rundir is the run directory: what every stage made, why rows were left out, and the account of it all.
//
//	config.yaml              the config with every default filled in; it guards resume
//	prompts/ candidates/ scored/ samples/ kept/     part-00000.parquet ... what each stage kept
//	dropped/STAGE/ failed/STAGE/                    part-00000.parquet ... what it left out, and why
//	ledger.json              the account, checked against the shards
//	student/ arms/ evals/    what came of it
//
// Shards are written once, under a temporary name, synced and renamed; dropped and failed rows come before the rows
// kept. So a shard of rows kept that is there is the proof that all of it is there. It carries its account in its
// metadata: the ledger can be made again from the shards, and be checked against them.
package rundir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"stillhouse"
)

// Steps are the steps of a run, by their keys in the config, in order. A run has candidates, which files hold, or prompts and
// distill, which makes candidates of them.
var Steps = []string{"prompts", "distill", "candidates", "curate", "filter", "train", "eval"}

// A place says where a stage's output lies.
type place struct {
	step  string
	stage string   // in dropped/ and failed/; none for eval
	dir   string   // of the shards of rows kept; none for train
	more  []string // what else the step leaves
}

var places = []place{
	{step: "prompts", stage: "prompts", dir: "prompts"},
	{step: "distill", stage: "distill", dir: "candidates"},
	{step: "candidates", stage: "candidates", dir: "candidates"}, // in the place of prompts and distill
	{step: "curate", stage: "score", dir: "scored"},
	{step: "curate", stage: "curate", dir: "samples"},
	{step: "filter", stage: "filter", dir: "kept"},
	{step: "train", stage: "train", more: []string{"student", "student.checkpoints", "student.partial", "arms", "dropped/arms", "failed/arms"}},
	{step: "eval", more: []string{"evals", "report.html"}},
}

// after is the place that takes in what is in p.
func after(p place) place {
	i := slices.IndexFunc(places, func(q place) bool { return q.stage == p.stage }) + 1
	for p.dir != "" && places[i].dir == p.dir {
		i++
	}
	return places[i]
}

// ConfigFile is the name of the resolved config in a run.
const ConfigFile = "config.yaml"

const (
	ledgerFile = "ledger.json"
	lockFile   = ".lock"
)

// Options say how a run is opened.
type Options struct {
	// From is the step to start again from, whose keys, and those of later steps, may differ from the run's; empty to
	// go on.
	From string

	// Free are keys of the config (distill.concurrency) that may differ since they don't change what comes out. A key
	// stands for all below it.
	Free []string

	// Earlier are keys of the config that count for an earlier step than their own, since that step looks at them:
	// curate: distill.
	Earlier map[string]string

	// Fanout is how many rows a stage makes of one, for those that make several: distill: 8.
	Fanout map[string]int

	disk disk
}

// A Dir is an open run directory.
type Dir struct {
	path string
	opts Options
	disk disk
	lock *os.File // nil when the run is only looked at
}

// Open opens the run at path for the config, which is canonical YAML with every default filled in: it makes the run, or
// goes on with it. A run with another config is an error that names the keys that differ. With Options.From, the outputs
// of that step and of all later ones are removed, and the config takes the place of the run's.
//
// One process at a time may have a run open; the system gives it free when that process ends, however it ends.
func Open(path string, config []byte, o Options) (*Dir, error) {
	d := &Dir{path: path, opts: o, disk: o.disk}
	if d.disk == nil {
		d.disk = realDisk{}
	}
	if o.From != "" && !slices.Contains(Steps, o.From) {
		return nil, unknownStep(o.From)
	}
	above, err := mkdir(path)
	if err != nil {
		return nil, writeError(path, err)
	}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.begin(config); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := syncDirs(d.disk, above); err != nil {
		return nil, errors.Join(writeError(path, err), d.Close())
	}
	return d, nil
}

// Lock makes the directory at path for one process that writes no run into it, such as a training alone, and keeps
// others out until it is closed. A directory with a run in it is an error: its books would no longer be true.
func Lock(path string) (*Dir, error) {
	d := &Dir{path: path, disk: realDisk{}}
	above, err := mkdir(path)
	if err == nil {
		err = syncDirs(d.disk, above)
	}
	if err != nil {
		return nil, writeError(path, err)
	}
	if _, err := os.Stat(d.file(ConfigFile)); err == nil {
		return nil, stillhouse.Invalidf("%s is a run of `stillhouse run`, whose student would be lost: give this one another name", path)
	}
	return d, d.acquire()
}

// begin makes or checks what is in the directory, which is locked.
func (d *Dir) begin(config []byte) error {
	if err := sweep(d.path); err != nil {
		return fmt.Errorf("run %s: remove what a killed process left: %w", d.path, err)
	}
	stored, err := os.ReadFile(d.file(ConfigFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.strange(); err != nil {
			return err
		}
		return writeFile(d.disk, d.file(ConfigFile), config)
	case err != nil:
		return err
	}
	if err := compare(d.path, stored, config, d.opts); err != nil {
		return err
	}
	if d.opts.From != "" {
		if err := d.Reset(d.opts.From); err != nil {
			return err
		}
	}
	if string(stored) == string(config) {
		return nil
	}
	return writeFile(d.disk, d.file(ConfigFile), config)
}

// strange is an error when a directory without a config holds something, which then isn't ours to write into.
func (d *Dir) strange() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockFile {
			return stillhouse.Invalidf("%s is there and is no run: it holds %q but no %s; give the run another name or move that away",
				d.path, e.Name(), ConfigFile)
		}
	}
	return nil
}

// View opens a run to look at it, also while it runs. It changes nothing and must not be written to.
func View(path string, o Options) (*Dir, error) {
	if _, err := os.Stat(filepath.Join(path, ConfigFile)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, stillhouse.Invalidf("%s is no run: it holds no %s", path, ConfigFile)
		}
		return nil, err
	}
	return &Dir{path: path, opts: o, disk: realDisk{}}, nil
}

// Close lets others open the run.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	defer func() { d.lock = nil }()
	return d.lock.Close()
}

// Path is the directory of the run, or that of a file or directory in it.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

func (d *Dir) file(name string) string { return filepath.Join(d.path, name) }

// Config is the config of the run.
func (d *Dir) Config() ([]byte, error) { return os.ReadFile(d.file(ConfigFile)) }

// acquire takes the run's lock. The file stays: a lock on a removed file would keep nobody out.
func (d *Dir) acquire() error {
	f, err := os.OpenFile(d.file(lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return writeError(d.file(lockFile), err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", d.file(lockFile), err)
		}
		who := "another process"
		if pid, err := io.ReadAll(io.LimitReader(f, 20)); err == nil && len(pid) > 0 {
			who += " (" + strings.TrimSpace(string(pid)) + ")"
		}
		return stillhouse.Invalidf("the run %s is in use by %s: wait until it is done, or give this run another name", d.path, who)
	}
	// For the message above only: the lock is what counts.
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "pid %d\n", os.Getpid())
	}
	d.lock = f
	return nil
}

// Reset removes what a step and all later ones made: shards, left-out rows, students, evaluations. The latest go first,
// so that a run that is killed in the middle is one that has not got so far.
func (d *Dir) Reset(from string) error {
	first := slices.Index(Steps, from)
	if first < 0 {
		return unknownStep(from)
	}
	l, err := d.stored()
	if err != nil {
		return err
	}
	if l != nil {
		l.Entries = slices.DeleteFunc(l.Entries, func(e Entry) bool { return slices.Index(Steps, e.Step) >= first })
		if err := d.write(*l); err != nil {
			return err
		}
	}
	for _, p := range slices.Backward(places) {
		if slices.Index(Steps, p.step) < first {
			break
		}
		names := slices.Clone(p.more)
		if p.dir != "" {
			names = append(names, p.dir)
		}
		if p.stage != "" {
			names = append(names, filepath.Join("dropped", p.stage), filepath.Join("failed", p.stage))
		}
		for _, name := range names {
			if err := remove(d.disk, d.path, name); err != nil {
				return fmt.Errorf("run %s: remove %s: %w", d.path, name, err)
			}
		}
	}
	return nil
}

func unknownStep(step string) error {
	return stillhouse.Invalidf("there is no step %q: the steps are %s", step, strings.Join(Steps, ", "))
}
