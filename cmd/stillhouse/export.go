package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"stillhouse"
	"stillhouse/internal/export"
	"stillhouse/pipelines"
)

func exportCommand(c *console) *cobra.Command {
	cmd := exportDatasetCommand(c)
	cmd.Use = "export RUN DIR"
	cmd.Short = "Write a run's kept rows as a Parquet dataset, or a model in another program's format"
	cmd.Example = "  stillhouse export runs/demo exported/rows\n  stillhouse export model runs/gsm8k exported/model --format gguf --dtype q8_0"
	cmd.AddCommand(exportDatasetCommand(c), exportModelCommand(c))
	for _, sub := range cmd.Commands() {
		sub.Args = invalid(sub.Args)
	}
	return cmd
}

func exportDatasetCommand(c *console) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "dataset RUN DIR",
		Short:   "Write a run's kept rows as a Parquet dataset that others can load",
		Example: "  stillhouse export dataset runs/demo exported/rows",
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

func exportModelCommand(c *console) *cobra.Command {
	var o export.Options
	var asJSON bool
	var shard string
	cmd := &cobra.Command{
		Use:   "model MODEL DIR",
		Short: "Write a model, or the student of a run, in a format that others load, and check it by reading it back",
		Example: "  stillhouse export model runs/gsm8k exported/model --dtype bf16\n" +
			"  stillhouse export model runs/gsm8k exported/gguf --format gguf --dtype q8_0",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.MaxShardSize, err = bytesOf(shard); err != nil {
				return stillhouse.Invalidf("--max-shard-size %w", err)
			}
			r, err := pipelines.ExportModel(cmd.Context(), args[0], args[1], o)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.out).Encode(r)
			}
			var size int64
			for _, f := range r.Files {
				size += f.Bytes
			}
			for _, note := range r.Notes {
				fmt.Fprintln(c.err, note)
			}
			b := r.Comparison
			fmt.Fprintf(c.err, "%s as %s %s: %d files of %.1f MB under %s.\n", r.Model, r.Format, r.Dtype, len(r.Files), float64(size)/1e6, args[1])
			fmt.Fprintf(c.err, "Read back: logits differ by at most %.3g from the model's as it was rounded (allowed: %g), by %.3g from the model's as it was; the likeliest token is the same at %.1f %% of %d places.\n",
				b.MaxDiff, b.Bound, b.MaxDiffUnrounded, 100*b.SameTop, b.Places)
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Format, "format", export.Safetensors, "safetensors (a Hugging Face directory), gguf (llama.cpp, with a Modelfile for Ollama); of an adapter, peft, or merged (safetensors)")
	cmd.Flags().StringVar(&o.Dtype, "dtype", "", "f32, f16 or bf16, for gguf also q8_0 and q4_0, for peft f32; by default that of the checkpoint")
	cmd.Flags().StringVar(&shard, "max-shard-size", "5GB", "safetensors larger than this are split into shards")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: what export.json holds")
	return cmd
}

// bytesOf reads a size such as 5GB, 200MiB or 1000000.
func bytesOf(text string) (int64, error) {
	number := strings.TrimRight(text, "KMGTiBbkmgt ")
	units := map[string]float64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
	unit, known := units[strings.ToUpper(strings.TrimSpace(text[len(number):]))]
	x, err := strconv.ParseFloat(number, 64)
	if n := x * unit; err == nil && known && n >= 1 && n < 1<<60 {
		return int64(n), nil
	}
	return 0, fmt.Errorf("is %q: it must be a size such as 5GB or 200MiB", text)
}
