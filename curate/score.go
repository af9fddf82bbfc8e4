package curate

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/curate/reward"
	"stillhouse/internal/options"
)

// Score asks every reward about every candidate.
//
// In: CandidateSchema. Out: the same rows and columns, and after them reward and scores (ScoredSchema). No row is
// dropped: choosing is [Select]'s.
//
// A candidate's reward is what its scores come to by Combine, by default the sum of weight × score. A timeout and an
// error have a score that is not a number (NaN), and so is then the reward, unless it is certain without them: such a
// candidate is never selected, which is not the same as being worth nothing.
type Score struct {
	Rewards []reward.Entry `yaml:"rewards" json:"rewards" doc:"The rewards, each {KIND: {OPTIONS}} or only its kind."`
	Combine Combination    `yaml:"combine" json:"combine" doc:"How the scores become one reward."`

	mu    sync.Mutex
	panel *panel // since the first batch
	cache Cache

	outside Outside
}

var _ stillhouse.Stage = (*Score)(nil)

// Name is score.
func (s *Score) Name() string { return "score" }

// EnsureDefaults fills in the defaults of every reward, and weights.
func (s *Score) EnsureDefaults() {
	if s.Combine == "" {
		s.Combine = Weights
	}
	for i := range s.Rewards {
		s.Rewards[i].EnsureDefaults()
	}
}

// Validate is an Invalid error when there is no reward, when two have one name, or when a weight cannot matter.
func (s *Score) Validate() error {
	if len(s.Rewards) == 0 {
		return options.Wrongf("rewards", "is empty: name one, such as rewards: [math]; there are %s", strings.Join(reward.Names(), ", "))
	}
	seen, before := map[string]bool{}, []string{}
	for i, e := range s.Rewards {
		if e.Name == "" {
			e.Name = e.Kind
		}
		key := fmt.Sprintf("rewards[%d]", i)
		if err := options.Under(key, e.Validate()); err != nil {
			return err
		}
		if seen[e.Name] {
			return options.Wrongf(key, "is named %q, as another one is: give it a name of its own, such as {%s: {name: %s2}}", e.Name, e.Kind, e.Name)
		}
		if f, ok := e.Options.(reward.Following); ok {
			if err := options.Under(key+"."+e.Kind, f.ValidateAfter(before)); err != nil {
				return err
			}
		}
		seen[e.Name], before = true, append(before, e.Name)
	}
	return s.Combine.check(s.Rewards)
}

// NeedsReference lists the rewards that compare with the prompt's reference answer.
func (s *Score) NeedsReference() (names []string) {
	for _, e := range s.Rewards {
		s, err := newScorer(e) // which nothing is started for
		if c, ok := s.Reward.(reward.Comparer); err == nil && ok && c.NeedsReference() {
			names = append(names, s.name)
		}
	}
	return names
}

// Traits are what a run must know of its rewards before it asks for anything.
type Traits struct {
	Groups []string // rewards that judge the candidates of a prompt together
	Kept   []string // rewards whose scores are kept in a [Cache]: to ask them costs more than to look them up
}

// Traits makes every reward once, so that one that can't be made, for want of a program or a key, is an error here.
func (s *Score) Traits() (t Traits, err error) {
	p, err := newPanel(s.Rewards)
	if err != nil {
		return t, err
	}
	for _, r := range p.scorers {
		if _, ok := r.Reward.(reward.Group); ok {
			t.Groups = append(t.Groups, r.name)
		}
		if r.cached {
			t.Kept = append(t.Kept, r.name)
		}
	}
	return t, p.Close()
}

// Use gives the stage the cache where scores are kept that are worth it. It is called before the first batch.
func (s *Score) Use(c Cache) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache = c
}

// AskThrough gives the stage the way to the models and servers that its rewards ask. It is called before the first batch.
func (s *Score) AskThrough(out Outside) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outside = out
}

// Warnings are what people should know of the rewards before they are asked.
func (s *Score) Warnings() (said []string) {
	for _, e := range s.Rewards {
		if w, ok := e.Options.(reward.Risky); ok && w.Warning() != "" {
			said = append(said, fmt.Sprintf("reward %q: %s", e.Name, w.Warning()))
		}
	}
	return said
}

// Schema adds reward and scores to the columns of a candidate.
func (s *Score) Schema(in *arrow.Schema) (*arrow.Schema, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if names := s.NeedsReference(); len(names) > 0 && len(in.FieldIndices("reference")) == 0 {
		return nil, stillhouse.Invalidf("reward %q compares with a reference answer, and there is no column \"reference\": name the column that holds it under prompts.reference, or leave the reward out", names[0])
	}
	if err := stillhouse.RequireRows(in, stillhouse.CandidateSchema); err != nil {
		return nil, err
	}
	fields := in.Fields()
	for _, name := range []string{"reward", "scores"} {
		if len(in.FieldIndices(name)) > 0 {
			return nil, stillhouse.Invalidf("column %q is there already: these rows have been scored, score the candidates instead", name)
		}
		f, _ := stillhouse.ScoredSchema.FieldsByName(name)
		fields = append(fields, f...)
	}
	meta := in.Metadata()
	return arrow.NewSchema(fields, &meta), nil
}

// open makes the rewards, once.
func (s *Score) open() (*panel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.panel != nil {
		return s.panel, nil
	}
	p, err := newPanel(s.Rewards)
	if err != nil {
		return nil, err
	}
	p.combine = s.Combine
	p.use(s.cache)
	p.askThrough(s.outside)
	s.panel = p
	return p, nil
}

// Ask has candidates scored outside of any batch: a score for each of them and each reward. The candidates of a prompt
// stand side by side and come in one call where a reward is a [reward.Group].
func (s *Score) Ask(ctx context.Context, candidates []stillhouse.Candidate) ([][]stillhouse.Score, error) {
	p, err := s.open()
	if err != nil {
		return nil, err
	}
	return p.ask(ctx, candidates)
}

// Close ends what the rewards have started.
func (s *Score) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.panel == nil {
		return nil
	}
	p := s.panel
	s.panel = nil
	return p.Close()
}

// Process scores the rows of a batch, several at a time.
func (s *Score) Process(ctx context.Context, batch arrow.RecordBatch, out stillhouse.Emitter) error {
	if batch.NumRows() == 0 {
		return nil
	}
	schema, err := s.Schema(batch.Schema())
	if err != nil {
		return err
	}
	candidates, err := stillhouse.Candidates(batch)
	if err != nil {
		return err
	}
	for i, c := range candidates {
		if c.ID == "" {
			return stillhouse.Invalidf("row %d of a batch has no prompt_id, which says what candidates it is chosen from: give each prompt one", i+1)
		}
	}
	p, err := s.open()
	if err != nil {
		return err
	}
	scores, err := p.ask(ctx, candidates)
	if err != nil {
		return err
	}
	cols := append([]arrow.Array{}, batch.Columns()...)
	rewards, list := columns(out.Allocator(), p, scores)
	defer rewards.Release()
	defer list.Release()
	out.Tick(len(candidates))
	return out.Emit(array.NewRecordBatch(schema, append(cols, rewards, list), batch.NumRows()))
}

// columns makes the columns reward and scores.
func columns(mem memory.Allocator, p *panel, scores [][]stillhouse.Score) (rewards, list arrow.Array) {
	rb := array.NewFloat64Builder(mem)
	defer rb.Release()
	lb := array.NewListBuilder(mem, stillhouse.ScoreType)
	defer lb.Release()
	sb := lb.ValueBuilder().(*array.StructBuilder)
	for _, row := range scores {
		rb.Append(p.reward(row))
		lb.Append(true)
		for _, s := range row {
			sb.Append(true)
			sb.FieldBuilder(0).(*array.StringBuilder).Append(s.Name)
			sb.FieldBuilder(1).(*array.Float64Builder).Append(s.Score)
			sb.FieldBuilder(2).(*array.StringBuilder).Append(s.Verdict)
			sb.FieldBuilder(3).(*array.StringBuilder).Append(s.Evidence)
		}
	}
	return rb.NewArray(), lb.NewArray()
}
