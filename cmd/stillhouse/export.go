package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"stillhouse/pipelines"
)

func exportCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "export RUN DIR",
		Short:   "Write a run's kept rows as a Parquet dataset that others can load",
		Example: "  stillhouse export runs/demo exported/demo",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := pipelines.Export(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.out).Encode(e)
			}
			fmt.Fprintf(c.err, "%d rows in %d files under %s\n", e.Rows, len(e.Files), args[1])
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
