package main

import (
	"github.com/spf13/cobra"

	"stillhouse/pipelines"
)

func runCommand(c *console) *cobra.Command {
	var o pipelines.RunOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "run CONFIG",
		Short: "Run the pipeline of a config, or go on with a run that was stopped",
		Long: `Run the pipeline of a config: prompts to candidates, scores, samples, kept rows, a student, and what it can do.

A run that was stopped or killed goes on where it was when the same command is given again. --from makes a step and all
later ones again on what the earlier ones left.`,
		Example: "  stillhouse run examples/demo.yaml\n  stillhouse run examples/demo.yaml --from curate",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := pipelines.Load(args[0])
			if err != nil {
				return err
			}
			o.UI = c.ui()
			var stop func()
			o.Checkpoint, stop = checkpoints()
			defer stop()
			report, err := pipelines.Run(cmd.Context(), config, o)
			if err != nil {
				return err
			}
			return show(c, report, asJSON)
		},
	}
	cmd.Flags().StringVar(&o.From, "from", "", "make this step and the later ones again: prompts, distill (or candidates), curate, filter, train or eval")
	cmd.Flags().StringVar(&o.Runs, "runs", "runs", "the folder that runs lie in")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as one JSON object")
	return cmd
}
