package filter

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"stillhouse"
	"stillhouse/internal/options"
)

// Filter applies its rules to every row, in their order, until one drops it.
//
// In and out: SampleSchema, with any columns beside it. A row is dropped for the first rule that says so; the reason is
// the rule's kind, the detail what it saw. Rules that compare rows (exact, minhash, per_prompt) hold a row against the
// earlier rows that were kept, so that the first of several stays.
type Filter struct {
	Rules []RuleEntry `yaml:"rules" json:"rules" doc:"The rules, in the order in which they are applied, each {KIND: {OPTIONS}} or only its kind."`

	ready []Rule // since Begin
}

var _ stillhouse.Ordered = (*Filter)(nil)

// Name is filter.
func (f *Filter) Name() string { return "filter" }

// EnsureDefaults fills in the defaults of every rule.
func (f *Filter) EnsureDefaults() {
	for i := range f.Rules {
		f.Rules[i].EnsureDefaults()
	}
}

// Validate is an Invalid error that names the rule and the option that is wrong. No rules are fine.
func (f *Filter) Validate() error {
	for i := range f.Rules {
		if err := options.Under(fmt.Sprintf("rules[%d]", i), f.Rules[i].Validate()); err != nil {
			return err
		}
	}
	return nil
}

// Begin makes the rules anew, so that none remembers a row.
func (f *Filter) Begin() error {
	f.EnsureDefaults()
	if err := f.Validate(); err != nil {
		return err
	}
	f.ready = make([]Rule, len(f.Rules))
	for i, e := range f.Rules {
		r, err := e.Options.New()
		if err != nil {
			return err
		}
		f.ready[i] = r
	}
	return nil
}

// Schema is what comes in: a row is kept as it is. Preference pairs pass where there is no rule: the rules look at samples.
func (f *Filter) Schema(in *arrow.Schema) (*arrow.Schema, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if pairs(in) {
		if len(f.Rules) > 0 {
			return nil, stillhouse.Invalidf("the rows are preference pairs, and the rules look at samples: take the rules out, or select samples")
		}
		return in, stillhouse.RequireRows(in, stillhouse.PairSchema)
	}
	return in, stillhouse.RequireRows(in, stillhouse.SampleSchema)
}

// pairs says whether rows are preference pairs.
func pairs(in *arrow.Schema) bool { return in.HasField("chosen") && in.HasField("rejected") }

// Process applies the rules to the rows of a batch.
func (f *Filter) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	if f.ready == nil && len(f.Rules) > 0 {
		if err := f.Begin(); err != nil {
			return err
		}
	}
	if len(f.Rules) == 0 && pairs(batch.Schema()) {
		if batch.NumRows() == 0 {
			return nil
		}
		batch.Retain()
		return out.Emit(batch)
	}
	rows, err := stillhouse.Samples(batch)
	if err != nil {
		return err
	}
	var kept []int
	for i, row := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		reason, detail := f.judge(row)
		if reason == "" {
			kept = append(kept, i)
			continue
		}
		b := batch.NewSlice(int64(i), int64(i+1))
		err := out.Drop(b, reason, detail)
		b.Release()
		if err != nil {
			return err
		}
	}
	if len(kept) == 0 {
		return nil
	}
	b, err := stillhouse.Rows(out.Allocator(), batch, kept)
	if err != nil {
		return err
	}
	return out.Emit(b)
}

// judge asks the rules about a row and, when none drops it, tells all of them that it is kept.
func (f *Filter) judge(row stillhouse.Sample) (reason, detail string) {
	for i, r := range f.ready {
		if detail, drop := r.Judge(row); drop {
			return f.Rules[i].Kind, detail
		}
	}
	for _, r := range f.ready {
		r.Keep(row)
	}
	return "", ""
}

// stateless is embedded by rules that remember nothing.
type stateless struct{}

func (stateless) Keep(stillhouse.Sample) {}
