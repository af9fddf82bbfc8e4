package traces

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// unset clears what the machine's environment may ask for.
func unset(t *testing.T) {
	for _, name := range []string{"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
		"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"} {
		t.Setenv(name, "")
	}
}

func TestAsked(t *testing.T) {
	for env, want := range map[string]string{
		"":                            "off",
		"OTEL_TRACES_EXPORTER=none":   "off",
		"OTEL_TRACES_EXPORTER=otlp":   "on",
		"OTEL_TRACES_EXPORTER=zipkin": `OTEL_TRACES_EXPORTER is "zipkin": traces can be sent by otlp`,
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318":                                                           "on",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://localhost:4318/v1/traces":                                          "on",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 OTEL_TRACES_EXPORTER=none":                                 "off",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 OTEL_SDK_DISABLED=true":                                    "off",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                          `OTEL_EXPORTER_OTLP_PROTOCOL is "grpc": traces can be sent by http/protobuf`,
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                                                                            "off",
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf":                                         "on",
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json":                                      `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is "http/json"`,
		"OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf": "on",
	} {
		vars := map[string]string{}
		for _, pair := range strings.Fields(env) {
			name, value, _ := strings.Cut(pair, "=")
			vars[name] = value
		}
		on, err := asked(func(name string) string { return vars[name] })
		got := map[bool]string{true: "on", false: "off"}[on]
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, not %s", env, got, want)
		}
	}
}

// A sink is an OTLP collector.
type sink struct {
	mu     sync.Mutex
	status int
	spans  []string // their names, after that of their service
	keys   []string // the header that came with each request
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	var q collector.ExportTraceServiceRequest
	if r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &q) != nil {
		s.status = http.StatusBadRequest
	}
	s.keys = append(s.keys, r.Header.Get("X-Key"))
	for _, rs := range q.ResourceSpans {
		service := ""
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, ss := range rs.ScopeSpans {
			for _, span := range ss.Spans {
				s.spans = append(s.spans, service+" "+span.Name)
			}
		}
	}
	w.WriteHeader(s.status)
}

func TestSpansAreSent(t *testing.T) {
	for _, service := range []string{"", "mine"} {
		unset(t)
		s := &sink{status: http.StatusOK}
		server := httptest.NewServer(s)
		defer server.Close()
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
		t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
		t.Setenv("OTEL_SERVICE_NAME", service)
		tr, err := Start(t.Context())
		if err != nil || tr == nil {
			t.Fatal(tr, err)
		}
		ctx, outer := tr.Tracer().Start(context.Background(), "prompt")
		_, inner := tr.Tracer().Start(ctx, "chat")
		inner.End()
		outer.End()
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
		want := "stillhouse"
		if service != "" {
			want = service
		}
		if got := strings.Join(s.spans, ", "); got != want+" chat, "+want+" prompt" {
			t.Errorf("%q came", got)
		}
		if len(s.keys) == 0 || s.keys[0] != "secret" {
			t.Errorf("the headers are %v", s.keys)
		}
	}
}

// A collector that refuses is told of once, when the work is done.
func TestSpansThatCannotBeSent(t *testing.T) {
	unset(t)
	server := httptest.NewServer(&sink{status: http.StatusForbidden})
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", server.URL+"/v1/traces")
	tr, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, span := tr.Tracer().Start(context.Background(), "chat")
	span.End()
	if err := tr.Close(); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("the error is %v", err)
	}
	var l lost
	for range 3 {
		l.Handle(io.ErrUnexpectedEOF)
	}
	if err := l.err(); err == nil || err.Error() != "OpenTelemetry traces are incomplete: unexpected EOF, and 2 errors more" {
		t.Errorf("the error is %v", err)
	}
}

func TestContent(t *testing.T) {
	unset(t)
	if Content() {
		t.Error("content is sent unasked")
	}
	t.Setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
	if !Content() {
		t.Error("content is asked for and not sent")
	}
	if tr, err := Start(t.Context()); tr != nil || err != nil {
		t.Errorf("nobody asks for traces: %v, %v", tr, err)
	}
}
