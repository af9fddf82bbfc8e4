package pipelines

import (
	"context"
	"errors"
	"fmt"
	"io"

	"stillhouse"
	"stillhouse/distill"
	"stillhouse/distill/prompts"
)

// forecast reads the prompts and says what asking the teacher for their answers would take; of grown ones, which are not
// there yet, it says nothing. Nobody but the response store is asked.
func (c *Config) forecast(ctx context.Context) (f distill.Forecast, read prompts.Summary, err error) {
	o := c.Distill
	if o.Endpoint == distill.Embedded { // whose answers are stored by what it is, not by its address
		m, err := loadWeights(ctx, embedded(o.Model))
		if err != nil {
			return f, read, fmt.Errorf("distill.model: %w", err)
		}
		defer m.Close()
		if o.Identity, err = fingerprint(m.dir, m.adapter); err != nil {
			return f, read, err
		}
	}
	var who distill.Judge
	if c.Distill.Samples.Adaptive() {
		judge, end, err := c.judge(ctx)
		if err != nil {
			return f, read, err
		}
		defer func() { err = errors.Join(err, end()) }()
		judge.Recall()
		who = judge
	}
	sum, err := distill.NewForecaster(ctx, o, who)
	if err != nil {
		return f, read, err
	}
	defer sum.Close()
	asked := c.Prompts.Grow == nil || *c.Prompts.Grow.KeepSeeds
	read, err = c.scan(ctx, prompts.Sink{Prompt: func(p stillhouse.Prompt) error {
		if !asked {
			return nil
		}
		return sum.Add(ctx, p)
	}})
	if err != nil {
		return f, read, err
	}
	f, err = sum.Forecast(ctx)
	return f, read, err
}

// writeForecast writes what asking would take for people.
func writeForecast(w io.Writer, f distill.Forecast, o distill.Options) {
	fmt.Fprintf(w, "Ask %s at %s for %s answers: %d are in the response store and cost nothing, %s are to be asked for, in %s requests", o.Model, o.Endpoint, span(f.Answers),
		f.Stored, span(f.ToAsk), span(f.Requests))
	if f.Requests.Least < f.Requests.Most {
		fmt.Fprint(w, " (the fewer, the more answers the endpoint gives at a time")
		if o.Samples.Adaptive() {
			fmt.Fprint(w, ", and the sooner enough are accepted")
		}
		fmt.Fprint(w, ")")
	}
	fmt.Fprintln(w, ".")
	if f.ToAsk.Most > 0 {
		fmt.Fprintf(w, "That is about %s prompt tokens", span(f.PromptTokens))
		if f.TokensPerAnswer > 0 {
			fmt.Fprintf(w, " and %s completion tokens, at %.0f an answer (%s)", span(f.CompletionTokens), f.TokensPerAnswer, f.PerAnswerOf)
		} else {
			fmt.Fprint(w, "; nothing is known of the answers' length yet")
		}
		if d := f.Dollars; d != nil && dollars(d.Least) == dollars(d.Most) {
			fmt.Fprintf(w, ": about $%s", dollars(d.Most))
		} else if d != nil {
			fmt.Fprintf(w, ": $%s to $%s", dollars(d.Least), dollars(d.Most))
		}
		fmt.Fprintln(w, ".")
	}
	if n := o.Target.Accepted; n > 0 {
		fmt.Fprintf(w, "It ends before that when %d rows are accepted.\n", n)
	}
	if o.Budget != (distill.Budget{}) {
		fmt.Fprintf(w, "It ends before that when the budget is spent: %s.\n", budgetText(o.Budget, distill.Counters{}, o.Prices))
	}
}

func span(s distill.Span) string {
	if s.Least == s.Most {
		return fmt.Sprint(s.Most)
	}
	return fmt.Sprintf("%d to %d", s.Least, s.Most)
}
