package pipelines

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"

	"stillhouse"
	"stillhouse/curate"
)

// writePairs writes where two rewards disagree: how often, and of each pair the first candidate that they do on.
func writePairs(w io.Writer, pairs []curate.Pair) {
	if len(pairs) == 0 {
		return
	}
	fmt.Fprintln(w, "\nRewards compared, by candidates:")
	t := newTable(w)
	t.AppendHeader(table.Row{"a", "b", "both right", "both wrong", "a right, b wrong", "a wrong, b right", "one cannot tell"})
	for _, p := range pairs {
		all := 0
		for _, row := range p.Counts {
			for _, n := range row {
				all += n
			}
		}
		rr, ww := p.Counts[stillhouse.Right][stillhouse.Right], p.Counts[stillhouse.Wrong][stillhouse.Wrong]
		rw, wr := p.Counts[stillhouse.Right][stillhouse.Wrong], p.Counts[stillhouse.Wrong][stillhouse.Right]
		t.AppendRow(table.Row{p.A, p.B, rr, ww, rw, wr, all - rr - ww - rw - wr})
	}
	t.Render()
	for _, p := range pairs {
		if len(p.Examples) == 0 {
			continue
		}
		e := p.Examples[0]
		fmt.Fprintf(w, "They disagree first on prompt %q sample %d: %s %s (%s), %s %s (%s).\n", e.Prompt, e.Sample, p.A, e.A.Verdict, e.A.Evidence, p.B, e.B.Verdict, e.B.Evidence)
	}
}
