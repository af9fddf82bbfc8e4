package testkit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

// toy keeps short prompts, drops long ones and fails those of the source "broken". A fault makes it break one promise.
type toy struct {
	Max   int    `json:"max"`
	Fault string `json:"fault"`
	Loose int    `json:"-"`

	seen int
	kept arrow.RecordBatch
}

var _ stillhouse.Stage = (*toy)(nil)

func (s *toy) Name() string {
	if s.Fault == "name" {
		return "Toy Stage"
	}
	return "toy"
}

func (s *toy) Schema(in *arrow.Schema) (*arrow.Schema, error) {
	err := stillhouse.RequireRows(in, stillhouse.PromptSchema)
	switch {
	case s.Fault == "lax":
	case err != nil && s.Fault == "unnamed":
		return nil, stillhouse.Invalidf("a column is missing")
	case err != nil && s.Fault == "plain error":
		return nil, errors.New(err.Error())
	case err != nil:
		return nil, err
	}
	if s.Fault == "lies" {
		return stillhouse.SampleSchema, nil
	}
	return in, nil
}

func (s *toy) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	rows, err := stillhouse.Prompts(batch)
	if err != nil {
		return err
	}
	if s.Fault == "empty" {
		_ = rows[0]
	}
	if s.Fault == "leak" {
		batch.Retain()
	}
	for i, p := range rows {
		if err := ctx.Err(); err != nil {
			switch s.Fault {
			case "deaf":
				return errors.New("stopped")
			case "half":
				return nil
			}
			return err
		}
		row := batch.NewSlice(int64(i), int64(i+1))
		err := s.decide(row, p, i == len(rows)-1, out)
		row.Release()
		if err != nil && s.Fault != "swallow" {
			return fmt.Errorf("prompt %q: %w", p.ID, err)
		}
	}
	return nil
}

func (s *toy) decide(row arrow.RecordBatch, p stillhouse.Prompt, last bool, out stillhouse.Emitter) error {
	s.seen++
	limit := s.Max + s.Loose
	if s.Fault == "remembers" && s.seen > 6 {
		limit = 0
	}
	reason, detail := "long", fmt.Sprintf("%d characters, %d are allowed", len(p.Prompt[0].Content), limit)
	switch s.Fault {
	case "reason":
		reason = "Too long."
	case "detail":
		detail = ""
	case "by batch":
		if last {
			limit = 0
		}
	case "loses":
		if p.ID == "p2" {
			return nil
		}
	}
	switch {
	case p.Source == "broken":
		return out.Fail(row, stillhouse.Invalidf("the source is broken"))
	case len(p.Prompt[0].Content) > limit:
		return out.Drop(row, reason, detail)
	}
	row.Retain()
	return out.Emit(row)
}

// last keeps the last prompt only, which it knows when it has seen all.
type last struct {
	Forgetful bool `json:"forgetful"`
	toy
}

var _ stillhouse.Flusher = (*last)(nil)

func (s *last) Begin() error {
	if s.kept != nil && !s.Forgetful {
		s.kept.Release()
	}
	s.kept = nil
	return nil
}

func (s *last) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	for i := range batch.NumRows() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.kept != nil {
			if err := out.Drop(s.kept, "early", "another prompt follows"); err != nil {
				return err
			}
			s.kept.Release()
		}
		s.kept = batch.NewSlice(i, i+1)
	}
	return nil
}

func (s *last) Flush(_ context.Context, out stillhouse.Emitter) error {
	if s.kept == nil {
		return nil
	}
	b := s.kept
	s.kept = nil
	return out.Emit(b)
}

// twice makes every prompt two.
type twice struct{ toy }

var _ stillhouse.Expander = (*twice)(nil)

func (s *twice) Fanout() int { return 2 }

func (s *twice) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	for i := range batch.NumRows() {
		if err := ctx.Err(); err != nil {
			return err
		}
		for range 2 {
			if err := out.Emit(batch.NewSlice(i, i+1)); err != nil {
				return err
			}
		}
	}
	return nil
}

func prompts(mem memory.Allocator) arrow.RecordBatch {
	var rows []stillhouse.Prompt
	for i := range 9 {
		p := stillhouse.Prompt{ID: fmt.Sprint("p", i), Source: "test",
			Prompt: []stillhouse.Message{{Role: "user", Content: strings.Repeat("x", i)}}}
		if i == 4 {
			p.Source = "broken"
		}
		rows = append(rows, p)
	}
	return stillhouse.PromptBatch(mem, rows)
}

func good() Case {
	return Case{
		New:      func() stillhouse.Stage { return &toy{Max: 5} },
		Input:    prompts,
		Needs:    []string{"prompt", "source"},
		BadInput: []*arrow.Schema{stillhouse.SampleSchema},
		Output:   stillhouse.PromptSchema,
		Account: &stillhouse.Account{In: 9, Kept: 5, Dropped: map[string]int64{"long": 3},
			Failed: map[string]int64{"invalid": 1}},
	}
}

func TestConform(t *testing.T) {
	t.Run("stage", func(t *testing.T) { Conform(t, good()) })
	t.Run("flusher", func(t *testing.T) {
		Conform(t, Case{New: func() stillhouse.Stage { return &last{} }, Input: prompts})
	})
	t.Run("expander", func(t *testing.T) {
		Conform(t, Case{New: func() stillhouse.Stage { return &twice{} }, Input: prompts})
	})
	t.Run("joined", func(t *testing.T) {
		c := good()
		c.New = func() stillhouse.Stage { return &toy{Max: 3} }
		c.Join = func(s stillhouse.Stage) { s.(*toy).Loose = 2 }
		Conform(t, c)
	})
}

// TestConformCatches breaks every promise once.
func TestConformCatches(t *testing.T) {
	for fault, names := range map[string][]string{
		"name":        {"account"},
		"lax":         {"columns", "schema"},
		"unnamed":     {"columns"},
		"plain error": {"columns", "schema"},
		"lies":        {"schema", "account"},
		"empty":       {"empty"},
		"leak":        {"schema", "any_split", "again", "json", "cancelled", "emitter_fails", "source_or_sink_fails"},
		"deaf":        {"cancelled"},
		"half":        {"cancelled"},
		"swallow":     {"emitter_fails"},
		"remembers":   {"again"},
		"reason":      {"account"},
		"detail":      {"account"},
		"by batch":    {"any_split"},
		"loses":       {"account", "any_split"},
	} {
		c := good()
		c.New = func() stillhouse.Stage { return &toy{Max: 5, Fault: fault} }
		for _, k := range checks {
			if err := c.hold(k); err == nil && slices.Contains(names, k.name) {
				t.Errorf("fault %q: the check %s does not see it", fault, k.name)
			} else if err != nil && len(names) == 1 && k.name == names[0] {
				t.Logf("fault %q: %s: %.200s", fault, k.name, err)
			}
		}
	}
	for name, tc := range map[string]struct {
		check  string
		change func(*Case)
	}{
		"an option that JSON loses": {"json", func(c *Case) { c.New = func() stillhouse.Stage { return &toy{Max: 3, Loose: 2} } }},
		"rows held after an error":  {"emitter_fails", func(c *Case) { c.New = func() stillhouse.Stage { return &last{Forgetful: true} } }},
		"another account":           {"account", func(c *Case) { c.Account.Kept-- }},
		"another output":            {"schema", func(c *Case) { c.Output = stillhouse.SampleSchema }},
		"bad input that is taken":   {"schema", func(c *Case) { c.BadInput = append(c.BadInput, stillhouse.ScoredSchema) }},
		"a need that is not there":  {"columns", func(c *Case) { c.Needs = append(c.Needs, "reward") }},
		"one row": {"any_split", func(c *Case) {
			c.Input = func(mem memory.Allocator) arrow.RecordBatch {
				rows := prompts(mem)
				defer rows.Release()
				return rows.NewSlice(0, 1)
			}
		}},
	} {
		c := good()
		tc.change(&c)
		for _, k := range checks {
			if k.name == tc.check && c.hold(k) == nil {
				t.Errorf("%s: the check %s does not see it", name, k.name)
			}
		}
	}
}
