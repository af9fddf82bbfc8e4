package curate

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"stillhouse"
	"stillhouse/internal/options"
)

// Select keeps the best candidates of each prompt as training rows.
//
// In: ScoredSchema, the candidates of a prompt side by side. Out: SampleSchema, and after it the columns that it does
// not know; a prompt's rows from best to worst (see [BestOrder]). A candidate is dropped because
//
//   - no_acceptable_candidate: no candidate of its prompt reaches the minimum;
//   - below_minimum: it does not, though another one does;
//   - unscored: its reward is not a number (a reward timed out or failed), though another candidate is acceptable;
//   - not_best: it is acceptable, but others are better.
type Select struct {
	Best      int      `yaml:"best" json:"best" doc:"How many candidates of a prompt are kept at most."`
	MinReward *float64 `yaml:"min_reward" json:"min_reward" doc:"The lowest weighted reward that is kept; null keeps any. With math of weight 1 and rewards that can only add to it, 1 means that the answer is right."`
}

var _ stillhouse.Stage = (*Select)(nil)

// Name is curate.
func (s *Select) Name() string { return "curate" }

// EnsureDefaults sets best to 1.
func (s *Select) EnsureDefaults() {
	if s.Best == 0 {
		s.Best = 1
	}
}

// Validate is an Invalid error that names the option that is wrong.
func (s *Select) Validate() error {
	if s.Best < 0 {
		return options.Wrongf("best", "is %d: it must be 1 or more", s.Best)
	}
	if m := s.MinReward; m != nil && (math.IsNaN(*m) || math.IsInf(*m, 0)) {
		return options.Wrongf("min_reward", "is %v: it must be a finite number, or null to keep any", *m)
	}
	return nil
}

// A Choice is what became of the candidates of one prompt, by their place.
type Choice struct {
	Kept    []int // from best to worst
	Dropped []Drop
}

// A Drop is candidates that were dropped for one reason.
type Drop struct {
	Rows           []int
	Reason, Detail string
}

// Choose selects among the scored candidates of one prompt. It is a pure function of them.
func (s *Select) Choose(rows []stillhouse.Scored) Choice {
	if len(rows) == 0 {
		return Choice{}
	}
	o := *s
	o.EnsureDefaults()
	floor := math.Inf(-1)
	if o.MinReward != nil {
		floor = *o.MinReward
	}
	rated := rate(rows)
	c := Choice{Kept: BestOfK(rated, o.Best, floor)}
	if len(c.Kept) == 0 {
		all := make([]int, len(rows))
		for i := range all {
			all[i] = i
		}
		c.Dropped = []Drop{{all, "no_acceptable_candidate", o.none(rows, rated)}}
		return c
	}
	var notBest, below, unscored []int
	kept := map[int]bool{}
	for _, i := range c.Kept {
		kept[i] = true
	}
	for i, r := range rated {
		switch {
		case kept[i]:
		case math.IsNaN(r.Reward):
			unscored = append(unscored, i)
		case r.Reward < floor:
			below = append(below, i)
		default:
			notBest = append(notBest, i)
		}
	}
	best := rows[c.Kept[0]]
	for _, d := range []Drop{
		{notBest, "not_best", fmt.Sprintf("kept %d of %d, the best is sample %d with reward %.6g in %d tokens", len(c.Kept), len(rows), best.Sample, best.Reward, best.CompletionTokens)},
		{below, "below_minimum", fmt.Sprintf("reward is below min_reward %.6g", floor)},
		{unscored, "unscored", "reward is not a number: a reward timed out or failed, see scores"},
	} {
		if len(d.Rows) > 0 {
			c.Dropped = append(c.Dropped, d)
		}
	}
	return c
}

// none says why no candidate of a prompt is acceptable: the best reward there was, and what its scores say.
func (s *Select) none(rows []stillhouse.Scored, rated []Rated) string {
	order := BestOrder(rated)
	if len(order) == 0 {
		return fmt.Sprintf("none of %d candidates has a reward that is a number: %s", len(rows), reasons(rows[0]))
	}
	best := rows[order[0]]
	return fmt.Sprintf("the best of %d candidates, sample %d, has reward %.6g, below min_reward %.6g: %s", len(rows), best.Sample, best.Reward, *s.MinReward, reasons(best))
}

// reasons writes out the scores of a candidate.
func reasons(row stillhouse.Scored) string {
	parts := make([]string, len(row.Scores))
	for i, x := range row.Scores {
		parts[i] = fmt.Sprintf("%s %s (%s)", x.Name, x.Verdict, x.Evidence)
	}
	return strings.Join(parts, ", ")
}

func rate(rows []stillhouse.Scored) []Rated {
	out := make([]Rated, len(rows))
	for i, r := range rows {
		out[i] = Rated{Sample: r.Sample, Tokens: r.CompletionTokens, Reward: r.Reward}
	}
	return out
}

// Schema is SampleSchema and the columns that scored rows don't have.
func (s *Select) Schema(in *arrow.Schema) (*arrow.Schema, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if err := stillhouse.RequireRows(in, stillhouse.ScoredSchema); err != nil {
		return nil, err
	}
	var fields []arrow.Field
	for i, at := range sampleColumns(in) {
		if at < 0 {
			fields = append(fields, stillhouse.SampleSchema.Field(i))
			continue
		}
		fields = append(fields, in.Field(at))
	}
	meta := in.Metadata()
	return arrow.NewSchema(fields, &meta), nil
}

// sampleColumns are the places in a scored schema of the columns that come out, in their order: first those of
// SampleSchema, of which it may lack some that can be null (-1).
func sampleColumns(in *arrow.Schema) (at []int) {
	for _, f := range stillhouse.SampleSchema.Fields() {
		place := -1
		if there := in.FieldIndices(f.Name); len(there) > 0 {
			place = there[0]
		}
		at = append(at, place)
	}
	for i, f := range in.Fields() {
		if !stillhouse.ScoredSchema.HasField(f.Name) {
			at = append(at, i)
		}
	}
	return at
}

// Process selects among the candidates of every prompt of a batch.
func (s *Select) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	if batch.NumRows() == 0 {
		return nil
	}
	schema, err := s.Schema(batch.Schema())
	if err != nil {
		return err
	}
	rows, err := stillhouse.ScoredRows(batch)
	if err != nil {
		return err
	}
	var kept []int
	for from := 0; from < len(rows); {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := samePrompt(rows, from)
		c := s.Choose(rows[from:to])
		for _, i := range c.Kept {
			kept = append(kept, from+i)
		}
		for _, d := range c.Dropped {
			for i := range d.Rows {
				d.Rows[i] += from
			}
			if err := drop(batch, d, out); err != nil {
				return err
			}
		}
		from = to
	}
	if len(kept) == 0 {
		return nil
	}
	chosen, err := stillhouse.Rows(out.Allocator(), batch, kept)
	if err != nil {
		return err
	}
	defer chosen.Release()
	var cols []arrow.Array
	for i, at := range sampleColumns(batch.Schema()) {
		if at < 0 {
			none := array.MakeArrayOfNull(out.Allocator(), schema.Field(i).Type, int(chosen.NumRows()))
			defer none.Release()
			cols = append(cols, none)
			continue
		}
		cols = append(cols, chosen.Column(at))
	}
	return out.Emit(array.NewRecordBatch(schema, cols, chosen.NumRows()))
}

func drop(batch arrow.RecordBatch, d Drop, out stillhouse.Emitter) error {
	rows, err := stillhouse.Rows(out.Allocator(), batch, d.Rows)
	if err != nil {
		return err
	}
	defer rows.Release()
	return out.Drop(rows, d.Reason, d.Detail)
}

// samePrompt is the end of the rows from from on that have one prompt.
func samePrompt(rows []stillhouse.Scored, from int) int {
	to := from + 1
	for to < len(rows) && rows[to].ID == rows[from].ID {
		to++
	}
	return to
}
