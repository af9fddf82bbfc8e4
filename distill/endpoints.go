package distill

import (
	"fmt"
	"os"
	"strings"

	"stillhouse"
	"stillhouse/internal/options"
)

// EndpointOptions is one more endpoint, or one more key of the same one, that serves the same model.
type EndpointOptions struct {
	Endpoint    string        `yaml:"endpoint" json:"endpoint" doc:"Its base URL; by default distill.endpoint, with another key."`
	APIKeyEnv   *string       `yaml:"api_key_env" json:"api_key_env" doc:"The environment variable that holds its key; by default that of distill.api_key_env where the endpoint is the same, none for a loopback endpoint, else OPENAI_API_KEY."`
	Model       string        `yaml:"model" json:"model" doc:"What it calls the model; by default distill.model. Answers are stored under distill.model in any case."`
	Concurrency int           `yaml:"concurrency" json:"concurrency" doc:"The most requests at a time; by default that of distill.concurrency."`
	Limits      LimitsOptions `yaml:"limits" json:"limits" doc:"What its provider allows."`
}

// LimitsOptions are a provider's limits, where they are known. 0 is no limit.
type LimitsOptions struct {
	RequestsPerMinute float64 `yaml:"requests_per_minute" json:"requests_per_minute" doc:"Requests that are sent in a minute at most; 0 for no limit."`
	TokensPerMinute   float64 `yaml:"tokens_per_minute" json:"tokens_per_minute" doc:"Tokens of prompts and answers in a minute at most; those of a request are estimated before it is sent, and corrected by what its answer says; 0 for no limit."`
}

// Validate says which limit cannot be.
func (o *LimitsOptions) Validate() error {
	for name, v := range map[string]float64{"requests_per_minute": o.RequestsPerMinute, "tokens_per_minute": o.TokensPerMinute} {
		if !(v >= 0 && v < 1e12) {
			return options.Wrongf(name, "is %v: it must be a positive number, or 0 for no limit", v)
		}
	}
	return nil
}

// lanes are the endpoints to ask: that of the block, then those of its list.
func (o *Options) lanes() []EndpointOptions {
	all := []EndpointOptions{{Endpoint: o.Endpoint, APIKeyEnv: o.APIKeyEnv, Model: o.Model, Concurrency: o.Concurrency, Limits: o.Limits}}
	for _, e := range o.Endpoints {
		if e.Endpoint == "" {
			e.Endpoint = o.Endpoint
		}
		if e.APIKeyEnv == nil {
			e.APIKeyEnv = new("")
			if e.Endpoint == o.Endpoint {
				e.APIKeyEnv = o.APIKeyEnv
			} else if !local(e.Endpoint) {
				e.APIKeyEnv = new(defaultKeyEnv)
			}
		}
		if e.Model == "" {
			e.Model = o.Model
		}
		if e.Concurrency == 0 {
			e.Concurrency = o.Concurrency
		}
		all = append(all, e)
	}
	return all
}

// most is how many requests all endpoints may have at a time.
func (o *Options) most() (n int) {
	for _, e := range o.lanes() {
		n += e.Concurrency
	}
	return n
}

func (o *Options) validateLanes() error {
	if err := options.Under("limits", o.Limits.Validate()); err != nil {
		return err
	}
	if len(o.Endpoints) > 0 && o.Endpoint == Embedded {
		return options.Wrongf("endpoints", "cannot stand beside endpoint: %s", Embedded)
	}
	seen := map[string]int{}
	for i, e := range o.lanes() {
		at := func(err error) error { return options.Under(fmt.Sprintf("endpoints[%d]", i-1), err) }
		if i > 0 {
			if err := validateURL(e.Endpoint); err != nil {
				return at(err)
			}
			if err := options.Under("limits", e.Limits.Validate()); err != nil {
				return at(err)
			}
			if e.Concurrency < 0 || e.Concurrency > maxConcurrency {
				return at(options.Wrongf("concurrency", "is %d: it must be 1 to %d", e.Concurrency, maxConcurrency))
			}
		}
		name := strings.TrimRight(e.Endpoint, "/") + " "
		if e.APIKeyEnv != nil {
			name += *e.APIKeyEnv
		}
		if _, twice := seen[name]; twice {
			return at(options.Wrongf("api_key_env", "is that of another entry with the same endpoint: give it a key of its own, or raise concurrency"))
		}
		seen[name] = i
	}
	return nil
}

// key reads the key of an endpoint from the environment; it is empty where none is sent.
func (e *EndpointOptions) key() (string, error) {
	name := *e.APIKeyEnv
	if name == "" {
		return "", nil
	}
	key := strings.TrimSpace(os.Getenv(name))
	if key == "" {
		return "", stillhouse.Invalidf("no API key: the environment variable %s is not set; set it, name another in distill.api_key_env, or write api_key_env: \"\" if the endpoint %s needs none", name, e.Endpoint)
	}
	if strings.ContainsAny(key, "\r\n") {
		return "", stillhouse.Invalidf("the API key in the environment variable %s has a line break in it: set it to the key alone", name)
	}
	return key, nil
}
