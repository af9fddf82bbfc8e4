package pipelines

import (
	"stillhouse"
	"stillhouse/distill/prompts"
)

// recordedBytes bounds what is kept of the prompts between the check and the step that writes them down.
const recordedBytes = 4 << 20

// A recording is what a check read of the prompts' files, so that the step after it need not read them again.
type recording struct {
	summary prompts.Summary
	rows    []recordedRow
	bytes   int
	whole   bool // false where it is too much
}

// A recordedRow is a prompt, or a row that was left out.
type recordedRow struct {
	prompt stillhouse.Prompt
	bad    *prompts.BadRow
}

// note takes a row as long as there is room, and forgets all of them when there is none.
func (r *recording) note(row recordedRow, bytes int) {
	const overhead = 256 // of a row in memory
	if r.bytes += bytes + overhead; r.bytes > recordedBytes {
		r.rows, r.whole = nil, false
	}
	if r.whole {
		r.rows = append(r.rows, row)
	}
}

// sink notes all rows, and shows the prompts to look.
func (r *recording) sink(look func(stillhouse.Prompt)) prompts.Sink {
	r.whole = true
	return prompts.Sink{
		Prompt: func(p stillhouse.Prompt) error {
			look(p)
			r.note(recordedRow{prompt: p}, sizeOf(p))
			return nil
		},
		Bad: func(b prompts.BadRow) error {
			r.note(recordedRow{bad: &b}, len(b.Place)+len(b.Detail)+len(b.Text))
			return nil
		},
	}
}

// play hands out what was noted, in its order.
func (r *recording) play(to prompts.Sink) (prompts.Summary, error) {
	for _, row := range r.rows {
		var err error
		switch {
		case row.bad == nil && to.Prompt != nil:
			err = to.Prompt(row.prompt)
		case row.bad != nil && to.Bad != nil:
			err = to.Bad(*row.bad)
		}
		if err != nil {
			return prompts.Summary{}, err
		}
	}
	return r.summary, nil
}

func sizeOf(p stillhouse.Prompt) (n int) {
	for _, m := range p.Prompt {
		n += len(m.Role) + len(m.Content)
	}
	for _, text := range []*string{p.Tools, p.Reference, p.Meta, p.Messages} {
		if text != nil {
			n += len(*text)
		}
	}
	return n
}
