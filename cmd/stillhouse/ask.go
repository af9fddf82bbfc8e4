package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"stillhouse/internal/student"
	"stillhouse/pipelines"
)

func askCommand(c *console) *cobra.Command {
	var o pipelines.AskOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ask MODEL QUESTION...",
		Short:   "Ask a model questions, each on its own",
		Example: "  stillhouse ask runs/demo/student 'Ann has 3 pens and buys 4 more. How many pens has Ann?'",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			answers, err := pipelines.Ask(cmd.Context(), args[0], args[1:], o)
			if err != nil {
				return err
			}
			for i, a := range answers {
				if asJSON {
					if err := json.NewEncoder(c.out).Encode(a); err != nil {
						return err
					}
					continue
				}
				if len(answers) > 1 {
					fmt.Fprintf(c.err, "%s\n", args[1+i])
				}
				fmt.Fprintln(c.out, a.Answer)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&o.MaxTokens, "max-tokens", 100, "new tokens at most")
	cmd.Flags().Float64Var(&o.Temperature, "temperature", 0, "0 takes the likeliest token each time")
	cmd.Flags().Float64Var(&o.TopP, "top-p", 1, "sample from the likeliest tokens that together have this probability")
	cmd.Flags().Uint64Var(&o.Seed, "seed", 0, "the same seed gives the same answer")
	cmd.Flags().StringVar(&o.System, "system", "", "a system message to put first")
	cmd.Flags().BoolVar(&o.Thinking, "thinking", false, "let a model think that has a thinking mode")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object an answer")
	weightsFlag(cmd, &o.Weights)
	return cmd
}

func weightsFlag(cmd *cobra.Command, w *student.Weights) {
	cmd.Flags().StringVar((*string)(w), "weights", string(student.WeightsF32), "how the weights are held: f32 as they are, bf16, or q8_0, each faster than the one before")
}
