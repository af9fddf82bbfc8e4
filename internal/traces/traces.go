// Package traces sends OpenTelemetry traces when the usual environment variables ask for them, and does nothing
// otherwise.
//
// They are asked for by OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or by OTEL_TRACES_EXPORTER=otlp,
// and not when that is none or OTEL_SDK_DISABLED is true. The exporter reads the others of its own (headers, timeouts,
// certificates, compression), as do the batches (OTEL_BSP_*), the sampler (OTEL_TRACES_SAMPLER) and the resource
// (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES).
package traces

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"stillhouse"
)

// Traces is where spans go.
type Traces struct {
	provider *sdk.TracerProvider
	lost     lost
}

// Start begins to send traces, or returns nil when nobody asks for them. An error says what of the environment cannot be
// done; what cannot be sent later is no error (see Close).
func Start(ctx context.Context) (*Traces, error) {
	on, err := asked(os.Getenv)
	if err != nil || !on {
		return nil, err
	}
	t := &Traces{}
	otel.SetErrorHandler(&t.lost) // else the library writes to stderr by itself
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, stillhouse.Invalidf("OpenTelemetry traces: %v", err)
	}
	own, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "stillhouse")), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, stillhouse.Invalidf("OpenTelemetry traces: OTEL_RESOURCE_ATTRIBUTES: %v", err)
	}
	t.provider = sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(own))
	return t, nil
}

// asked reads from the environment whether traces are wanted, and whether they are wanted in a form that there is.
func asked(env func(string) string) (bool, error) {
	either := func(names ...string) (name, value string) {
		for _, name := range names {
			if v := strings.TrimSpace(env(name)); v != "" {
				return name, v
			}
		}
		return "", ""
	}
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	switch exporter := strings.TrimSpace(env("OTEL_TRACES_EXPORTER")); exporter {
	case "none":
		return false, nil
	case "otlp":
	case "":
		if name, _ := either("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"); name == "" {
			return false, nil
		}
	default:
		return false, stillhouse.Invalidf("OTEL_TRACES_EXPORTER is %q: traces can be sent by otlp, or not at all with none", exporter)
	}
	if name, protocol := either("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); name != "" && protocol != "http/protobuf" {
		return false, stillhouse.Invalidf("%s is %q: traces can be sent by http/protobuf, whose port usually is 4318", name, protocol)
	}
	return true, nil
}

// Content reports whether spans are to hold what was said: prompts and answers. It is asked for by
// OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, the variable of OpenTelemetry's instrumentations of such clients.
func Content() bool {
	switch strings.ToLower(os.Getenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT")) {
	case "true", "span_only", "span_and_event":
		return true
	}
	return false
}

// Tracer makes the spans.
func (t *Traces) Tracer() trace.Tracer { return t.provider.Tracer("stillhouse/distill") }

// Close sends what is left, for a few seconds at most. Its error says what could not be sent: the traces are incomplete,
// and nothing else is.
func (t *Traces) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(t.provider.Shutdown(ctx), t.lost.err())
}

// lost remembers what the library could not do: the first error, and how many there were.
type lost struct {
	mu    sync.Mutex
	first error
	more  int
}

func (l *lost) Handle(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = err
	} else {
		l.more++
	}
}

func (l *lost) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.first == nil:
		return nil
	case l.more == 0:
		return stillhouse.Transientf("OpenTelemetry traces are incomplete: %v", l.first)
	}
	return stillhouse.Transientf("OpenTelemetry traces are incomplete: %v, and %d errors more", l.first, l.more)
}
