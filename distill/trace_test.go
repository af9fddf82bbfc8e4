package distill

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"stillhouse/internal/testkit"
)

// traced runs a stage on three prompts, of which one is refused once and one for good, and returns the spans.
func traced(t *testing.T, content bool) (spans tracetest.SpanStubs, teacher *testkit.Teacher) {
	t.Helper()
	t.Setenv("MY_KEY", planted)
	teacher = testkit.StartTeacher(t, &testkit.Teacher{Key: planted, Fault: func(c testkit.Call) *testkit.Fault {
		switch {
		case c.Prompt() == question(1) && c.Nth == 0:
			return testkit.Status(429, "", "")
		case c.Prompt() == question(2):
			return &testkit.Fault{Status: 400, Body: `{"error":{"message":"cannot answer What is 2 + 2? with %KEY%"}}`}
		}
		return nil
	}})
	exporter := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(exporter))
	d := newStage(t, teacher, func(d *Distill) {
		d.Samples, d.APIKeyEnv, d.TopP = Exactly(2), new("MY_KEY"), new(0.5)
		d.Join(quarter)
		d.Trace(provider.Tracer("test"), content)
	})
	mustRun(t, d, questions(3))
	return exporter.GetSpans(), teacher
}

func TestSpans(t *testing.T) {
	spans, teacher := traced(t, false)
	prompts := map[trace.SpanID]string{}
	var got []string
	for _, s := range spans {
		if s.Name == "prompt" {
			a := attribute.NewSet(s.Attributes...)
			id, _ := a.Value("stillhouse.prompt_id")
			prompts[s.SpanContext.SpanID()] = id.AsString()
			assert.False(t, s.Parent.IsValid())
			got = append(got, fmt.Sprint(id.AsString(), " prompt ", values(a, "stillhouse.samples.asked", "stillhouse.samples.stored", "stillhouse.samples.failed", "stillhouse.samples.unasked")))
		}
	}
	parents := map[string]bool{}
	for _, s := range spans {
		if s.Name == "prompt" {
			continue
		}
		a := attribute.NewSet(s.Attributes...)
		assert.Equal(t, "chat m", s.Name)
		assert.Equal(t, trace.SpanKindClient, s.SpanKind)
		got = append(got, fmt.Sprint(prompts[s.Parent.SpanID()], " chat ", s.Status.Code, " ",
			values(a, "gen_ai.operation.name", "gen_ai.request.model", "gen_ai.request.choice.count", "gen_ai.request.max_tokens", "gen_ai.request.top_p", "server.address",
				"http.response.status_code", "error.type", "gen_ai.usage.input_tokens", "gen_ai.response.finish_reasons")))
		parents[fmt.Sprintf("00-%s-%s-01", s.SpanContext.TraceID(), s.SpanContext.SpanID())] = true
	}
	shared := "[chat m 2 40 0.5 127.0.0.1 "
	want := []string{
		"p0 prompt [2 0 0 0]", "p1 prompt [2 0 0 0]", "p2 prompt [0 0 2 0]",
		"p0 chat Unset " + shared + "200 - 9 [stop stop]]",
		"p1 chat Error " + shared + "429 429 - -]", "p1 chat Unset " + shared + "200 - 9 [stop stop]]",
		"p2 chat Error " + shared + "400 400 - -]",
	}
	got = slices.DeleteFunc(got, func(s string) bool { // whether it is n that is refused, where no other prompt has shown that yet
		return s == "p2 chat Error "+strings.Replace(shared, " 2 ", " 1 ", 1)+"400 400 - -]"
	})
	slices.Sort(want)
	slices.Sort(got)
	assert.Empty(t, cmp.Diff(want, got))
	for _, c := range teacher.Calls() {
		assert.True(t, parents[c.Header.Get("Traceparent")], "the endpoint is told the span of its request: %v", c.Header)
	}
}

// values are those of some attributes, - for one that is not there.
func values(a attribute.Set, names ...attribute.Key) []any {
	var out []any
	for _, name := range names {
		if v, ok := a.Value(name); ok {
			out = append(out, v.AsInterface())
		} else {
			out = append(out, "-")
		}
	}
	return out
}

// Spans hold no key, and what was said only where that is asked for.
func TestWhatSpansDoNotHold(t *testing.T) {
	for _, content := range []bool{false, true} {
		spans, _ := traced(t, content)
		text := fmt.Sprintf("%+v", spans)
		for _, s := range spans {
			for _, a := range s.Attributes {
				text += a.Value.String()
			}
		}
		assert.NotContains(t, text, planted)
		for _, said := range []string{`{"role":"user","parts":[{"type":"text","content":"What is 0 + 0?"}]}`, "cannot answer What is 2 + 2?", `"finish_reason":"stop"`} {
			assert.Equal(t, content, strings.Contains(text, said), "content %t: %s", content, said)
		}
	}
}

// Without a tracer nothing is told, to the endpoint neither.
func TestNoSpansUnasked(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	mustRun(t, newStage(t, teacher), questions(2))
	require.Len(t, teacher.Calls(), 2)
	for _, c := range teacher.Calls() {
		assert.Empty(t, c.Header.Get("Traceparent"))
	}
}
