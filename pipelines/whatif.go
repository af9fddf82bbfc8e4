package pipelines

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/internal/rundir"
)

// WhatIfOptions say what is tried on a run's scored candidates.
type WhatIfOptions struct {
	Selects      []curate.Select // by default [Grid]
	TrainingTime bool            // whether the time of a training is estimated, which takes seconds to measure
}

// WhatIf is what selections would keep of a run's candidates.
type WhatIf struct {
	Run        string  `json:"run"`
	Prompts    int     `json:"prompts"`
	Candidates int     `json:"candidates"`
	Tries      []Tried `json:"selections"`
	Note       string  `json:"note,omitempty"` // why the time of a training is not there

	pace *trainingPace
}

// Tried is one selection.
type Tried struct {
	Select string `json:"select"` // as the config has it, on one line
	curate.Outcome
	TrainingSeconds float64 `json:"training_seconds,omitempty"` // 0 where it is not estimated, and for pairs
}

// TryIf tries selections on the scored candidates of a run. It writes nothing, and reads of the shards no more than the columns that the
// selections look at, a shard at a time for each processor.
func TryIf(ctx context.Context, dir string, o WhatIfOptions) (*WhatIf, error) {
	c, d, err := scoredRun(dir)
	if err != nil {
		return nil, err
	}
	if o.Selects == nil {
		o.Selects = Grid(c)
	}
	for i := range o.Selects {
		if err := c.checkSelect(&o.Selects[i]); err != nil {
			return nil, err
		}
	}
	trials, w, err := tryAll(ctx, d, o.Selects, c.fair())
	if err != nil {
		return nil, err
	}
	w.Run = d.Path()
	if o.TrainingTime {
		w.pace, err = c.pace(ctx, d, trials)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil: // the table is worth more than its last column
			w.Note = fmt.Sprintf("The time of a training is not estimated: %v", err)
		}
	}
	for _, t := range trials {
		text, err := selectText(t.Select)
		if err != nil {
			return nil, err
		}
		tried := Tried{Select: text, Outcome: t.Outcome()}
		tried.TrainingSeconds = w.pace.seconds(tried, t.Select)
		w.Tries = append(w.Tries, tried)
	}
	return w, nil
}

// scoredRun opens a run whose candidates are scored to the end, to look at it.
func scoredRun(dir string) (*Config, *rundir.Dir, error) {
	c, err := Load(dir + "/" + rundir.ConfigFile)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no run: %w", dir, err)
	}
	d, err := rundir.View(dir, rundir.Options{Fanout: c.fanout()})
	if err != nil {
		return nil, nil, err
	}
	done, err := d.Finished("curate")
	if err == nil && !done {
		err = stillhouse.Invalidf("run %s has not scored all its candidates yet: let `stillhouse run` finish that first", dir)
	}
	return c, d, err
}

// checkSelect fills in the defaults of another selection for this run, and is an error when it cannot be.
func (c *Config) checkSelect(s *curate.Select) error {
	other := *c
	other.Curate.Select = *s
	other.Train, other.Eval, other.Filter = nil, nil, nil
	other.EnsureDefaults()
	*s = other.Curate.Select
	return other.Validate()
}

// Grid are the selections that are tried where none is named: the run's own, and one or two of each policy that can be for this run and
// needs no final answers, which take long to read.
func Grid(c *Config) []curate.Select {
	floor := c.Curate.Select.MinReward
	right := c.Curate.Select.Right
	all := []curate.Select{
		c.Curate.Select,
		{Best: 1}, {Best: 1, MinReward: floor}, {Best: 2, MinReward: floor}, {Best: 4, MinReward: floor},
		{Policy: curate.PolicyThreshold, MinReward: floor},
		{Policy: curate.PolicyRightDistinct, Best: 4, Right: right},
		{Policy: curate.PolicyRightDistinct, Best: 4, Right: right, Band: []float64{0.1, 0.9}},
		{Policy: curate.PolicyShortestRight, Right: right},
		{Policy: curate.PolicyShortestRight, Right: right, Band: []float64{0.1, 0.9}},
		{Policy: curate.PolicySoftmax, MinReward: floor},
		{Policy: curate.PolicyPairs},
	}
	var out []curate.Select
	var texts []string
	for _, s := range all {
		if c.checkSelect(&s) != nil || c.Candidates == nil && s.Best > c.Distill.Samples.Max && s.Policy == "" {
			continue
		}
		if text, err := selectText(s); err == nil && !slices.Contains(texts, text) {
			out, texts = append(out, s), append(texts, text)
		}
	}
	return out
}

// tryAll tries selections on all scored candidates.
func tryAll(ctx context.Context, d *rundir.Dir, selects []curate.Select, first int) ([]*curate.Trial, *WhatIf, error) {
	files, err := d.Files("scored")
	if err != nil {
		return nil, nil, err
	}
	fresh := func() (out []*curate.Trial) {
		for _, s := range selects {
			out = append(out, curate.NewTrial(s, first))
		}
		return out
	}
	shards := make([][]*curate.Trial, len(files))
	counts := make([][2]int, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, file := range files {
		g.Go(func() (err error) {
			shards[i] = fresh()
			counts[i], err = tryShard(ctx, file, shards[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	sum, w := fresh(), &WhatIf{}
	for i, shard := range shards { // in their order: sums of floats depend on it
		for j, t := range shard {
			sum[j].Merge(t)
		}
		shards[i] = nil
		w.Prompts += counts[i][0]
		w.Candidates += counts[i][1]
	}
	return sum, w, nil
}

// tryShard adds the candidates of one shard to trials and counts its prompts and candidates.
func tryShard(ctx context.Context, file string, trials []*curate.Trial) (n [2]int, err error) {
	var paths, answers, shingles bool
	var rights []string
	for _, t := range trials {
		p, a := t.Select.Reads()
		paths, answers, shingles = paths || p, answers || a, shingles || t.Select.Similarity > 0
		if !slices.Contains(rights, t.Select.Right) {
			rights = append(rights, t.Select.Right)
		}
	}
	names := []string{"prompt_id", "sample", "prompt_tokens", "completion_tokens", "reward", "scores.name", "scores.verdict"}
	if paths {
		names = append(names, "reasoning")
	}
	if paths || answers {
		names = append(names, "completion.content")
	}
	batch, err := rundir.ReadLeaves(ctx, file, memory.DefaultAllocator, names...)
	if err != nil {
		return n, err
	}
	defer batch.Release()
	if batch.NumRows() == 0 {
		return n, nil
	}
	c, err := columnsOf(batch)
	if err != nil {
		return n, fmt.Errorf("%s: %w", file, err)
	}
	rows := make([]curate.Rated, 0, 64)
	var texts []string
	for from := 0; from < c.ids.Len(); {
		id := c.ids.Value(from)
		rows, texts = rows[:0], texts[:0]
		to := from
		for ; to < c.ids.Len() && c.ids.Value(to) == id; to++ {
			r := curate.Rated{Sample: c.samples.Value(to), Tokens: c.tokens.Value(to), Reward: c.rewards.Value(to)}
			if paths {
				r.Path = curate.PathOf(c.reasoned(to), c.text(to), shingles)
			}
			if answers {
				texts = append(texts, c.text(to))
			}
			rows = append(rows, r)
		}
		if answers {
			for i, a := range curate.Answers(texts) {
				rows[i].Answer = a
			}
		}
		for _, right := range rights {
			for i := range rows {
				rows[i].Right = c.verdict(from+i, right) == stillhouse.Right
			}
			for _, t := range trials {
				if t.Select.Right == right {
					t.Add(id, rows, c.asked.Value(from))
				}
			}
		}
		n[0]++
		n[1] += to - from
		from = to
	}
	return n, nil
}

// scoredColumns are the columns of scored candidates that selections look at.
type scoredColumns struct {
	ids, reasoning         *array.String // reasoning is nil where it isn't read
	samples, tokens, asked *array.Int32
	rewards                *array.Float64
	scores, completion     *array.List // completion is nil where it isn't read
	names, verdicts        *array.String
	contents               *array.String
}

func columnsOf(batch arrow.RecordBatch) (c scoredColumns, err error) {
	var ok [6]bool
	column := func(name string) arrow.Array {
		if at := batch.Schema().FieldIndices(name); len(at) == 1 {
			return batch.Column(at[0])
		}
		return nil
	}
	c.ids, ok[0] = column("prompt_id").(*array.String)
	c.samples, ok[1] = column("sample").(*array.Int32)
	c.tokens, ok[2] = column("completion_tokens").(*array.Int32)
	c.asked, ok[3] = column("prompt_tokens").(*array.Int32)
	c.rewards, ok[4] = column("reward").(*array.Float64)
	c.scores, ok[5] = column("scores").(*array.List)
	for i, name := range []string{"prompt_id", "sample", "completion_tokens", "prompt_tokens", "reward", "scores"} {
		if !ok[i] {
			return c, stillhouse.Invalidf("the column %q is missing or of another type", name)
		}
	}
	c.reasoning, _ = column("reasoning").(*array.String)
	field := func(l *array.List, name string) *array.String {
		if s, ok := l.ListValues().(*array.Struct); ok {
			if i, ok := s.DataType().(*arrow.StructType).FieldIdx(name); ok {
				v, _ := s.Field(i).(*array.String)
				return v
			}
		}
		return nil
	}
	if c.names, c.verdicts = field(c.scores, "name"), field(c.scores, "verdict"); c.names == nil || c.verdicts == nil {
		return c, stillhouse.Invalidf("the column \"scores\" has no names and verdicts")
	}
	if c.completion, _ = column("completion").(*array.List); c.completion != nil {
		if c.contents = field(c.completion, "content"); c.contents == nil {
			return c, stillhouse.Invalidf("the column \"completion\" has no content")
		}
	}
	return c, nil
}

// verdict is that of the reward with this name, of the first where it is empty.
func (c *scoredColumns) verdict(row int, name string) string {
	from, to := c.scores.ValueOffsets(row)
	for i := int(from); i < int(to); i++ {
		if name == "" || c.names.Value(i) == name {
			return c.verdicts.Value(i)
		}
	}
	return ""
}

func (c *scoredColumns) reasoned(row int) string {
	if c.reasoning == nil || c.reasoning.IsNull(row) {
		return ""
	}
	return c.reasoning.Value(row)
}

// text is the content of a completion's messages, joined by newlines.
func (c *scoredColumns) text(row int) (out string) {
	from, to := c.completion.ValueOffsets(row)
	for i := int(from); i < int(to); i++ {
		if i > int(from) {
			out += "\n"
		}
		out += c.contents.Value(i)
	}
	return out
}
