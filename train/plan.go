package train

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"stillhouse"
	"stillhouse/internal/hub"
	"stillhouse/internal/options"
	"stillhouse/internal/student"
)

// PlanOptions say how a training is planned.
type PlanOptions struct {
	Dir      string                               // of the student, whose disk is measured; "" measures none
	Progress func(file string, done, total int64) // of downloads; may be nil

	Prompts []Row // trained on in place of train.data, though their answers are not there yet
	Answers int   // of each prompt
	Answer  int   // tokens of an answer at most; 0 is what max_length leaves
}

// PlanTraining says what [Run] would do with these options, without loading the model's weights. Where prompts are given,
// it says what it would do at most.
func PlanTraining(ctx context.Context, o Options, p PlanOptions) (f Forecast, err error) {
	began := time.Now()
	o.EnsureDefaults()
	if err := options.Under("train", o.Validate()); err != nil {
		return f, err
	}
	var list []Row
	if p.Prompts == nil {
		if list, err = o.ReadRows(ctx); err != nil {
			return f, err
		}
	}
	s, err := unloaded(ctx, o, p.Progress)
	if err != nil {
		return f, err
	}
	defer s.Tokenizer.Close()
	enc, err := NewEncoder(o, s.Tokenizer)
	if err != nil {
		return f, err
	}
	var examples []Example
	var account stillhouse.Account
	asked := 0
	if p.Prompts == nil {
		asked = len(o.Questions)
		examples, account, err = enc.EncodeRows(ctx, list)
	} else {
		examples, err = enc.bounds(ctx, p, s.Model.Config.MaxPositionEmbeddings)
	}
	if err != nil {
		return f, err
	}
	rows, eval, err := s.sides(ctx, examples)
	if err != nil {
		return f, err
	}
	g := Training{Options: o, Model: s.Model, Rows: rows, Eval: eval, dir: p.Dir, asked: asked, bound: p.Prompts != nil}
	debug.FreeOSMemory()
	if f, err = g.Forecast(false); err != nil {
		return f, err
	}
	for _, n := range account.Dropped {
		f.Dropped += n
	}
	if err := g.Pace(&f); err != nil {
		return f, err
	}
	loading := student.MeasureDrawing(s.Model.Config)
	if !o.FromScratch {
		if loading, err = student.MeasureLoading(s.Dir, s.Model.Config); err != nil {
			return f, fmt.Errorf("student: %w", err)
		}
	}
	f.Times.Start = time.Since(began).Seconds() + loading // a training reads its rows and measures as this has
	f.Seconds = f.Times.Sum()
	return f, nil
}

// unloaded is a student without its weights.
func unloaded(ctx context.Context, o Options, progress func(file string, done, total int64)) (*Student, error) {
	dir, err := hub.Resolve(ctx, o.Student, hub.Options{Progress: progress})
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	c, err := student.ReadConfig(dir)
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	s := &Student{Dir: dir, Options: o, Model: &student.Model{Config: c, Params: student.Layout(c)}}
	if o.PEFT != nil {
		if s.Model.Adapter, err = o.PEFT.blank(ctx, s.Model, progress); err != nil {
			return nil, fmt.Errorf("peft: %w", err)
		}
	}
	if s.Tokenizer, err = LoadTokenizer(dir, o); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	return s, nil
}

// blank is the adapter of a training, with or without its weights: to measure with.
func (p PEFT) blank(ctx context.Context, m *student.Model, progress func(file string, done, total int64)) (*student.Adapter, error) {
	if p.InitAdapter != "" {
		return p.stored(ctx, progress)
	}
	c, err := p.config(student.AdapterConfig{TargetModules: defaultTargets})
	if err != nil {
		return nil, err
	}
	return student.BlankAdapter(c, m)
}

// bounds are rows as long as the answers to prompts may become: the prompt as the student is asked it, and an answer of
// so many tokens with the marks that end a turn, cut to max_length as rows are.
func (e *Encoder) bounds(ctx context.Context, p PlanOptions, positions int) (out []Example, err error) {
	const marks = 4
	limit := *e.o.MaxLength
	if limit == 0 {
		limit = positions
	}
	for _, r := range p.Prompts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		head, err := e.template(r, r.Prompt, true)
		if err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
		whole := limit
		if p.Answer > 0 {
			whole = min(limit, len(head)+p.Answer+marks)
		}
		x := Example{Row: r.Name, Tokens: slices.Grow(head, max(0, whole-len(head)))[:whole], Labels: make([]int32, whole)}
		for i := range whole {
			if x.Labels[i] = student.Ignored; i >= len(head) {
				x.Tokens[i], x.Labels[i] = e.eosID, e.eosID
			}
		}
		for range p.Answers {
			if e.keeps(x) {
				out = append(out, x)
			}
		}
	}
	if len(out) == 0 {
		return nil, stillhouse.Invalidf("train: none of the %d prompts leaves room for an answer: raise max_length", len(p.Prompts))
	}
	return out, nil
}
