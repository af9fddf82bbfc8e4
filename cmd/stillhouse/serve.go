package main

import (
	"github.com/spf13/cobra"

	"stillhouse/pipelines"
)

func serveCommand(c *console) *cobra.Command {
	var o pipelines.ServeOptions
	cmd := &cobra.Command{
		Use:     "serve MODEL",
		Short:   "Serve a model over an OpenAI-compatible interface",
		Example: "  stillhouse serve runs/demo/student --port 8080",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.UI = c.ui()
			return pipelines.Serve(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().StringVar(&o.Host, "host", "127.0.0.1", "the address to listen on")
	cmd.Flags().BoolVar(&o.AllowRemote, "allow-remote", false, "let other machines ask; the server asks for no key")
	cmd.Flags().IntVar(&o.Port, "port", 8080, "the port; 0 takes a free one")
	cmd.Flags().StringVar(&o.Name, "name", "", "the model's name in requests; by default the folder's name")
	weightsFlag(cmd, &o.Weights)
	return cmd
}
