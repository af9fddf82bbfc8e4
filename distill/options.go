package distill

import (
	"encoding/json"
	"net"
	"net/url"
	"sort"
	"strings"
	"time"

	"stillhouse/internal/loopback"
	"stillhouse/internal/options"
)

// Options is the block `distill:` of a config.
type Options struct {
	Endpoint    string         `yaml:"endpoint" json:"endpoint" doc:"The base URL of an OpenAI-compatible server, usually ending in /v1; \"embedded\" is the tiny teacher that comes with this program."`
	Model       string         `yaml:"model" json:"model" doc:"The model's name, as the endpoint knows it."`
	Identity    string         `yaml:"identity" json:"identity" doc:"What stands for the endpoint in the keys of the response store; by default its host and path, so set it where one model is served under changing addresses."`
	APIKeyEnv   *string        `yaml:"api_key_env" json:"api_key_env" doc:"The environment variable that holds the key; OPENAI_API_KEY by default, none by default for a loopback endpoint; \"\" sends no key."`
	Samples     Samples        `yaml:"samples" json:"samples" doc:"Answers a prompt: a number, or at least min and at most max, until enough of them are accepted (docs/distill.md)."`
	Temperature *float64       `yaml:"temperature" json:"temperature" doc:"Sampling temperature; always sent, also when it is 0."`
	TopP        *float64       `yaml:"top_p" json:"top_p" doc:"Nucleus sampling; sent only when set, else the endpoint's own default holds."`
	MaxTokens   int            `yaml:"max_tokens" json:"max_tokens" doc:"The most tokens an answer may have; 0 leaves it to the endpoint. Raising it asks only truncated answers again."`
	Stop        []string       `yaml:"stop" json:"stop" doc:"Texts at which an answer ends."`
	Seed        *int64         `yaml:"seed" json:"seed" doc:"Every sample of every prompt is asked with a seed of its own that follows from this one; a negative number sends no seeds."`
	System      string         `yaml:"system" json:"system" doc:"A system prompt for conversations that have none; it is told in the column system and left out of the prompt."`
	ExtraBody   map[string]any `yaml:"extra_body" json:"extra_body" doc:"Fields of the request that this program does not know, such as top_k or chat_template_kwargs."`
	Timeout     time.Duration  `yaml:"timeout" json:"timeout" doc:"How long one request may take; of one that is streamed, how long nothing of its answer may come."`
	Concurrency int            `yaml:"concurrency" json:"concurrency" doc:"The most requests at a time to one endpoint; how many it takes is found below that. By default 256, 64 for an endpoint on this machine, 16 for the embedded one."`
	MaxRetries  *int           `yaml:"max_retries" json:"max_retries" doc:"How often a request is sent again after an error that may pass; refusals for reasons of rate (429) do not count."`
	GiveUpAfter time.Duration  `yaml:"give_up_after" json:"give_up_after" doc:"How long an endpoint may refuse everything before the run ends, with all answers kept."`
	Store       string         `yaml:"store" json:"store" doc:"The response store's file; by default stillhouse/responses.db in the user's cache directory."`
	Mode        string         `yaml:"mode" json:"mode" doc:"online asks one request after another; batch gathers them for the endpoint's Batch API, where it has one: answers come within a day, at half the price at most providers."`
	Batch       BatchOptions   `yaml:"batch" json:"batch" doc:"How batches are made, where mode is batch."`

	Endpoints []EndpointOptions `yaml:"endpoints" json:"endpoints" doc:"More endpoints that serve the same model, or more keys of the same one: they share the work in proportion to what each takes, and the answers are stored under one identity."`
	Limits    LimitsOptions     `yaml:"limits" json:"limits" doc:"What the endpoint's provider allows, where that is known. What it says itself, by headers and refusals, is obeyed in any case."`
	Target    Target            `yaml:"target" json:"target" doc:"When enough is accepted."`
	Budget    Budget            `yaml:"budget" json:"budget" doc:"What the run may ask for at most, answers in the response store not counted; when it is spent, the run goes on with what it has."`
	Prices    Prices            `yaml:"prices" json:"prices" doc:"What the endpoint charges, to reckon costs with."`

	MetricsAddress     string `yaml:"metrics_address" json:"metrics_address" doc:"Where Prometheus reads /metrics while the teacher is asked, such as 127.0.0.1:9464; empty for nowhere."`
	MetricsAllowRemote bool   `yaml:"metrics_allow_remote" json:"metrics_allow_remote" doc:"Let metrics_address be one that other machines reach; the endpoint asks for no key."`

	AnswerOptions `yaml:",inline"`
}

const defaultKeyEnv = "OPENAI_API_KEY"

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	o.Samples.ensureDefaults()
	if o.Temperature == nil {
		o.Temperature = new(1.0)
	}
	if o.Seed == nil {
		o.Seed = new(int64(0))
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.Concurrency == 0 {
		o.Concurrency = defaultConcurrency
		if o.Endpoint == Embedded {
			o.Concurrency = embeddedConcurrency
		} else if local(o.Endpoint) {
			o.Concurrency = loopbackConcurrency
		}
	}
	if o.MaxRetries == nil {
		o.MaxRetries = new(6)
	}
	if o.GiveUpAfter == 0 {
		o.GiveUpAfter = 10 * time.Minute
	}
	o.AnswerOptions.ensureDefaults()
	if o.Mode == "" {
		o.Mode = ModeOnline
	}
	o.Batch.EnsureDefaults()
	if o.APIKeyEnv == nil {
		name := defaultKeyEnv
		if local(o.Endpoint) || o.Endpoint == Embedded {
			name = ""
		}
		o.APIKeyEnv = &name
	}
}

// Embedded is the endpoint's name that pipelines replaces by the URL of the teacher that comes with this program.
const Embedded = "embedded"

// Validate says which key of the block has a value that cannot be, and what would be right.
func (o *Options) Validate() error {
	if err := o.validateEndpoint(); err != nil {
		return err
	}
	switch {
	case o.Model == "":
		return options.Wrongf("model", "is missing: name the model as the endpoint knows it")
	case o.Temperature != nil && !(*o.Temperature >= 0 && *o.Temperature <= 5):
		return options.Wrongf("temperature", "is %v: it must be 0 to 5", *o.Temperature)
	case o.TopP != nil && !(*o.TopP > 0 && *o.TopP <= 1):
		return options.Wrongf("top_p", "is %v: it must be above 0 and at most 1", *o.TopP)
	case o.MaxTokens < 0:
		return options.Wrongf("max_tokens", "is %d: it must be a positive number, or 0 for the endpoint's own limit", o.MaxTokens)
	case o.Seed != nil && *o.Seed > maxSeed:
		return options.Wrongf("seed", "is %d: it must be at most %d", *o.Seed, int64(maxSeed))
	case o.Timeout < 0:
		return options.Wrongf("timeout", "is %v: it must be a positive duration such as 5m", o.Timeout)
	case o.Concurrency < 0 || o.Concurrency > maxConcurrency:
		return options.Wrongf("concurrency", "is %d: it must be 1 to %d", o.Concurrency, maxConcurrency)
	case o.MaxRetries != nil && *o.MaxRetries < 0:
		return options.Wrongf("max_retries", "is %d: it must be 0 or more", *o.MaxRetries)
	case o.GiveUpAfter < 0:
		return options.Wrongf("give_up_after", "is %v: it must be a positive duration such as 10m", o.GiveUpAfter)
	case o.Mode != "" && o.Mode != ModeOnline && o.Mode != ModeBatch:
		return options.Wrongf("mode", "is %q: it must be %s or %s", o.Mode, ModeOnline, ModeBatch)
	}
	if err := options.Under("batch", o.Batch.Validate()); err != nil {
		return err
	}
	for _, validate := range []func() error{o.Samples.validate, o.Budget.validate, o.Prices.validate, o.validateLanes, o.validateMetrics,
		o.AnswerOptions.validate, o.validateSystems, o.validateStructure} {
		if err := validate(); err != nil {
			return err
		}
	}
	switch {
	case o.Target.Accepted < 0:
		return options.Wrongf("target.accepted", "is %d: it must be 1 or more, or 0 to ask all prompts", o.Target.Accepted)
	case o.Budget.Dollars > 0 && !o.Prices.Known():
		return options.Wrongf("budget.dollars", "is %v, but what that buys is not known: give prices: {input: ..., output: ...} in dollars for a million tokens", o.Budget.Dollars)
	}
	return o.validateExtra()
}

// How many requests at a time the defaults let an endpoint have at most.
const (
	defaultConcurrency  = 256
	loopbackConcurrency = 64 // servers on one's own machine queue what they cannot take, until it is too late for it
	embeddedConcurrency = 16
)

func (o *Options) validateMetrics() error {
	if o.MetricsAddress == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(o.MetricsAddress)
	if err != nil {
		return options.Wrongf("metrics_address", "is %q: it must be HOST:PORT, such as 127.0.0.1:9464", o.MetricsAddress)
	}
	if !loopback.Is(host) && !o.MetricsAllowRemote {
		return options.Wrongf("metrics_address", "is %q, which can be reached from other machines, and the endpoint asks for no key: use 127.0.0.1, or allow them with metrics_allow_remote: true", o.MetricsAddress)
	}
	return nil
}

const (
	maxSamples     = 1024
	maxConcurrency = 4096
	maxSeed        = 1<<53 - 1 // JSON numbers are exact up to here
)

func (o *Options) validateEndpoint() error {
	if o.Endpoint == "" {
		return options.Wrongf("endpoint", "is missing: give the base URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1, or %q", Embedded)
	}
	if o.Endpoint == Embedded {
		return nil
	}
	return validateURL(o.Endpoint)
}

func validateURL(endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return options.Wrongf("endpoint", "is not an http or https URL: give one such as http://127.0.0.1:8000/v1, or %q", Embedded)
	case u.User != nil:
		return options.Wrongf("endpoint", "holds a user name or password: put the secret into an environment variable and its name into distill.api_key_env")
	case u.RawQuery != "" || u.Fragment != "":
		return options.Wrongf("endpoint", "has a query or a fragment: give the base URL only, such as %s://%s%s", u.Scheme, u.Host, u.Path)
	}
	return nil
}

// ours names the fields of a request that have keys of their own, which extra_body must not set behind their back.
var ours = map[string]string{
	"model": "distill.model", "messages": "prompts", "n": "distill.samples", "seed": "distill.seed",
	"temperature": "distill.temperature", "top_p": "distill.top_p", "max_tokens": "distill.max_tokens",
	"stop": "distill.stop", "tools": "prompts.tools or distill.tools", "tool_choice": "distill.tool_choice",
	"parallel_tool_calls": "distill.parallel_tool_calls", "logprobs": "distill.logprobs", "top_logprobs": "distill.top_logprobs",
	"reasoning_effort": "distill.reasoning_effort", "presence_penalty": "distill.presence_penalty",
	"frequency_penalty": "distill.frequency_penalty", "stream": "distill.stream", "stream_options": "distill.stream_usage",
}

func (o *Options) validateExtra() error {
	names := make([]string, 0, len(o.ExtraBody))
	for name := range o.ExtraBody {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if key, ok := ours[name]; ok {
			return options.Wrongf("extra_body."+name, "has a key of its own: use %s instead", key)
		}
		if _, err := json.Marshal(o.ExtraBody[name]); err != nil {
			return options.Wrongf("extra_body."+name, "cannot be written as JSON: %v", err)
		}
	}
	return nil
}

// APIKey reads the keys of all endpoints from the environment and returns that of the first. It is empty where none is
// sent. A variable that should be there and is not is an error that names it.
func (o Options) APIKey() (string, error) {
	o.EnsureDefaults()
	keys := make([]string, 0, 1+len(o.Endpoints))
	for _, e := range o.lanes() {
		key, err := e.key()
		if err != nil {
			return "", err
		}
		keys = append(keys, key)
	}
	return keys[0], nil
}

// local reports whether an endpoint is on this machine.
func local(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && loopback.Is(strings.ToLower(u.Hostname()))
}

// teacher is what stands for the endpoint in the store's keys.
func (o *Options) teacher() string {
	if o.Identity != "" {
		return o.Identity
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" {
		return o.Endpoint
	}
	host := strings.ToLower(u.Host)
	if p := u.Port(); (p == "443" && u.Scheme == "https") || (p == "80" && u.Scheme == "http") {
		host = strings.TrimSuffix(host, ":"+p)
	}
	return host + strings.TrimRight(u.Path, "/")
}
