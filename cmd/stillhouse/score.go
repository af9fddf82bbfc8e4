package main

import (
	"strings"

	"github.com/spf13/cobra"

	"stillhouse"
	"stillhouse/pipelines"
)

func scoreCommand(c *console) *cobra.Command {
	var o pipelines.ScoreOptions
	var columns []string
	cmd := &cobra.Command{
		Use:   "score --reward NAME FILE",
		Short: "Score the rows of a file by one reward: one JSON object a row, with verdict, score and evidence",
		Long: `Score the rows of a JSONL or Parquet file by one reward, and write one JSON object a row to stdout: id, verdict, score, evidence.

Rows have id, reference and completion, and what else the reward reads: prompt, tools, meta, reasoning, tool_calls, tokens,
logprobs, finish_reason; other columns are the meta where there is none. A completion is a text, or messages. Rows with one id are
candidates for one prompt; they stand side by side where the reward judges them together.

A row that cannot be used is named on stderr and has no line of output; the exit code is 2 then.`,
		Example: `  stillhouse score --reward math rows.jsonl
  stillhouse score --reward length --options '{"max_tokens": 512}' runs/demo/candidates/part-00000.parquet
  stillhouse score --reward math --column completion=response --column reference=answer rows.parquet`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Columns = map[string]string{}
			for _, column := range columns {
				field, name, ok := strings.Cut(column, "=")
				if !ok {
					return stillhouse.Invalidf("--column %s: write FIELD=COLUMN, such as completion=response", column)
				}
				if err := pipelines.CheckScoreColumn(field); err != nil {
					return err
				}
				o.Columns[field] = name
			}
			o.Path, o.UI = args[0], c.ui()
			return pipelines.ScoreRows(cmd.Context(), o, c.out)
		},
	}
	cmd.Flags().StringVar(&o.Reward, "reward", "", "the reward, by its kind: math, length, …")
	cmd.Flags().StringVar(&o.Options, "options", "", "its options, as a JSON object")
	cmd.Flags().StringArrayVar(&columns, "column", nil, "FIELD=COLUMN: the column of a field that is named otherwise; id= numbers the rows")
	cmd.Flags().StringVar(&o.Store, "store", "", "the response store, where scores of slow rewards are kept; by default the one in the cache directory")
	return cmd
}
