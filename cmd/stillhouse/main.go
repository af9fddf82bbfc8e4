// Command stillhouse distils a teacher, curates what it says and trains a small student on the result.
//
// Text for people goes to stderr, as lines of JSON with --log-format json; data goes to stdout. Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 3 the
// books do not balance, 130 interrupted (what was done is kept).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/pipelines"
)

const (
	exitFailed      = 1
	exitInput       = 2
	exitUnbalanced  = 3
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	c := newConsole(os.Stdout, os.Stderr)
	context.AfterFunc(ctx, func() {
		stop()
		c.err.fail("stopping when the work at hand is done and kept; once more ends at once")
	})
	os.Exit(c.execute(ctx, os.Args[1:]))
}

// afterwards says what became of a command's work when it was interrupted.
var afterwards = map[string]string{
	"run":    " What was done is kept: the same command goes on from there.",
	"curate": " What was done is kept: the same command goes on from there.",
	"train":  " The same command goes on from the last checkpoint; a student that was there before is as it was.",
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return newConsole(stdout, stderr).execute(ctx, args)
}

func (c *console) execute(ctx context.Context, args []string) int {
	defer c.err.end()
	root := command(c)
	root.SetArgs(args)
	root.SetOut(c.out)
	root.SetErr(c.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil && c.out.failed != nil { // tables and help texts do not say so
		err = fmt.Errorf("write what was asked for: %w", c.out.failed)
	}
	if err == nil {
		return 0
	}
	code := exitCode(ctx, err)
	_ = c.err.setFormat(c.format) // where a wrong flag kept the command from being begun
	if code == exitInterrupted {
		c.err.fail("interrupted." + afterwards[cmd.Name()])
	} else {
		c.err.fail(strings.TrimPrefix(err.Error(), "stillhouse: "))
	}
	return code
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case ctx.Err() != nil || errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, stillhouse.ErrUnbalanced):
		return exitUnbalanced
	case errors.Is(err, pipelines.ErrRunFailed):
		return exitFailed
	case stillhouse.KindOf(err) == stillhouse.Invalid:
		return exitInput
	}
	return exitFailed
}

// A console is where a command writes.
type console struct {
	out      *output
	err      *journal
	format   string // of err
	terminal bool   // err is a terminal: bars are welcome, and colours unless NO_COLOR is set
}

func newConsole(stdout, stderr io.Writer) *console {
	return &console{out: &output{Writer: stdout}, err: &journal{out: stderr}, terminal: isTerminal(stderr)}
}

// An output remembers that it could not be written.
type output struct {
	io.Writer
	failed error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil && o.failed == nil {
		o.failed = err
	}
	return n, err
}

func (c *console) ui() pipelines.UI {
	terminal := c.terminal && c.err.structured() == nil
	return pipelines.UI{Out: c.err, Terminal: terminal, Color: terminal && colours(), Log: c.err.structured()}
}

// colours reports whether the user lets programs colour their text: https://no-color.org
func colours() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

// checkpoints relays SIGUSR1, by which a user asks a training for a checkpoint now, until stop is called.
func checkpoints() (ask <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}

func isTerminal(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func command(c *console) *cobra.Command {
	root := &cobra.Command{
		Use:           "stillhouse",
		Short:         "Distil a teacher, curate what it says, train a small student on the result",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return stillhouse.Invalidf("%v\nUsage: %s", err, cmd.UseLine())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVar(&c.format, "log-format", logText, "how progress and errors are told on stderr: text, or json, one object a line")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return c.err.setFormat(c.format) }
	root.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknown(root, args[0])
	}
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Say what a command does",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknown(root, args[len(args)-max(1, len(rest))])
			}
			return cmd.Help()
		},
	})
	root.AddCommand(runCommand(c), validateCommand(c), planCommand(c), inspectCommand(c), reportCommand(c), scoreCommand(c), curateCommand(c), trainCommand(c),
		askCommand(c), serveCommand(c), exportCommand(c), storeCommand(c), versionCommand(c))
	for _, sub := range root.Commands() {
		sub.Args = invalid(sub.Args)
	}
	return root
}

func unknown(root *cobra.Command, name string) error {
	var names []string
	for _, sub := range root.Commands() {
		names = append(names, sub.Name())
	}
	return stillhouse.Invalidf("%s: there is no such command: %s", name, options.Nearest(name, names))
}

// invalid makes wrong arguments the user's error, with the usage line.
func invalid(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return stillhouse.Invalidf("%v\nUsage: %s", err, cmd.UseLine())
		}
		return nil
	}
}
