package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"stillhouse"
)

// Share takes over from another run what its steps up to and without the stage named made of its rows: shards, left-out rows. Shards are
// written once, so the files are the same ones, by hard links; where the file system has none they are copied. Files that are there already stay. The other
// run may be removed afterwards.
func (d *Dir) Share(from *Dir, stage string) error {
	end := slices.IndexFunc(places, func(p place) bool { return p.stage == stage })
	if end < 0 {
		return stillhouse.Invalidf("there is no stage %q", stage)
	}
	for _, p := range places[:end] {
		// Rows kept come last: they are the proof that the others are there.
		for _, name := range []string{filepath.Join("dropped", p.stage), filepath.Join("failed", p.stage), p.dir} {
			paths, err := from.Files(name)
			if err != nil {
				return err
			}
			if len(paths) == 0 {
				continue
			}
			above, err := mkdir(d.file(name))
			if err != nil {
				return writeError(d.file(name), err)
			}
			for _, path := range paths {
				if err := d.link(path, filepath.Join(d.file(name), filepath.Base(path))); err != nil {
					return err
				}
			}
			if err := syncDirs(d.disk, append(above, d.file(name))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Dir) link(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	data, readErr := os.ReadFile(from)
	if readErr != nil {
		return fmt.Errorf("share %s: %w", from, readErr)
	}
	return writeFile(d.disk, to, data)
}
