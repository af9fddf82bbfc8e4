package curate

import (
	"context"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"stillhouse"
)

// Select keeps candidates of each prompt by a policy, as training rows or as preference pairs.
//
// In: ScoredSchema, the candidates of a prompt side by side. Out: SampleSchema, of pairs PairSchema, and after it the
// columns that it does not know; a prompt's rows in the policy's order. A candidate is dropped because
//
//   - out_of_band: the share of right candidates of its prompt is not in the band;
//   - no_acceptable_candidate: no candidate of its prompt is what the policy keeps;
//   - below_minimum: it does not reach the minimum, though another one does;
//   - unscored: its reward is not a number (a reward timed out or failed), though another candidate is acceptable;
//   - not_best, not_shortest, not_drawn: it is acceptable, but others come first;
//   - not_right, not_distinct: it is not right, or is right in the way of one that is kept;
//   - not_majority: it does not answer as most do;
//   - no_pair: its prompt makes no pair; not_paired: it is in none; rejected: it is the rejected side of the pair kept.
//
// So the books of pairs balance too: a pair is the chosen candidate's row, and the rejected one's is dropped.
type Select struct {
	Policy              string    `yaml:"policy,omitempty" json:"policy,omitempty" doc:"best, threshold, right_distinct, shortest_right, majority, softmax or pairs; by default best. See docs/curate.md."`
	Best                int       `yaml:"best,omitempty" json:"best,omitempty" doc:"How many candidates of a prompt are kept at most: by default 1, of right_distinct 4, of threshold all."`
	MinReward           *float64  `yaml:"min_reward" json:"min_reward" doc:"The lowest weighted reward that is kept; null keeps any. With math of weight 1 and rewards that can only add to it, 1 means that the answer is right."`
	Right               string    `yaml:"right,omitempty" json:"right,omitempty" doc:"The name of the reward whose verdict says what right means; by default the first."`
	Band                []float64 `yaml:"band,omitempty,flow" json:"band,omitempty" doc:"The least and the greatest share of right candidates, such as [0.1, 0.9]: prompts outside are left out, those that are too hard or too easy."`
	Similarity          float64   `yaml:"similarity,omitempty" json:"similarity,omitempty" default:"-" doc:"Of right_distinct: the Jaccard similarity of the sets of three words in a row from which two candidates are alike, above 0; without it only the same text is."`
	Temperature         float64   `yaml:"temperature,omitempty" json:"temperature,omitempty" default:"-" doc:"Of softmax: a candidate's chance is proportional to exp(reward / temperature); by default 1."`
	Seed                int64     `yaml:"seed,omitempty" json:"seed,omitempty" doc:"Of softmax: what is drawn follows from it and the prompt's id."`
	Margin              float64   `yaml:"margin,omitempty" json:"margin,omitempty" default:"-" doc:"Of pairs: by how much the rewards of a pair differ at least; they always differ."`
	MaxLengthDifference *int      `yaml:"max_length_difference,omitempty" json:"max_length_difference,omitempty" doc:"Of pairs: by how many completion tokens a pair differs at most; without it by any."`
}

var _ stillhouse.Stage = (*Select)(nil)

// Name is curate.
func (s *Select) Name() string { return "curate" }

// Schema is SampleSchema, or PairSchema, and the columns that scored rows don't have.
func (s *Select) Schema(in *arrow.Schema) (*arrow.Schema, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if err := stillhouse.RequireRows(in, stillhouse.ScoredSchema); err != nil {
		return nil, err
	}
	var fields []arrow.Field
	for _, c := range s.columns(in) {
		f := c.Field
		if c.at >= 0 { // as the files have it
			f.Type, f.Nullable, f.Metadata = in.Field(c.at).Type, in.Field(c.at).Nullable, in.Field(c.at).Metadata
		}
		fields = append(fields, f)
	}
	meta := in.Metadata()
	return arrow.NewSchema(fields, &meta), nil
}

// A column is one that comes out.
type column struct {
	arrow.Field
	at       int  // the place of its values in the scored schema; -1 for one that can be null and is not there
	rejected bool // they are those of a pair's rejected candidate
}

// columns are those that come out, in their order, and where in a scored schema they come from.
func (s *Select) columns(in *arrow.Schema) (out []column) {
	schema := stillhouse.SampleSchema
	if s.policy() == PolicyPairs {
		schema = stillhouse.PairSchema
	}
	for _, f := range schema.Fields() {
		c := column{Field: f, at: -1}
		source := f.Name
		if schema == stillhouse.PairSchema {
			source, c.rejected = sideOf(f.Name)
		}
		if there := in.FieldIndices(source); len(there) > 0 {
			c.at = there[0]
		}
		out = append(out, c)
	}
	for i, f := range in.Fields() {
		if !stillhouse.ScoredSchema.HasField(f.Name) && !schema.HasField(f.Name) {
			out = append(out, column{Field: f, at: i})
		}
	}
	return out
}

// sideOf is the column of a scored candidate that a column of a pair comes from, and whether it is the rejected one's.
func sideOf(name string) (source string, rejected bool) {
	for _, side := range []string{"chosen", "rejected"} {
		switch {
		case name == side:
			return "completion", side == "rejected"
		case name == "score_"+side:
			return "reward", side == "rejected"
		case strings.HasPrefix(name, side+"_"):
			return strings.TrimPrefix(name, side+"_"), side == "rejected"
		}
	}
	return name, false
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
	var kept, rejected []int
	for from := 0; from < len(rows); {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := samePrompt(rows, from)
		c := s.Choose(rows[from:to])
		for _, i := range c.Kept {
			kept = append(kept, from+i)
		}
		if c.Rejected >= 0 {
			rejected = append(rejected, from+c.Rejected)
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
	sides := make([]arrow.RecordBatch, 0, 2)
	for _, rows := range [][]int{kept, rejected} {
		side, err := stillhouse.Rows(out.Allocator(), batch, rows)
		if err != nil {
			return err
		}
		defer side.Release()
		sides = append(sides, side)
	}
	var cols []arrow.Array
	for i, c := range s.columns(batch.Schema()) {
		if c.at < 0 {
			none := array.MakeArrayOfNull(out.Allocator(), schema.Field(i).Type, len(kept))
			defer none.Release()
			cols = append(cols, none)
			continue
		}
		side := sides[0]
		if c.rejected {
			side = sides[1]
		}
		cols = append(cols, side.Column(c.at))
	}
	return out.Emit(array.NewRecordBatch(schema, cols, int64(len(kept))))
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
