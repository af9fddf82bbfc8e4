package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stillhouse"
	"stillhouse/distill"
)

func storeExportCommand(c *console, file *string) *cobra.Command {
	var s span
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "export FILE",
		Short:   "Write answers as zstd-packed JSON Lines, to move them, merge them, or save what is whole of a damaged store; - is the standard output",
		Example: "  stillhouse store export answers.jsonl.zst\n  stillhouse store export - --model m --since 2026-11-01 | ssh other 'cat > m.jsonl.zst'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sel, err := s.selection()
			if err != nil {
				return err
			}
			return reading(cmd.Context(), *file, func(r *distill.StoreReader) error {
				damaged := 0
				var e distill.Exported
				err := writeWhole(args[0], c.out, func(w io.Writer) (err error) {
					e, err = r.Export(cmd.Context(), w, sel, func(d distill.Damage) {
						damaged++
						fmt.Fprintln(c.err, damageText(d))
					})
					return err
				})
				if err != nil {
					return err
				}
				if asJSON && args[0] != "-" {
					err = json.NewEncoder(c.out).Encode(e)
				}
				fmt.Fprintf(c.err, "%d answers of %d responses\n", e.Answers, e.Responses)
				if err == nil && damaged > 0 {
					err = fmt.Errorf("export %s: the store is damaged in %d places: what is whole was written", args[0], damaged)
				}
				return err
			})
		},
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object about the export")
	return cmd
}

// writeWhole has a file written under another name first, so that it is whole once it is there. None is written over.
func writeWhole(path string, stdout io.Writer, do func(io.Writer) error) error {
	if path == "-" {
		if isTerminal(stdout) {
			return stillhouse.Invalidf("the standard output is a terminal, and an export is not text: name a file")
		}
		return do(stdout)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return stillhouse.Invalidf("%s is there already: name another file, or remove it", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return stillhouse.Invalidf("%v: name a file in a directory that can be written", err)
	}
	err = do(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func storeImportCommand(c *console, file *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "import FILE...",
		Short:   "Take up the answers of exports or of other stores; what is there already stays, so it may be done again",
		Example: "  stillhouse store import answers.jsonl.zst\n  stillhouse store import /mnt/other/responses.db",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := distill.OpenStore(cmd.Context(), *file)
			if err != nil {
				return err
			}
			for _, name := range args {
				var e distill.Exported
				if e, err = s.Import(cmd.Context(), name); err != nil {
					break
				}
				if asJSON {
					err = json.NewEncoder(c.out).Encode(e)
				}
				fmt.Fprintf(c.err, "%s: %d new answers, %d were there already\n", name, e.Answers, e.LeftOut)
			}
			return errors.Join(err, s.Close())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object for each file")
	return cmd
}

func storeCleanCommand(c *console, file *string) *cobra.Command {
	var o distill.Cleaning
	var before, older string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "gc",
		Short:   "Delete what is selected, and nothing else; a run that wants it again pays for it again",
		Example: "  stillhouse store gc --older-than 365d --dry-run\n  stillhouse store gc --teacher api.example.com/v1 --model m --vacuum\n  stillhouse store gc --superseded",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Before, err = moment("--before", before); err != nil {
				return err
			}
			if older != "" {
				age, err := days(older)
				if err != nil || before != "" {
					return errors.Join(err, stillhouse.Invalidf("--older-than %s: give an age such as 90d, or --before with a day", older))
				}
				o.Before = time.Now().Add(-age)
			}
			if err := reading(cmd.Context(), *file, func(*distill.StoreReader) error { return nil }); err != nil {
				return err // opening it to write would make one that is not there
			}
			s, err := distill.OpenStore(cmd.Context(), *file)
			if err != nil {
				return err
			}
			done, err := s.Clean(cmd.Context(), o)
			if err := errors.Join(err, s.Close()); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.out).Encode(done)
			}
			would := ""
			if o.DryRun {
				would = "would be "
			}
			if o.Scores {
				fmt.Fprintf(c.err, "%d scores %sdeleted; the file has %d bytes, %d of them free, and had %d\n", done.Scores, would, done.After, done.Free, done.Before)
				return nil
			}
			fmt.Fprintf(c.err, "%d answers and %d responses (%d completion tokens) %sdeleted; the file has %d bytes, %d of them free, and had %d\n",
				done.Answers, done.Responses, done.Tokens, would, done.After, done.Free, done.Before)
			return nil
		},
	}
	cmd.Flags().StringVar(&o.Teacher, "teacher", "", "what came from this teacher, as ls names it")
	cmd.Flags().StringVar(&o.Model, "model", "", "what this model was asked")
	cmd.Flags().StringVar(&older, "older-than", "", "what is older than this: 90d, 12h")
	cmd.Flags().StringVar(&before, "before", "", "what came before this day (2026-11-29, in UTC) or time")
	cmd.Flags().BoolVar(&o.Superseded, "superseded", false, "of these, truncated answers whose request has a whole answer under a higher max_tokens")
	cmd.Flags().BoolVar(&o.Unused, "unused", false, "of these, responses that no answer is read from")
	cmd.Flags().BoolVar(&o.Scores, "scores", false, "what rewards said, and nothing else; with --older-than, what is older")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "say what would be deleted")
	cmd.Flags().BoolVar(&o.Vacuum, "vacuum", false, "write the file anew, without free space; runs that use it wait meanwhile")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// days reads an age such as 90d; what is no number of days is as Go writes durations.
func days(text string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("it is below zero")
	}
	return d, err
}
