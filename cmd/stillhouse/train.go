package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"stillhouse/pipelines"
)

func trainCommand(c *console) *cobra.Command {
	var o pipelines.RunOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "train CONFIG",
		Short:   "Fine-tune a student on rows of your own: the course as a command",
		Long:    "Fine-tune a student on rows of your own (train.data): show the first rows, ask the questions, train, ask again.",
		Example: "  stillhouse train examples/course.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := pipelines.LoadTraining(args[0])
			if err != nil {
				return err
			}
			o.UI = c.ui()
			var stop func()
			o.Checkpoint, stop = checkpoints()
			defer stop()
			result, err := pipelines.Train(cmd.Context(), config, o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.out).Encode(result)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Runs, "runs", "runs", "the folder that runs lie in")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as one JSON object")
	return cmd
}
