package pipelines

import (
	"context"
	"path/filepath"

	"stillhouse/train"
)

// Train fine-tunes a student on rows of the user's own, with questions before and after: the course as a pipeline. The
// student lies in RUNS/NAME/student.
func Train(ctx context.Context, c *TrainingConfig, o RunOptions) (*train.Report, error) {
	if o.Runs == "" {
		o.Runs = "runs"
	}
	return train.Run(ctx, c.Train, filepath.Join(o.Runs, c.Name), o.UI.training(o.Checkpoint))
}
