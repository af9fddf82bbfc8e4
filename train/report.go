package train

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/loopback"
	"stillhouse/internal/metrics"
	"stillhouse/internal/options"
)

// Reports are the programs that a training tells how it goes, beside its log: tensorboard, prometheus.
type Reports []string

var reporters = []string{"tensorboard", "prometheus"}

// UnmarshalYAML reads one name, a list of them, or none.
func (r *Reports) UnmarshalYAML(value *yaml.Node) error {
	var list []string
	if value.Kind == yaml.ScalarNode {
		list = []string{value.Value}
	} else if err := value.Decode(&list); err != nil {
		return options.Wrongf("", "wants %s, or a list of them, or none", strings.Join(reporters, " or "))
	}
	*r = nil
	for _, name := range list {
		switch name = strings.ToLower(name); {
		case name == "none" || name == "":
		case slices.Contains(reporters, name):
			*r = append(*r, name)
		case name == "all":
			return options.Wrongf("", "is all: name what you read, %s", strings.Join(reporters, " or "))
		default:
			return options.Wrongf("", "is %q, which is not told of a training here: %s; log.jsonl is always written, and other programs can read it", name, strings.Join(reporters, ", "))
		}
	}
	return nil
}

func (o Options) reportsTo(name string) bool { return slices.Contains(o.ReportTo, name) }

// validateReports names a key of reporting whose value cannot be used.
func (o Options) validateReports() error {
	for _, name := range o.ReportTo {
		if !slices.Contains(reporters, name) {
			return options.Wrongf("report_to", "is %q: it must be %s", name, strings.Join(reporters, " or "))
		}
	}
	host, _, err := net.SplitHostPort(o.MetricsAddress)
	if err != nil {
		return options.Wrongf("metrics_address", "is %q: it must be HOST:PORT, such as 127.0.0.1:9464", o.MetricsAddress)
	}
	if o.reportsTo("prometheus") && !loopback.Is(host) && !o.MetricsAllowRemote {
		return options.Wrongf("metrics_address", "is %q, which can be reached from other machines, and the endpoint asks for no key: use 127.0.0.1, or allow them with metrics_allow_remote: true", o.MetricsAddress)
	}
	return nil
}

// A gauge is how a key of the log is called in Prometheus, in its units.
type gauge struct {
	name, help string
	total      bool
	scale      float64
}

// gauges are by key of log.jsonl.
var gauges = map[string]gauge{
	"step":                     {"stillhouse_train_step", "Updates made.", false, 1},
	"epoch":                    {"stillhouse_train_epochs", "Epochs visited, as a fraction.", false, 1},
	"loss":                     {"stillhouse_train_loss", "Mean loss of the updates since the last line, in nats a trained token.", false, 1},
	"grad_norm":                {"stillhouse_train_gradient_norm", "Norm of the last gradients, before clipping.", false, 1},
	"learning_rate":            {"stillhouse_train_learning_rate", "Learning rate of the last update.", false, 1},
	"mean_token_accuracy":      {"stillhouse_train_token_accuracy_ratio", "Share of trained tokens that are the likeliest.", false, 1},
	"entropy":                  {"stillhouse_train_entropy", "Mean entropy of the predictions, in nats.", false, 1},
	"num_tokens":               {"stillhouse_train_tokens_total", "Tokens seen.", true, 1},
	"num_trained_tokens":       {"stillhouse_train_trained_tokens_total", "Tokens trained.", true, 1},
	"tokens_per_s":             {"stillhouse_train_tokens_per_second", "Tokens a second since the last line.", false, 1},
	"trained_tokens_per_s":     {"stillhouse_train_trained_tokens_per_second", "Trained tokens a second since the last line.", false, 1},
	"gemm_percent":             {"stillhouse_train_gemm_ratio", "Rate of the matrix products of whole updates, by the machine's rate of bare products.", false, 0.01},
	"memory_mib":               {"stillhouse_train_memory_bytes", "Memory that the process holds.", false, 1 << 20},
	"peak_memory_mib":          {"stillhouse_train_peak_memory_bytes", "The most memory that the process has held.", false, 1 << 20},
	"eval_loss":                {"stillhouse_eval_loss", "Loss of the last evaluation, in nats a trained token.", false, 1},
	"eval_mean_token_accuracy": {"stillhouse_eval_token_accuracy_ratio", "Token accuracy of the last evaluation.", false, 1},
	"eval_entropy":             {"stillhouse_eval_entropy", "Entropy of the last evaluation, in nats.", false, 1},
}

// A report tells other programs how a training goes. One that cannot be written to is given up with a warning: it is
// no reason to end a training.
type report struct {
	events   *metrics.Events
	endpoint *metrics.Endpoint
	now      func() time.Time
	say      func(text string)
}

// newReport opens what the options want to be told to: event files in logging_dir, by default in the folder tensorboard
// beside the student's directory, and an endpoint. A training that goes on does so in a new event file.
func newReport(g Training, dir string, now func() time.Time, say func(string)) (*report, error) {
	o := g.Options
	r := &report{now: now, say: say}
	if o.reportsTo("tensorboard") {
		to := o.LoggingDir
		if to == "" {
			to = filepath.Join(filepath.Dir(filepath.Clean(dir)), "tensorboard")
		}
		after := 0
		if g.From != nil {
			after = g.From.Step
		}
		var err error
		if r.events, err = metrics.CreateEvents(to, now(), after); err != nil {
			return nil, stillhouse.Invalidf("train: report_to: tensorboard: %w: set logging_dir to a directory that can be written to", err)
		}
		if text, err := json.MarshalIndent(o, "", "  "); err == nil {
			r.keep(r.events.Text("args", "```json\n"+string(text)+"\n```", now()))
		}
		say(fmt.Sprintf("tensorboard --logdir %s shows the curves", to))
	}
	if o.reportsTo("prometheus") {
		var err error
		if r.endpoint, err = metrics.Listen(o.MetricsAddress, filepath.Base(filepath.Dir(filepath.Clean(dir)))); err != nil {
			r.close()
			return nil, stillhouse.Invalidf("train: report_to: prometheus: %w: set metrics_address to a free address", err)
		}
		say("metrics for Prometheus: " + r.endpoint.URL())
	}
	return r, nil
}

// line reports a line of the log.
func (r *report) line(step int, line any) {
	if r.events == nil && r.endpoint == nil {
		return
	}
	values, err := numbers(line)
	if err != nil {
		r.say(fmt.Sprintf("warning: step %d is not reported: %v", step, err))
		return
	}
	var scalars []metrics.Scalar
	var list []metrics.Gauge
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if key != "step" {
			scalars = append(scalars, metrics.Scalar{Name: tag(key), Value: values[key]})
		}
		if g, ok := gauges[key]; ok {
			list = append(list, metrics.Gauge{Name: g.name, Help: g.help, Total: g.total, Value: values[key] * g.scale})
		}
	}
	if r.events != nil {
		r.keep(r.events.Scalars(step, r.now(), scalars))
	}
	if r.endpoint != nil {
		r.endpoint.Set(list)
	}
}

// numbers are the values of a line of the log by their keys.
func numbers(line any) (out map[string]float64, err error) {
	text, err := json.Marshal(line)
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal(text, &out)
}

// tag is what transformers' TensorBoardCallback calls a key of the log (rewrite_logs).
func tag(key string) string {
	if name, ok := strings.CutPrefix(key, "eval_"); ok {
		return "eval/" + name
	}
	return "train/" + key
}

// keep gives event files up when they cannot be written to.
func (r *report) keep(err error) {
	if err == nil {
		return
	}
	r.say(fmt.Sprintf("warning: report_to: tensorboard: %v: nothing more is reported to it", err))
	_ = r.events.Close()
	r.events = nil
}

// close ends the reporting.
func (r *report) close() {
	if r.events != nil {
		r.keep(r.events.Close())
	}
	if r.endpoint != nil {
		if err := r.endpoint.Close(); err != nil {
			r.say("warning: " + err.Error())
		}
	}
}
