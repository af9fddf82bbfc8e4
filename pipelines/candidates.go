package pipelines

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/curate/candidates"
	"stillhouse/distill/prompts"
	"stillhouse/filter"
	"stillhouse/internal/options"
	"stillhouse/internal/rundir"
	"stillhouse/train"
)

// validateInput checks the blocks that say what a run begins with: prompts and a teacher, or candidates.
func (c *Config) validateInput() error {
	if c.Candidates == nil {
		if len(c.Prompts.Path) == 0 && c.Prompts.Grow == nil && c.Distill.Endpoint == "" {
			return options.Wrongf("prompts", "is missing: say where the prompts are and who answers them, in prompts and distill; or where answers are that are there already, in candidates")
		}
		if err := options.Under("prompts", c.Prompts.Validate()); err != nil {
			return err
		}
		return options.Under("distill", c.Distill.Validate())
	}
	if !reflect.ValueOf(c.Prompts).IsZero() || !reflect.ValueOf(c.Distill).IsZero() {
		return options.Wrongf("candidates", "cannot be beside prompts and distill, in whose place they stand: take one of them out")
	}
	return options.Under("candidates", c.Candidates.Validate())
}

// steps are those of the run, in order.
func (c *Config) steps() []string {
	return slices.DeleteFunc(slices.Clone(rundir.Steps), func(s string) bool {
		return (s == "candidates") != (c.Candidates != nil) && slices.Contains([]string{"candidates", "prompts", "distill"}, s)
	})
}

// checkCandidates reads all candidates once, so that a row that cannot be used costs nothing later.
func (c *Config) checkCandidates(ctx context.Context) (s candidates.Summary, err error) {
	score, choose := c.Curate.Stages()
	if _, err := stillhouse.Check(stillhouse.CandidateSchema, score, choose, &filter.Filter{Rules: c.Filter}); err != nil {
		return s, err
	}
	if err := c.checkRewards(score); err != nil {
		return s, err
	}
	if s, err = candidates.Scan(ctx, *c.Candidates, nil); err != nil {
		return s, err
	}
	c.Notes = []string{"candidates.path: " + s.String()}
	if names := score.NeedsReference(); len(names) > 0 && s.Unreferenced > 0 {
		if s.Unreferenced == s.Account.Kept {
			return s, options.Wrongf("candidates.reference", "is missing: reward %q compares with it, and none of the %d candidates has a right answer with it: name its column", names[0], s.Account.Kept)
		}
		c.Notes = append(c.Notes, fmt.Sprintf("candidates.reference: %d of the %d candidates have no right answer, and reward %q compares with one", s.Unreferenced, s.Account.Kept, names[0]))
	}
	return s, c.checkProblems(ctx)
}

// candidates lays down the candidates of the config's files as shards. A run that goes on must find the same ones.
func (r *run) candidates(ctx context.Context) error {
	w := &candidateShards{run: r}
	s, err := candidates.Scan(ctx, *r.config.Candidates, func(items []candidates.Item) error { return w.add(ctx, items) })
	if err == nil {
		err = w.close(ctx)
	}
	if err != nil {
		return err
	}
	r.ui.say("%-8s %d rows in, %d kept%s", "candidates", s.Account.In, s.Account.Kept, lost(s.Account))
	return r.problems(ctx)
}

// shardBytes is how much text a shard of candidates holds, about: long answers make shards of fewer prompts. It is part of
// the run's format, as shardPrompts is.
var shardBytes = 64 << 20

// candidateShards writes candidates as shards, those of one prompt in one.
type candidateShards struct {
	run *run

	n, prompts, bytes int // shards so far, and what is in the next one
	rows              []stillhouse.Candidate
	failed, bad       []candidates.Item
}

const candidatesStage = "candidates"

func (w *candidateShards) add(ctx context.Context, items []candidates.Item) error {
	if w.prompts == shardPrompts || w.bytes >= shardBytes {
		if err := w.put(ctx); err != nil {
			return err
		}
	}
	w.prompts++
	for _, it := range items {
		switch {
		case it.Failed():
			w.failed = append(w.failed, it)
		case it.Reason != "":
			w.bad = append(w.bad, it)
		default:
			w.rows = append(w.rows, it.Candidate)
		}
		w.bytes += len(it.Text()) + len(it.Prompt.Prompt)*16
		for _, m := range it.Prompt.Prompt {
			w.bytes += len(m.Content)
		}
		if it.Reasoning != nil {
			w.bytes += len(*it.Reasoning)
		}
	}
	return nil
}

// close writes the last shard. What an earlier run wrote after it is there no more.
func (w *candidateShards) close(ctx context.Context) error {
	if err := w.put(ctx); err != nil {
		return err
	}
	files, err := w.run.dir.Files("candidates")
	if err == nil && len(files) > w.n {
		return w.differs()
	}
	return err
}

func (w *candidateShards) differs() error {
	return stillhouse.Invalidf("%s is not what it was when run %s began: give the run another name, or begin again with --from candidates", w.run.config.Candidates.Path, w.run.dir.Path())
}

// put writes a shard, or compares it with the one that is there.
func (w *candidateShards) put(ctx context.Context) error {
	shard := stillhouse.Shard{Kept: stillhouse.CandidateBatch(memory.DefaultAllocator, w.rows), Failed: leftOut(w.failed), Dropped: leftOut(w.bad)}
	defer shard.Kept.Release()
	defer releaseLeft(shard)
	shard.Account = stillhouse.Account{In: int64(len(w.rows) + len(w.failed) + len(w.bad)), Kept: int64(len(w.rows)), Failed: reasonsOf(w.failed), Dropped: reasonsOf(w.bad)}
	i := w.n
	*w = candidateShards{run: w.run, n: w.n + 1}
	sink := w.run.dir.Sink("candidates", candidatesStage)
	if _, done, err := sink.Done(i); err != nil {
		return err
	} else if !done {
		return sink.Write(ctx, i, shard)
	}
	was, err := rundir.ReadParquet(ctx, w.run.dir.Path("candidates", fmt.Sprintf("part-%05d.parquet", i)), memory.DefaultAllocator)
	if err != nil {
		return err
	}
	defer was.Release()
	if !array.RecordEqual(was, shard.Kept) {
		return w.differs()
	}
	return nil
}

func reasonsOf(items []candidates.Item) map[string]int64 {
	out := map[string]int64{}
	for _, it := range items {
		out[it.Reason]++
	}
	return out
}

// leftOut are rows that are no candidates, as far as they are known, with their reasons. An unknown sample is -1.
func leftOut(items []candidates.Item) arrow.RecordBatch {
	if len(items) == 0 {
		return nil
	}
	rows := make([]stillhouse.Candidate, len(items))
	stage, reason, detail := array.NewStringBuilder(memory.DefaultAllocator), array.NewStringBuilder(memory.DefaultAllocator), array.NewStringBuilder(memory.DefaultAllocator)
	for i, it := range items {
		rows[i] = it.Candidate
		stage.Append(candidatesStage)
		reason.Append(it.Reason)
		detail.Append(it.Place + ": " + it.Detail)
	}
	known := stillhouse.CandidateBatch(memory.DefaultAllocator, rows)
	defer known.Release()
	cols := slices.Clone(known.Columns())
	for _, b := range []*array.StringBuilder{stage, reason, detail} {
		c := b.NewArray()
		defer c.Release()
		b.Release()
		cols = append(cols, c)
	}
	return array.NewRecordBatch(stillhouse.DropSchema(stillhouse.CandidateSchema), cols, int64(len(items)))
}

// A CurationPlan is what a run would do with candidates that are there, at most: what the rewards say of them is not known.
type CurationPlan struct {
	Run        string           `json:"run"`
	Formats    []string         `json:"formats"` // what the files were read as
	Prompts    int64            `json:"prompts"`
	Candidates int64            `json:"candidates"`
	Failed     map[string]int64 `json:"failed"`  // rows that are no candidates, by what they lack
	Skipped    int64            `json:"skipped"` // rows that cannot be read
	Student    string           `json:"student,omitempty"`
	Training   *ArmsPlan        `json:"training,omitempty"`
	Problems   int              `json:"eval_problems,omitempty"`
	EvalAsked  int              `json:"eval_answers,omitempty"`

	notes []string
}

// planCuration checks a config as a run would and says what the run would do.
func planCuration(ctx context.Context, c *Config, o PlanOptions) (*CurationPlan, error) {
	s, err := c.checkCandidates(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.checkStudent(ctx); err != nil {
		return nil, err
	}
	p := &CurationPlan{Run: c.Name, Formats: s.Formats, Prompts: s.Prompts, Candidates: s.Account.Kept, Failed: s.Account.Failed, Skipped: count(s.Account.Dropped), notes: c.Notes}
	if c.Train != nil {
		p.Student = c.Train.Student
		if p.Training, err = c.planCandidates(ctx, s, o.Runs); err != nil {
			return nil, err
		}
	}
	if e := c.Eval; e != nil {
		problems, err := prompts.Scan(ctx, prompts.Options{Rows: e.Rows}, prompts.Sink{})
		if err != nil {
			return nil, err
		}
		p.Problems = int(problems.Account.Kept)
		p.EvalAsked = p.Problems * (e.Samples + 1) * len(e.Arms)
	}
	return p, nil
}

// planCandidates plans the trainings, as if every prompt yielded the rows that the selection allows, each with the longest
// answer that there is, or, where the answers' tokens are not all known, the longest that may be.
func (c *Config) planCandidates(ctx context.Context, s candidates.Summary, runs string) (*ArmsPlan, error) {
	o := train.PlanOptions{Dir: filepath.Join(runs, c.Name, "student"), Answers: min(c.Curate.Select.Best, s.Samples)}
	if s.Uncounted == 0 {
		o.Answer = int(s.Longest)
	}
	return c.planTrainings(ctx, int(s.Prompts), o, func(visit func(stillhouse.Prompt) error) error {
		_, err := candidates.Scan(ctx, *c.Candidates, func(items []candidates.Item) error {
			if i := slices.IndexFunc(items, func(it candidates.Item) bool { return it.Reason == "" }); i >= 0 {
				return visit(items[i].Candidate.Prompt)
			}
			return nil
		})
		return err
	})
}

// WriteText writes a plan for people.
func (p *CurationPlan) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s: %d candidates of %d prompts", p.Run, p.Candidates, p.Prompts)
	if n := count(p.Failed); n > 0 {
		fmt.Fprintf(w, ", and %d rows that are none (%s)", n, reasons(p.Failed))
	}
	if p.Skipped > 0 {
		fmt.Fprintf(w, " (%d rows skipped)", p.Skipped)
	}
	fmt.Fprintln(w, ". Nobody is asked.")
	for _, note := range p.notes {
		fmt.Fprintln(w, note)
	}
	if p.Training != nil {
		writeArms(w, p.Student, p.Training)
	}
	if p.Problems > 0 {
		fmt.Fprintf(w, "Ask %d held-out problems: %d answers of the students.\n", p.Problems, p.EvalAsked)
	}
	return nil
}
