package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"stillhouse/internal/loopback"
)

// A Gauge is a number that Prometheus reads. Name has its unit and, where it only rises, ends with _total.
type Gauge struct {
	Name, Help string
	Total      bool // it only rises: a counter
	Value      float64

	Label, Kind string // a label beside run, and what it says, for numbers of several kinds; empty for none
}

// An Endpoint serves the latest numbers to Prometheus, at /metrics. It may be used from several goroutines at once.
type Endpoint struct {
	url    string
	server *http.Server
	done   chan error

	mu     sync.Mutex
	latest map[string]Gauge
	label  string
}

// Listen serves at an address, such as 127.0.0.1:9464. Every number has the label run. On a loopback address it answers
// only to requests that name one as their host.
func Listen(address, run string) (*Endpoint, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{url: "http://" + l.Addr().String() + "/metrics", done: make(chan error, 1), latest: map[string]Gauge{}, label: run}
	registry := prometheus.NewRegistry()
	if err := errors.Join(registry.Register(e), registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	handler := http.Handler(mux)
	if l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		handler = loopback.Only(mux.ServeHTTP, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the metrics are for localhost only", http.StatusForbidden)
		})
	}
	e.server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 14}
	go func() { e.done <- e.server.Serve(l) }()
	return e, nil
}

// URL is where Prometheus reads.
func (e *Endpoint) URL() string { return e.url }

// Set puts numbers in the place of those with the same names.
func (e *Endpoint) Set(list []Gauge) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range list {
		e.latest[g.Name+"\x00"+g.Kind] = g
	}
}

// Close ends the server; answers that are under way have a second.
func (e *Endpoint) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := e.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = e.server.Close()
	}
	if served := <-e.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("close the metrics endpoint: %w", err)
	}
	return nil
}

// Describe implements prometheus.Collector. Which numbers there are is not known before the first line.
func (e *Endpoint) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (e *Endpoint) Collect(out chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range e.latest {
		kind := prometheus.GaugeValue
		if g.Total {
			kind = prometheus.CounterValue
		}
		labels, values := []string{"run"}, []string{e.label}
		if g.Label != "" {
			labels, values = append(labels, g.Label), append(values, g.Kind)
		}
		m, err := prometheus.NewConstMetric(prometheus.NewDesc(g.Name, g.Help, labels, nil), kind, g.Value, values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(prometheus.NewDesc(g.Name, g.Help, nil, nil), err)
		}
		out <- m
	}
}
