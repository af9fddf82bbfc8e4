package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"stillhouse/pipelines"
)

func validateCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "validate CONFIG",
		Short: "Check a config and everything it names, without asking anything of the teacher",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := pipelines.Load(args[0])
			if err != nil {
				return err
			}
			if err := config.Check(cmd.Context()); err != nil {
				return err
			}
			for _, note := range config.Notes {
				fmt.Fprintln(c.err, note)
			}
			for _, w := range config.Warnings {
				fmt.Fprintln(c.err, w)
			}
			fmt.Fprintf(c.err, "%s is right.\n", args[0])
			return nil
		},
	}
}
