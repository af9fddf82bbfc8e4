// Command problems makes the demo's data and keeps its models. It is what scripts/make-models is made of.
//
//	problems rows -n 2000 -seed 1 -unique              rows on stdout: problems with right answers
//	problems rows -n 64000 -seed 2 -slip 0.5 -chat     rows to train on, half of the answers with a slip
//	problems model DIR                                 config.json and the tokenizer of a model to be trained from scratch
//	problems store FROM DIR                            the model in FROM, its weights in bfloat16
//	problems measure DIR                               how often the model in DIR is right on problems it has not seen
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"stillhouse"
	"stillhouse/internal/problems"
	"stillhouse/internal/student"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if stillhouse.KindOf(err) == stillhouse.Invalid {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return stillhouse.Invalidf("problems: say what to do: rows, model DIR, store FROM DIR or measure DIR")
	}
	switch what, rest := args[0], args[1:]; {
	case what == "rows":
		return rows(rest, stdout)
	case what == "model" && len(rest) == 1:
		return problems.WriteModel(rest[0])
	case what == "store" && len(rest) == 2:
		return store(rest[0], rest[1])
	case what == "measure":
		return measure(rest, stdout)
	default:
		return stillhouse.Invalidf("problems: %q is not understood: say rows, model DIR, store FROM DIR or measure DIR", args)
	}
}

// rows writes one JSON object a row: question and answer, or prompt and completion as TRL reads them.
func rows(args []string, stdout io.Writer) error {
	var (
		flags = flag.NewFlagSet("problems rows", flag.ContinueOnError)
		g     problems.Generator
		n     = flags.Int("n", 10, "number of rows")
		split = flags.String("split", string(problems.Train), "train or test: no calculation is in both")
		chat  = flags.Bool("chat", false, "rows of prompt and completion, to train on")
	)
	flags.Uint64Var(&g.Seed, "seed", 1, "seed of the rows")
	flags.Float64Var(&g.Slip, "slip", 0, "share of the answers with a slip")
	flags.BoolVar(&g.Unique, "unique", false, "no calculation twice")
	if err := flags.Parse(args); err != nil {
		return stillhouse.Invalidf("problems: %w", err)
	}
	if flags.NArg() > 0 {
		return stillhouse.Invalidf("problems: %q is not a flag: see problems rows -h", flags.Arg(0))
	}
	g.Split = problems.Split(*split)
	made, err := g.Rows(*n)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(stdout)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	for _, r := range made {
		if err := e.Encode(line(r, *chat)); err != nil {
			return fmt.Errorf("problems: %w", err)
		}
	}
	return out.Flush()
}

func line(r problems.Row, chat bool) any {
	if chat {
		return struct {
			Prompt     []stillhouse.Message `json:"prompt"`
			Completion []stillhouse.Message `json:"completion"`
		}{
			[]stillhouse.Message{{Role: "user", Content: r.Question}},
			[]stillhouse.Message{{Role: "assistant", Content: r.Given}},
		}
	}
	return struct {
		Question string `json:"question"`
		Answer   string `json:"answer"`
	}{r.Question, r.Given}
}

// store keeps a trained model at half the size. The demo's models are used as they are stored.
func store(from, dir string) error {
	m, err := student.Load(from)
	if err != nil {
		return fmt.Errorf("problems: %w", err)
	}
	if err := student.Save(m, dir, student.SaveOptions{From: from, Dtype: "bfloat16"}); err != nil {
		return fmt.Errorf("problems: %w", err)
	}
	return nil
}
