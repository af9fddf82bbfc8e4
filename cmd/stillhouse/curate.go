package main

import (
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/internal/options"
	"stillhouse/pipelines"
)

func curateCommand(c *console) *cobra.Command {
	var selects []string
	var whatIf, asJSON bool
	var try pipelines.WhatIfOptions
	var derive pipelines.DeriveOptions
	cmd := &cobra.Command{
		Use:   "curate RUN",
		Short: "Try other selections on a run's scored candidates, or make one of them another run",
		Long: `Try other selections on a run's scored candidates, or make one of them another run. Nobody is asked, and nothing is scored again.

With --what-if a table says what each selection would keep; without --select it tries a grid of them. Without --what-if the one selection
becomes a run beside this one, which shares its candidates and scores; stillhouse run goes on with it, from its config.yaml.

A selection is what stands under curate.select in a config: as YAML, or as KEY=VALUE pairs.`,
		Example: "  stillhouse curate runs/demo --what-if\n" +
			"  stillhouse curate runs/demo --what-if --select 'best=2 min_reward=1' --select 'policy=right_distinct band=[0.1,0.9]'\n" +
			"  stillhouse curate runs/demo --select '{policy: shortest_right}' --name demo-short",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, text := range selects {
				s, err := readSelect(text)
				if err != nil {
					return err
				}
				try.Selects = append(try.Selects, s)
			}
			if whatIf {
				w, err := pipelines.TryIf(cmd.Context(), args[0], try)
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(c.out).Encode(w)
				}
				return w.WriteText(c.out)
			}
			if len(try.Selects) != 1 {
				return stillhouse.Invalidf("%d selections are given: give one --select to make a run of, or --what-if to try any number", len(try.Selects))
			}
			derive.UI = c.ui()
			report, err := pipelines.Derive(cmd.Context(), args[0], try.Selects[0], derive)
			if err != nil {
				return err
			}
			return show(c, report, asJSON)
		},
	}
	cmd.Flags().StringArrayVar(&selects, "select", nil, "a selection, as YAML or as KEY=VALUE pairs; may be given several times with --what-if")
	cmd.Flags().BoolVar(&whatIf, "what-if", false, "only say what each selection would keep")
	cmd.Flags().BoolVar(&try.TrainingTime, "training-time", true, "with --what-if, measure how fast the run's student trains here and estimate its time")
	cmd.Flags().StringVar(&derive.Name, "name", "", "the new run's name; by default RUN-POLICY")
	cmd.Flags().StringVar(&derive.Runs, "runs", "", "the folder that the new run lies in; by default that of the run")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: the table, or the new run's report")
	return cmd
}

// readSelect reads a selection: {policy: best, best: 2} or policy=best best=2.
func readSelect(text string) (s curate.Select, err error) {
	source := text
	if pairs := strings.Fields(text); !strings.HasPrefix(strings.TrimSpace(text), "{") && len(pairs) > 0 && strings.Contains(pairs[0], "=") {
		var b strings.Builder
		for i, pair := range pairs {
			key, value, ok := strings.Cut(pair, "=")
			if !ok {
				return s, stillhouse.Invalidf("--select %q: %q is no KEY=VALUE: write pairs with spaces between them and none within", text, pair)
			}
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(key + ": " + value)
		}
		source = b.String()
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(source), &doc); err != nil {
		return s, stillhouse.Invalidf("--select %q: is neither YAML nor KEY=VALUE pairs: %s", text, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return s, stillhouse.Invalidf("--select is empty: write a selection such as best=2 or {policy: threshold, min_reward: 1}")
	}
	if err := options.Decode(doc.Content[0], &s); err != nil {
		return s, stillhouse.Invalidf("--select %q: %w", text, err)
	}
	return s, nil
}
