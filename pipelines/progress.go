package pipelines

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"stillhouse"
	"stillhouse/distill"
	"stillhouse/internal/metrics"
)

// How often a step that takes long is told of: on the bar, as a line of text where there is none, as an object of JSON.
const (
	everyBar  = 500 * time.Millisecond
	everyText = 30 * time.Second
	everyJSON = 5 * time.Second
)

// A watcher tells people and programs how far the asking is.
type watcher struct {
	ui       UI
	bar      *bar
	options  distill.Options
	endpoint *metrics.Endpoint // nil where no address is given

	told     time.Time
	requests int64 // at the time before
	before   time.Time
	rate     float64 // requests a second
}

// watch begins to tell of a stage. stop tells for the last time.
func (r *run) watch(stage *distill.Distill, b *bar) (stop func(), err error) {
	w := &watcher{ui: r.ui, bar: b, options: stage.Options, told: time.Now()}
	if address := stage.MetricsAddress; address != "" {
		if w.endpoint, err = metrics.Listen(address, r.config.Name); err != nil {
			return nil, stillhouse.Invalidf("distill.metrics_address: %w: set it to a free address", err)
		}
		r.ui.say("metrics at %s", w.endpoint.URL())
	}
	stage.OnWait(w.waits)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(everyBar)
		defer ticker.Stop()
		for {
			select {
			case now := <-ticker.C:
				w.tick(now, stage.Status(), false)
			case <-quit:
				w.tick(time.Now(), stage.Status(), true)
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		if w.endpoint != nil {
			if err := w.endpoint.Close(); err != nil {
				r.ui.say("%v", err)
			}
		}
	}, nil
}

// waits tells of a time in which nothing can be sent, so that no run stands still without a word, and of its end.
func (w *watcher) waits(at distill.Wait) {
	switch {
	case w.ui.Log != nil:
		w.ui.Log.Info("wait", "step", "distill", "endpoint", at.Endpoint, "why", at.Why, "until", at.Until, "over", at.Until.IsZero())
	case at.Until.IsZero():
		w.bar.say("%-8s going on", "distill")
	default:
		w.bar.say("%-8s waiting until %s: %s", "distill", at.Until.Format(time.TimeOnly), at.Why)
	}
}

// tick tells what it is time to tell.
func (w *watcher) tick(now time.Time, s distill.Status, last bool) {
	if !w.before.IsZero() && now.After(w.before) {
		fresh := float64(s.Requests-w.requests) / now.Sub(w.before).Seconds()
		if w.rate += (fresh - w.rate) * 0.2; w.rate < 0.01 {
			w.rate = 0
		}
	}
	w.requests, w.before = s.Requests, now
	if w.endpoint != nil {
		w.endpoint.Set(gauges(s))
	}
	switch {
	case w.bar.bar != nil:
		if !last {
			w.bar.bar.Describe("distill  " + w.brief(s))
		}
	case w.ui.Log != nil:
		if last || now.Sub(w.told) >= everyJSON {
			w.told = now
			w.ui.Log.Info("progress", w.fields(now, s)...)
		}
	default:
		if !last && now.Sub(w.told) >= everyText {
			w.told = now
			w.ui.say("%-8s %d of %d, %.1f requests/s, %s", "distill", w.bar.n.Load(), w.bar.total, w.rate, w.brief(s))
		}
	}
}

// brief is the state in a few words: how much is accepted, what it costs, how many requests are out, what goes wrong.
func (w *watcher) brief(s distill.Status) string {
	var parts []string
	if s.Judged > 0 {
		parts = append(parts, fmt.Sprintf("%d accepted (%s)", s.Accepted, percent(float64(s.Accepted)/float64(s.Judged))))
	}
	if t := w.options.Target.Accepted; t > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d rows", s.Rows, t))
	}
	if w.options.Prices.Known() {
		cost := "$" + dollars(s.Cost)
		if !math.IsNaN(s.CostEnd) {
			cost += ", about $" + dollars(s.CostEnd) + " at the end"
		}
		parts = append(parts, cost)
	}
	parts = append(parts, fmt.Sprintf("%d of %d in flight", s.InFlight, s.Concurrency))
	if s.PerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%.3g/s allowed", s.PerSecond))
	}
	if w := s.Waiting; !w.Until.IsZero() {
		parts = append(parts, fmt.Sprintf("waits until %s: %s", w.Until.Format(time.TimeOnly), w.Why))
	}
	if len(s.Retries) > 0 {
		parts = append(parts, "sent again: "+reasons(s.Retries))
	}
	if until := s.Waiting.Until; !until.IsZero() {
		parts = append(parts, "waiting until "+until.Format(time.TimeOnly))
	}
	return strings.Join(parts, ", ")
}

// dollars writes an amount with cents, or as many digits as it takes to see one.
func dollars(x float64) string {
	if x > 0 && x < 1 {
		return fmt.Sprintf("%.4f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// fields are the state for programs.
func (w *watcher) fields(now time.Time, s distill.Status) []any {
	f := []any{"step", "distill", "done", w.bar.n.Load(), "total", w.bar.total, "seconds", now.Sub(w.bar.start).Seconds(), "prompts", s.Prompts,
		"requests", s.Requests, "requests_per_s", math.Round(100*w.rate) / 100, "in_flight", s.InFlight, "concurrency", s.Concurrency, "per_second_allowed", s.PerSecond,
		"answers", s.Asked, "from_store", s.FromStore, "retries", s.Retries, "judged", s.Judged, "accepted", s.Accepted, "rows", s.Rows,
		"prompt_tokens", s.PromptTokens, "cached_tokens", s.CachedTokens, "completion_tokens", s.CompletionTokens, "reasoning_tokens", s.ReasoningTokens,
		"budget_spent", s.BudgetSpent, "target_reached", s.TargetReached}
	if w.options.Prices.Known() {
		f = append(f, "cost_dollars", s.Cost)
		if !math.IsNaN(s.CostEnd) {
			f = append(f, "cost_at_end_dollars", s.CostEnd)
		}
	}
	return f
}

// gauges are the state for Prometheus.
func gauges(s distill.Status) []metrics.Gauge {
	total := func(name, help string, v float64) metrics.Gauge {
		return metrics.Gauge{Name: "stillhouse_distill_" + name, Help: help, Total: true, Value: v}
	}
	now := func(name, help string, v float64) metrics.Gauge {
		return metrics.Gauge{Name: "stillhouse_distill_" + name, Help: help, Value: v}
	}
	list := []metrics.Gauge{
		total("requests_total", "Requests sent to the teacher, those sent again included.", float64(s.Requests)),
		total("answers_total", "Answers that came from the teacher.", float64(s.Asked)),
		total("stored_answers_total", "Answers that were in the response store.", float64(s.FromStore)),
		total("prompt_tokens_total", "Tokens of prompts paid for.", float64(s.PromptTokens)),
		total("cached_prompt_tokens_total", "Tokens of prompts that the endpoint had in its cache.", float64(s.CachedTokens)),
		total("completion_tokens_total", "Tokens of answers paid for.", float64(s.CompletionTokens)),
		total("judged_total", "Answers judged.", float64(s.Judged)),
		total("accepted_total", "Answers accepted.", float64(s.Accepted)),
		total("prompts_total", "Prompts decided.", float64(s.Prompts)),
		now("requests_in_flight", "Requests on their way.", float64(s.InFlight)),
		now("concurrency", "Requests that may be on their way.", float64(s.Concurrency)),
		now("requests_per_second_allowed", "Requests a second that the endpoints' limits let through, as far as they are known; 0 for no limit.", s.PerSecond),
		now("cost_dollars", "What the run has spent, by distill.prices.", s.Cost),
	}
	for _, kind := range slices.Sorted(maps.Keys(s.Retries)) {
		g := total("retries_total", "Requests sent again, by what went wrong.", float64(s.Retries[kind]))
		g.Label, g.Kind = "kind", kind
		list = append(list, g)
	}
	return list
}

// waits says what nothing can be sent for, where no bar says so, and that it is over.
func (u UI) waits(w distill.Wait) {
	over := w.Until.IsZero()
	switch {
	case u.Log != nil && over:
		u.Log.Info("waiting is over", "step", "distill")
	case u.Log != nil:
		u.Log.Warn("waiting", "step", "distill", "endpoint", w.Endpoint, "why", w.Why, "until", w.Until)
	case u.Terminal:
	case over:
		u.say("%-8s goes on", "distill")
	default:
		u.say("%-8s waits until %s: %s", "distill", w.Until.Format(time.TimeOnly), w.Why)
	}
}

// spent says why a run did not ask for everything.
func (u UI) spent(s distill.Status, o distill.Options) {
	switch {
	case s.TargetReached:
		u.say("%-8s the target is reached: %d rows are accepted", "distill", s.Rows)
	case s.BudgetSpent:
		over := ""
		if o.Budget.Over(s.Counters, o.Prices) != "" {
			over = fmt.Sprintf(" (%s, with %d requests that were in flight)", o.Budget.Over(s.Counters, o.Prices), s.Late)
		}
		u.say("%-8s the budget is spent%s: raise distill.budget and run again to go on from here", "distill", over)
	}
}
