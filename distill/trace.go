package distill

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"stillhouse"
	"stillhouse/internal/conversation"
)

// spans makes a trace of each prompt: a span for the prompt, below it one for each request, those that failed among
// them. Their names are those of OpenTelemetry's conventions for generative AI, version 1.37. They hold no key, and what
// was said only where that is asked for: an endpoint's error can quote a prompt, so that its text counts as such.
//
// nil makes none.
type spans struct {
	tracer  trace.Tracer
	content bool
	shared  []attribute.KeyValue // of all requests
}

// Trace has a span made for each prompt and each request. content says whether they hold prompts and answers. It is
// called before Open.
func (d *Distill) Trace(tracer trace.Tracer, content bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spans = &spans{tracer: tracer, content: content}
}

// of makes the spans of one configuration.
func (s *spans) of(o *Options) *spans {
	if s == nil {
		return nil
	}
	a := []attribute.KeyValue{attribute.String("gen_ai.operation.name", "chat"), attribute.String("gen_ai.provider.name", "openai"),
		attribute.String("gen_ai.request.model", o.Model), attribute.Float64("gen_ai.request.temperature", *o.Temperature)}
	if o.TopP != nil {
		a = append(a, attribute.Float64("gen_ai.request.top_p", *o.TopP))
	}
	if o.MaxTokens > 0 {
		a = append(a, attribute.Int("gen_ai.request.max_tokens", o.MaxTokens))
	}
	if len(o.Stop) > 0 {
		a = append(a, attribute.StringSlice("gen_ai.request.stop_sequences", o.Stop))
	}
	return &spans{tracer: s.tracer, content: s.content, shared: a}
}

// prompt begins the trace of a prompt; end is told what became of its samples, and of an error that ends the run.
func (s *spans) prompt(ctx context.Context, p stillhouse.Prompt) (_ context.Context, end func(out []outcome, accepted int, err error)) {
	if s == nil {
		return ctx, func([]outcome, int, error) {}
	}
	ctx, span := s.tracer.Start(ctx, "prompt", trace.WithNewRoot(), trace.WithAttributes(attribute.String("stillhouse.prompt_id", p.ID)))
	return ctx, func(out []outcome, accepted int, err error) {
		counts := map[string]int{}
		for _, o := range out {
			switch {
			case o.failed != nil:
				counts["failed"]++
			case o.unasked != "":
				counts["unasked"]++
			case o.fresh:
				counts["asked"]++
			default:
				counts["stored"]++
			}
		}
		for _, what := range []string{"asked", "stored", "failed", "unasked"} {
			span.SetAttributes(attribute.Int("stillhouse.samples."+what, counts[what]))
		}
		span.SetAttributes(attribute.Int("stillhouse.samples.accepted", accepted))
		if err != nil {
			span.SetStatus(codes.Error, stillhouse.KindOf(err).String())
		}
		span.End()
	}
}

// request begins the span of one request to an endpoint for n samples of a query from the given one on.
func (s *spans) request(ctx context.Context, e *endpoint, q *query, from, n int) (_ context.Context, end func(t *trip, r *reply, err error)) {
	if s == nil {
		return ctx, func(*trip, *reply, error) {}
	}
	a := append(s.shared[:len(s.shared):len(s.shared)], attribute.Int("gen_ai.request.choice.count", n), attribute.Int("stillhouse.sample", from))
	if u, err := url.Parse(e.url); err == nil {
		a = append(a, attribute.String("server.address", u.Hostname()))
		if port, err := strconv.Atoi(u.Port()); err == nil {
			a = append(a, attribute.Int("server.port", port))
		}
	}
	if seed, ok := q.seed(from); ok {
		a = append(a, attribute.Int64("gen_ai.request.seed", seed))
	}
	v := q.variants[q.variantOf(from)]
	if s.content {
		a = append(a, attribute.String("gen_ai.input.messages", said(conversation.WithSystem(v.system, q.prompt.Prompt), nil)))
	}
	model, _ := v.fields["model"].(string)
	ctx, span := s.tracer.Start(ctx, "chat "+model, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(a...))
	return ctx, func(t *trip, r *reply, err error) {
		defer span.End()
		if t != nil && t.status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", t.status))
		}
		if err != nil {
			kind, text := "cancelled", ""
			if f, ok := err.(*failure); ok {
				kind = f.kind
				if s.content {
					text = f.message
				}
			}
			span.SetAttributes(attribute.String("error.type", kind))
			span.SetStatus(codes.Error, text)
			return
		}
		span.SetAttributes(s.answers(r)...)
	}
}

// answers are the attributes of what came.
func (s *spans) answers(r *reply) []attribute.KeyValue {
	a := []attribute.KeyValue{attribute.Int64("gen_ai.usage.input_tokens", r.promptTokens), attribute.Int64("gen_ai.usage.output_tokens", r.completionTokens)}
	if r.cachedTokens > 0 {
		a = append(a, attribute.Int64("gen_ai.usage.cache_read.input_tokens", r.cachedTokens))
	}
	var ends []string
	var texts []stillhouse.Message
	for i, answer := range r.answers {
		if i == 0 && answer.Model != "" {
			a = append(a, attribute.String("gen_ai.response.model", answer.Model))
		}
		ends = append(ends, answer.FinishReason)
		texts = append(texts, stillhouse.Message{Role: "assistant", Content: answer.Content})
	}
	a = append(a, attribute.StringSlice("gen_ai.response.finish_reasons", ends))
	if s.content {
		a = append(a, attribute.String("gen_ai.output.messages", said(texts, ends)))
	}
	return a
}

// said writes messages in the form of the conventions.
func said(ms []stillhouse.Message, ends []string) string {
	type part struct {
		Type    string `json:"type"`
		Content string `json:"content"`
	}
	type message struct {
		Role         string `json:"role"`
		Parts        []part `json:"parts"`
		FinishReason string `json:"finish_reason,omitempty"`
	}
	out := make([]message, len(ms))
	for i, m := range ms {
		out[i] = message{Role: m.Role, Parts: []part{{"text", m.Content}}}
		if ends != nil {
			out[i].FinishReason = ends[i]
		}
	}
	text, err := json.Marshal(out)
	if err != nil { // strings always marshal
		return ""
	}
	return string(text)
}

// inject tells the endpoint which span its request belongs to, so that a server that makes spans itself puts them below.
func inject(ctx context.Context, h http.Header) {
	if trace.SpanContextFromContext(ctx).IsValid() {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
	}
}
