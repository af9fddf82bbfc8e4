package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"stillhouse/pipelines"
)

func inspectCommand(c *console) *cobra.Command {
	var o pipelines.InspectOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "inspect RUN",
		Short:   "Look into a run: its shards, and rows of one of them",
		Example: "  stillhouse inspect runs/demo\n  stillhouse inspect runs/demo --rows kept --limit 5\n  stillhouse inspect runs/demo --rows dropped/filter --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
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
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
