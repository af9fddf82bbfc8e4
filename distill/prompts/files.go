package prompts

import (
	"context"

	"stillhouse/internal/rowfile"
)

// Paths name files: each a file, a glob (with ** for folders in between), or a dataset of the Hub.
type Paths = rowfile.Paths

// A file is one file of rows.
type file struct {
	rowfile.Named
	word string // what its rows are counted as, once it was opened
}

// filesOf lists what paths name.
func filesOf(ctx context.Context, p Paths, progress func(string, int64, int64)) (all []file, err error) {
	named, err := p.Files(ctx, progress)
	for _, f := range named {
		all = append(all, file{Named: f})
	}
	return all, err
}
