// Command problems makes the demo's data: rows of worded arithmetic problems on stdout, or the folder of a model to be
// trained on them.
//
//	go run ./cmd/problems -n 1600 -seed 1 -unique               {"question", "answer"}: problems and right answers
//	go run ./cmd/problems -n 64000 -seed 2 -slip 0.25 -chat     {"prompt", "completion"}: rows to train on
//	go run ./cmd/problems -model DIR                            config.json and the tokenizer
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
	var (
		flags = flag.NewFlagSet("problems", flag.ContinueOnError)
		g     problems.Generator
		n     = flags.Int("n", 10, "number of rows")
		split = flags.String("split", string(problems.Train), "train or test: no calculation is in both")
		chat  = flags.Bool("chat", false, "rows of prompt and completion to train on")
		model = flags.String("model", "", "write a model's config.json and tokenizer into this `folder` instead")
	)
	flags.Uint64Var(&g.Seed, "seed", 1, "seed of the rows")
	flags.Float64Var(&g.Slip, "slip", 0, "share of the answers with a slip")
	flags.BoolVar(&g.Unique, "unique", false, "no calculation twice")
	if err := flags.Parse(args); err != nil {
		return stillhouse.Invalidf("problems: %w", err)
	}
	if flags.NArg() > 0 {
		return stillhouse.Invalidf("problems: %q is not a flag: see problems -h", flags.Arg(0))
	}
	if *model != "" {
		return problems.WriteModel(*model)
	}
	g.Split = problems.Split(*split)
	rows, err := g.Rows(*n)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(stdout)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	for _, r := range rows {
		if err := e.Encode(line(r, *chat)); err != nil {
			return fmt.Errorf("problems: %w", err)
		}
	}
	return out.Flush()
}

// line is a row as it is written: as TRL reads it, or as a question and its answer.
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
