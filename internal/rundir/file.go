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
	"sync/atomic"
	"syscall"
)

const (
	tmpSuffix     = ".tmp"      // of a file that is being written; the name begins with a dot
	removedPrefix = ".removed-" // of a directory that is being removed
)

// A disk is what can fail below a run.
type disk interface {
	create(path string) (file, error)
	rename(from, to string) error
	syncDir(path string) error
}

type file interface {
	io.WriteCloser
	Sync() error
}

type realDisk struct{}

func (realDisk) create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

func (realDisk) rename(from, to string) error { return os.Rename(from, to) }

func (realDisk) syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems cannot sync a directory and say so.
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

var temporaries atomic.Int64 // makes the names of temporary files differ

// WriteFile puts data at path, wholly or not at all: it writes a temporary file beside it, syncs and renames it, and syncs
// the directory. Missing directories are made.
func WriteFile(path string, data []byte) error { return writeFile(realDisk{}, path, data) }

func writeFile(d disk, path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	defer func() {
		if err != nil {
			err = writeError(path, err)
		}
	}()
	above, err := mkdir(dir)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, fmt.Sprintf(".%s.%d-%d%s", filepath.Base(path), os.Getpid(), temporaries.Add(1), tmpSuffix))
	if err := fillUp(d, tmp, data); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	if err := d.rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return syncDirs(d, append(above, dir))
}

// syncDirs syncs directories, the innermost first: a file system's journal then has the others as well, mostly.
func syncDirs(d disk, paths []string) error {
	for _, path := range slices.Backward(paths) {
		if err := d.syncDir(path); err != nil {
			return err
		}
	}
	return nil
}

func fillUp(d disk, path string, data []byte) error {
	f, err := d.create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// mkdir makes a directory and those above it. It returns the directories that hold the names of new ones, the outermost
// first, which the caller syncs once what the new ones are for is in them.
func mkdir(path string) (above []string, err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, nil
	}
	up := filepath.Dir(path)
	if up != path {
		if above, err = mkdir(up); err != nil {
			return above, err
		}
	}
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return above, err
	}
	return append(above, up), nil
}

// writeError says what helps when a file cannot be written.
func writeError(path string, err error) error {
	help := Remedy(err)
	if help != "" {
		help += ", it goes on where it was"
	}
	return fmt.Errorf("write %s: %w%s", path, err, help)
}

// Remedy is what helps when a file cannot be written, to be put after the error; empty where nobody knows.
func Remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ": free some space and start the run again"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return ": make the directory writable and start the run again"
	}
	return ""
}

// sweep removes what processes that were killed have left under root.
func sweep(root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		switch {
		case e.IsDir() && strings.HasPrefix(name, removedPrefix):
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return fs.SkipDir
		case e.Type().IsRegular() && strings.HasPrefix(name, ".") && strings.HasSuffix(name, tmpSuffix):
			return os.Remove(path)
		}
		return nil
	})
}

// remove takes a file or directory away in one step, as seen by whoever opens the run, and then frees its space.
func remove(d disk, root, name string) error {
	path := filepath.Join(root, name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	gone := filepath.Join(root, removedPrefix+strings.ReplaceAll(name, string(filepath.Separator), "-"))
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := d.rename(path, gone); err != nil {
		return err
	}
	if err := d.syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}
