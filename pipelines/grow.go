package pipelines

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/distill"
	"stillhouse/distill/grow"
	"stillhouse/distill/prompts"
	"stillhouse/internal/chat"
	"stillhouse/internal/hub"
	"stillhouse/internal/options"
)

// PromptsOptions are the block `prompts:` of a run: those that files hold, and those that are grown of them.
type PromptsOptions struct {
	prompts.Options `yaml:",inline"`

	Grow *grow.Options `yaml:"grow,omitempty" json:"grow,omitempty" doc:"Prompts that the teacher makes, beside those of path."`
}

// EnsureDefaults fills in what was left out.
func (o *PromptsOptions) EnsureDefaults() {
	o.Options.EnsureDefaults()
	if o.Grow != nil {
		o.Grow.EnsureDefaults()
	}
}

// fromNothing says whether there are no prompts but those that are grown, of nothing.
func (o *PromptsOptions) fromNothing() bool {
	return len(o.Path) == 0 && o.Grow != nil && o.Grow.Method == grow.Magpie
}

// Validate names the first key whose value cannot be.
func (o *PromptsOptions) Validate() error {
	if !o.fromNothing() {
		if err := o.Options.Validate(); err != nil {
			return err
		}
	}
	if o.Grow == nil {
		return nil
	}
	return options.Under("grow", o.Grow.Validate())
}

// checkGrowth checks what grown prompts need of the rest of the config.
func (c *Config) checkGrowth(score *curate.Score) error {
	if c.Prompts.Grow == nil {
		return nil
	}
	if names := score.NeedsReference(); len(names) > 0 {
		return options.Wrongf("prompts.grow", "makes prompts without a right answer, and reward %q compares with one: take one of them out", names[0])
	}
	return nil
}

// grower is a teacher, asked by way of the stage that asks it for answers.
type grower struct{ stage *distill.Distill }

func (g grower) Ask(ctx context.Context, r grow.Request) ([]grow.Answer, error) {
	items, err := g.stage.Ask(ctx, distill.Question{Messages: r.Messages, Text: r.Text, First: r.First, Samples: r.Samples, Seed: r.Seed,
		Temperature: r.Temperature, TopP: r.TopP, MaxTokens: r.MaxTokens, Stop: r.Stop, ExtraBody: r.ExtraBody})
	if err != nil {
		return nil, err
	}
	out := make([]grow.Answer, len(items))
	for i, it := range items {
		out[i] = grow.Answer{Text: it.Content, Truncated: it.Truncated(), Key: it.Key.String(), Err: it.Failed}
	}
	return out, nil
}

// grow makes prompts of the teacher and hands them on.
func (r *run) grow(ctx context.Context, seeds []stillhouse.Prompt, w *promptShards) (err error) {
	o := *r.config.Prompts.Grow
	if err := readTemplate(ctx, &o); err != nil {
		return fmt.Errorf("prompts.grow.tokenizer: %w", err)
	}
	teacher := r.config.Distill
	if teacher.Endpoint == distill.Embedded {
		t, err := serveTeacher(ctx, &teacher)
		if err != nil {
			return err
		}
		defer t.Close()
	}
	teacher.Samples, teacher.Target = distill.Exactly(1), distill.Target{} // which are of the prompts' answers
	book, err := distill.OpenBook(r.dir.Path(requestsFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, book.Close()) }()
	stage := &distill.Distill{Options: teacher}
	stage.Remember(book)
	if err := stage.Open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	before := stage.Requests().FromStore
	b := r.ui.bar("grow", o.Target)
	grown, err := grow.Grow(ctx, o, seeds, grower{stage}, grow.Sink{
		Prompt: func(p stillhouse.Prompt) error { b.tick(1); return w.keep(ctx, p) },
		Bad:    w.drop,
	})
	if errors.Is(err, distill.ErrBudgetSpent) {
		err = stillhouse.Invalidf("%w when %d of %d prompts were grown: raise distill.budget and run again to go on there, or lower prompts.grow.target", err, grown.Account.Kept, o.Target)
	}
	if err != nil {
		b.clear()
		return failed(ctx, err)
	}
	asked := stage.Requests()
	b.done(grown.Account)
	r.ui.say("%-8s %d requests, %d answers from the response store", "grow", grown.Requests, asked.FromStore-before)
	if grown.Stopped != "" {
		r.ui.say("%-8s ended before %d prompts: %s", "grow", o.Target, grown.Stopped)
	}
	return nil
}

// readTemplate reads from the teacher's chat template what stands before and after a user's turn.
func readTemplate(ctx context.Context, o *grow.Options) error {
	if o.Tokenizer == "" {
		return nil
	}
	dir, err := hub.Resolve(ctx, o.Tokenizer, hub.Options{NoWeights: true})
	if err != nil {
		return err
	}
	t, err := chat.Load(dir)
	if err != nil {
		return err
	}
	defer t.Close()
	before, after, err := aroundUser(t, o.System)
	if err == nil {
		o.SetTemplate(before, after)
	}
	return err
}

// aroundUser renders a conversation of a user's turn and cuts it out. The beginning-of-sequence token is left out, since
// servers put it before a text themselves. What comes after the turn is what ends it, up to the end of the line.
func aroundUser(t *chat.Tokenizer, system string) (before, after string, err error) {
	if !t.HasTemplate() {
		return "", "", stillhouse.Invalidf("there is no chat template: name an instruction-tuned model, or give prompts.grow.pre_query")
	}
	const mark = "STILLHOUSE-USER-TURN"
	ms := []chat.Message{{Role: "user", Content: mark}}
	if system != "" {
		ms = append([]chat.Message{{Role: "system", Content: system}}, ms...)
	}
	text, err := t.Render(ms, chat.RenderOptions{})
	if err != nil {
		return "", "", err
	}
	before, after, ok := strings.Cut(text, mark)
	if !ok || strings.TrimSpace(before) == "" {
		return "", "", stillhouse.Invalidf("the chat template puts nothing before a user's turn: give prompts.grow.pre_query")
	}
	if bos, ok := t.BOS(); ok {
		before = strings.TrimPrefix(before, t.Token(bos))
	}
	after, _, _ = strings.Cut(strings.TrimSpace(after), "\n")
	return before, after, nil
}
