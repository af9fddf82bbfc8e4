package pipelines

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"stillhouse"
	"stillhouse/internal/rundir"
	"stillhouse/train"
)

// MaskOptions say which row is shown as the student is trained on it.
type MaskOptions struct {
	Rows string // the folder of a run; empty for the rows that are kept
	Row  string // a prompt_id, PROMPT_ID/SAMPLE, or a number counted from 1; empty for the first
}

// InspectMask shows a row as the student is trained on it, token by token. where is a run's directory, or the config
// file of a training.
func InspectMask(ctx context.Context, where string, o MaskOptions) (*train.Mask, error) {
	var to train.Options
	var list []train.Row
	info, err := os.Stat(where)
	switch {
	case err != nil:
		return nil, stillhouse.Invalidf("%s: there is no such run or config: name the directory of a run, or the config file of a training", where)
	case info.IsDir():
		to, list, err = runRows(ctx, where, o.Rows)
	case o.Rows != "":
		return nil, stillhouse.Invalidf("--rows %s: is for runs, and %s is a config: leave it out, the rows are those of train.data", o.Rows, where)
	default:
		var c *TrainingConfig
		if c, err = LoadTraining(where); err == nil {
			to = c.Train
			list, err = to.ReadRows(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	row, err := pick(list, o.Row)
	if err != nil {
		return nil, err
	}
	return train.MaskOf(ctx, to, row)
}

// runRows are the rows of a folder of a run, and how the run trains on them.
func runRows(ctx context.Context, dir, folder string) (train.Options, []train.Row, error) {
	d, err := rundir.View(dir, rundir.Options{})
	if err != nil {
		return train.Options{}, nil, err
	}
	c, err := Load(filepath.Join(d.Path(), "config.yaml"))
	if err != nil {
		return train.Options{}, nil, err
	}
	if c.Train == nil {
		return train.Options{}, nil, stillhouse.Invalidf("run %s trains no student, so no row has a mask: its config has no train", dir)
	}
	if folder == "" {
		folder = "kept"
	}
	src, err := d.Source(folder)
	if err != nil {
		return train.Options{}, nil, err
	}
	list, err := train.RowsOf(ctx, src, c.Train.DatasetTextField)
	return *c.Train, list, err
}

// pick finds a row by its number, or by the prompt that it answers.
func pick(list []train.Row, which string) (train.Row, error) {
	if which == "" {
		which = "1"
	}
	for _, r := range list { // an id may look like a number
		if r.Is(which) {
			return r, nil
		}
	}
	if n, err := strconv.Atoi(which); err == nil && n >= 1 && n <= len(list) {
		return list[n-1], nil
	}
	var near []string
	for _, r := range list[:min(3, len(list))] {
		near = append(near, r.Name)
	}
	return train.Row{}, stillhouse.Invalidf("--row %s: there is no such row: give a number from 1 to %d, a prompt_id or PROMPT_ID/SAMPLE; the first rows are %s",
		which, len(list), strings.Join(near, ", "))
}
