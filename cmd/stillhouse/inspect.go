package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"stillhouse"
	"stillhouse/pipelines"
)

func inspectCommand(c *console) *cobra.Command {
	var o pipelines.InspectOptions
	var row string
	var asJSON, mask bool
	cmd := &cobra.Command{
		Use:     "inspect RUN",
		Short:   "Look into a run: its shards, rows of one of them, and which tokens of a row are trained",
		Example: "  stillhouse inspect runs/demo\n  stillhouse inspect runs/demo --rows kept --limit 5\n  stillhouse inspect runs/demo --rows dropped/filter --json\n  stillhouse inspect runs/demo --mask --row 17\n  stillhouse inspect examples/course.yaml --mask",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !mask && row != "" {
				return stillhouse.Invalidf("--row is for --mask: add that, or choose rows with --rows and --limit")
			}
			if mask {
				m, err := pipelines.InspectMask(cmd.Context(), args[0], pipelines.MaskOptions{Rows: o.Rows, Row: row})
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(c.out).Encode(m)
				}
				return m.WriteText(c.out, isTerminal(c.out) && colours())
			}
			in, err := pipelines.Inspect(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.out).Encode(in)
			}
			return in.WriteText(c.out)
		},
	}
	cmd.Flags().StringVar(&o.Rows, "rows", "", "show rows of this folder: prompts, candidates, scored, samples, kept, dropped/STEP, failed/STEP, evals/ARM")
	cmd.Flags().IntVar(&o.Limit, "limit", 3, "how many rows")
	cmd.Flags().BoolVar(&mask, "mask", false, "show a row token by token as the student is trained on it; RUN may be the config of a training")
	cmd.Flags().StringVar(&row, "row", "", "with --mask: the row, by its number from 1, its prompt_id, or PROMPT_ID/SAMPLE")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
