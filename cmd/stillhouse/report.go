package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"stillhouse/pipelines"
)

func reportCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Show what a run did: its books, its training, what its students can do",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := pipelines.ReadReport(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return show(c, report, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// show prints a report. A report whose books do not balance is printed too, and is an error.
func show(c *console, report *pipelines.Report, asJSON bool) error {
	var err error
	if asJSON {
		err = json.NewEncoder(c.out).Encode(report)
	} else {
		err = report.WriteText(c.out)
	}
	if err != nil {
		return err
	}
	return report.Balanced()
}
