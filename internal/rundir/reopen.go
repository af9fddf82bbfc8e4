package rundir

import (
	"fmt"
	"path/filepath"
	"slices"

	"stillhouse"
)

// Accounts are the accounts of a stage's shards that are there, by their numbers.
func (d *Dir) Accounts(name, stage string) (map[int]stillhouse.Account, error) {
	paths, err := d.Files(name)
	if err != nil {
		return nil, err
	}
	out := make(map[int]stillhouse.Account, len(paths))
	for _, path := range paths {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(path), "part-%d.parquet", &n); err != nil {
			return nil, err
		}
		if out[n], err = readAccount(path, stage, n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Reopen removes some shards of a step, which are then made again, and all that later steps have made, since it no longer
// follows from them. It is killed at any moment and done once more without harm.
func (d *Dir) Reopen(step string, shards []int) error {
	i := slices.Index(Steps, step)
	if i < 0 || i+1 == len(Steps) {
		return unknownStep(step)
	}
	l, err := d.stored()
	if err != nil {
		return err
	}
	if l != nil {
		l.Entries = slices.DeleteFunc(l.Entries, func(e Entry) bool { return slices.Index(Steps, e.Step) >= i })
		if err := d.write(*l); err != nil {
			return err
		}
	}
	last := slices.IndexFunc(places, func(p place) bool { return p.step == step })
	for last+1 < len(places) && places[last+1].step == step {
		last++
	}
	if err := d.Reset(after(places[last]).step); err != nil {
		return err
	}
	for _, p := range places {
		if p.step != step || p.dir == "" {
			continue
		}
		for _, shard := range shards {
			// Rows kept go first: without them the rest belongs to a shard that is not made yet.
			for _, name := range []string{p.dir, filepath.Join("dropped", p.stage), filepath.Join("failed", p.stage)} {
				if err := remove(d.disk, d.path, filepath.Join(name, partName(shard))); err != nil {
					return fmt.Errorf("run %s: remove shard %d of %s: %w", d.path, shard, name, err)
				}
			}
		}
	}
	return nil
}
