package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"stillhouse"
	"stillhouse/distill"
)

func storeCommand(c *console) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "store COMMAND",
		Short:   "Look into the response store, move it, clean it up: every answer that was ever paid for",
		Example: "  stillhouse store ls\n  stillhouse store verify && stillhouse store export answers.jsonl.zst",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknown(cmd, args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&file, "store", "", "the store's file; by default the one that runs use where distill.store is not set")
	cmd.AddCommand(storeListCommand(c, &file), storeShowCommand(c, &file), storeStatsCommand(c, &file), storeExportCommand(c, &file),
		storeImportCommand(c, &file), storeCleanCommand(c, &file), storeVerifyCommand(c, &file))
	for _, sub := range cmd.Commands() {
		sub.Args = invalid(sub.Args)
	}
	return cmd
}

// reading opens a store for a command that changes nothing.
func reading(ctx context.Context, file string, do func(*distill.StoreReader) error) error {
	r, err := distill.ReadStore(ctx, file)
	if err != nil {
		return err
	}
	return errors.Join(do(r), r.Close())
}

// A span is a part of a store as flags give it.
type span struct {
	distill.Selection
	since, before string
}

func (s *span) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.Teacher, "teacher", "", "only what came from this teacher, as ls names it")
	cmd.Flags().StringVar(&s.Model, "model", "", "only what this model was asked")
	cmd.Flags().StringVar(&s.since, "since", "", "only what came on this day (2026-11-29, in UTC) or later, or from a time on (2026-11-29T18:00:00Z)")
	cmd.Flags().StringVar(&s.before, "before", "", "only what came before this day or time")
}

func (s *span) selection() (sel distill.Selection, err error) {
	sel = s.Selection
	if sel.Since, err = moment("--since", s.since); err != nil {
		return sel, err
	}
	sel.Before, err = moment("--before", s.before)
	return sel, err
}

func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, stillhouse.Invalidf("%s %s: it must be a day such as 2026-11-29, or a time such as 2026-11-29T18:00:00Z", flag, text)
}

func storeListCommand(c *console, file *string) *cobra.Command {
	var s span
	var by []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List what is in the store by teacher, model and day, with counts and tokens",
		Example: "  stillhouse store ls\n  stillhouse store ls --by teacher,day --since 2026-11-01 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sel, err := s.selection()
			if err != nil {
				return err
			}
			return reading(cmd.Context(), *file, func(r *distill.StoreReader) error {
				groups, err := r.List(cmd.Context(), sel, by)
				if err != nil {
					return err
				}
				if asJSON {
					for _, g := range groups {
						if err := json.NewEncoder(c.out).Encode(g); err != nil {
							return err
						}
					}
					return nil
				}
				fmt.Fprintf(c.err, "%s\n", r.Path())
				fmt.Fprintln(c.out, groupTable(groups, by))
				return nil
			})
		},
	}
	s.flags(cmd)
	cmd.Flags().StringSliceVar(&by, "by", []string{"teacher", "model"}, "what has a line of its own: some of teacher, model, day")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

func groupTable(groups []distill.Group, by []string) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	row := func(g distill.Group, names bool) (out table.Row) {
		for i, v := range []string{g.Teacher, g.Model, g.Day} {
			if slices.Contains(by, distill.Groups[i]) {
				if names {
					v = distill.Groups[i]
				}
				out = append(out, v)
			}
		}
		return out
	}
	t.AppendHeader(append(row(distill.Group{}, true), "responses", "answers", "truncated", "prompt tokens", "completion tokens", "first", "last"))
	for _, g := range groups {
		t.AppendRow(append(row(g, false), g.Responses, g.Answers, g.Truncated, g.PromptTokens, g.CompletionTokens, g.First.Format(time.DateOnly), g.Last.Format(time.DateOnly)))
	}
	return t.Render()
}

func storeShowCommand(c *console, file *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show KEY",
		Short:   "Show an answer with its request, the headers and the body that came; KEY is a candidate's request_key, or how it begins",
		Example: "  stillhouse store show 5c50c2163b37\n  stillhouse store show 5c50c2163b37 --json | jq -r .body | jq .usage",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return reading(cmd.Context(), *file, func(r *distill.StoreReader) error {
				found, err := r.Show(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				for _, a := range found {
					if asJSON {
						err = json.NewEncoder(c.out).Encode(a)
					} else {
						err = writeStored(c.out, a)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object for each limit of tokens under which there is an answer")
	return cmd
}

func writeStored(w io.Writer, a distill.Stored) error {
	limit := "no limit of tokens"
	if a.MaxTokens > 0 {
		limit = fmt.Sprintf("max_tokens %d", a.MaxTokens)
	}
	_, err := fmt.Fprintf(w, "key       %s\nasked     %s, model %s, sample %d, %s\ncame      %s, as choice %d of response %d, finish reason %q\nheaders   %s\nrequest   %s\nbody      %s\n",
		a.Key, a.Teacher, a.Model, a.Sample, limit, a.Created.Format(time.RFC3339), a.Choice, a.Response, a.FinishReason, a.Header, pretty(a.Request), pretty(a.Body))
	for _, part := range [][2]string{{"reasoning", a.Reasoning}, {"tools", string(a.ToolCalls)}, {"answer", a.Content}} {
		if part[1] != "" && err == nil {
			_, err = fmt.Fprintf(w, "%-9s %s\n", part[0], part[1])
		}
	}
	return err
}

func pretty(text string) string {
	var b bytes.Buffer
	if json.Indent(&b, []byte(text), "          ", "  ") != nil {
		return text
	}
	return b.String()
}

func storeStatsCommand(c *console, file *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Say what the store adds up to: answers, tokens, bytes, finish reasons, ages, what was learned about teachers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return reading(cmd.Context(), *file, func(r *distill.StoreReader) error {
				s, err := r.Stats(cmd.Context(), time.Now())
				if err != nil {
					return err
				}
				if asJSON {
					return json.NewEncoder(c.out).Encode(s)
				}
				return writeStats(c.out, s)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func writeStats(w io.Writer, s *distill.Stats) error {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("store", "%s, version %d", s.Store, s.Version)
	line("bytes", "%d in the file (%d of them free), %d in its log", s.Bytes, s.FreeBytes, s.LogBytes)
	line("packed", "%d bytes of requests, %d of headers, %d of bodies", s.Packed.Requests, s.Packed.Headers, s.Packed.Bodies)
	line("responses", "%d, %d of which no answer is read from", s.Total.Responses, s.Unused)
	line("answers", "%d under %d keys; %d truncated, %d of these superseded", s.Total.Answers, s.Keys, s.Total.Truncated, s.Superseded)
	line("tokens", "%d of prompts, %d of completions", s.Total.PromptTokens, s.Total.CompletionTokens)
	var finish, ages []string
	for _, reason := range slices.Sorted(maps.Keys(s.FinishReasons)) {
		finish = append(finish, fmt.Sprintf("%q %d", reason, s.FinishReasons[reason]))
	}
	line("finish reasons", "%s", strings.Join(finish, ", "))
	for _, a := range s.Ages {
		if a.Days > 0 {
			ages = append(ages, fmt.Sprintf("to %d days %d", a.Days, a.Responses))
		} else {
			ages = append(ages, fmt.Sprintf("older %d", a.Responses))
		}
	}
	line("ages", "%s", strings.Join(ages, ", "))
	for _, reward := range slices.Sorted(maps.Keys(s.Scores)) {
		line("scores", "%d of %s", s.Scores[reward], reward)
	}
	for _, f := range s.Facts {
		line("learned", "%s: %s is %s (%s)", f.Teacher, f.Name, f.Value, f.Learned.UTC().Format(time.RFC3339))
	}
	_, err := fmt.Fprintln(w, groupTable(s.Groups, []string{"teacher", "model"}))
	return err
}

func storeVerifyCommand(c *console, file *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read all that is in the store and say what is whole; the exit code is 1 if something is not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return reading(cmd.Context(), *file, func(r *distill.StoreReader) error {
				v, err := r.Verify(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					err = json.NewEncoder(c.out).Encode(v)
				} else {
					for _, line := range v.Structure {
						fmt.Fprintln(c.out, line)
					}
					for _, d := range v.Damages {
						fmt.Fprintln(c.out, damageText(d))
					}
					_, err = fmt.Fprintf(c.out, "%d answers of %d responses are whole; %d answers, %d responses, %d facts and %d scores are damaged\n",
						v.Answers, v.Responses, v.DamagedAnswers, v.DamagedResponses, v.DamagedFacts, v.DamagedScores)
				}
				if err == nil && !v.Whole() {
					err = fmt.Errorf("response store %s is damaged: restore it from a copy, or save what is whole with `stillhouse store export` and import that into a new one", r.Path())
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func damageText(d distill.Damage) string {
	var where []string
	if d.Response != 0 {
		where = append(where, fmt.Sprintf("response %d", d.Response))
	}
	if d.Key != "" {
		where = append(where, "answer "+d.Key)
	}
	if len(where) == 0 {
		return d.What
	}
	return strings.Join(where, ", ") + ": " + d.What
}
