package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"stillhouse/pipelines"
)

func planCommand(c *console) *cobra.Command {
	var o pipelines.PlanOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "plan CONFIG",
		Short: "Say what a run or a training would do and cost, before it does it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := pipelines.PlanFile(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.out).Encode(plan)
			}
			return plan.WriteText(c.out)
		},
	}
	cmd.Flags().StringVar(&o.Runs, "runs", "runs", "the folder that the run would lie in: how fast its disk is written to is measured")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
