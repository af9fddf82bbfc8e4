package curate

import "stillhouse/internal/options"

// Config is the config's block curate.
type Config struct {
	Rewards []RewardEntry `yaml:"rewards" json:"rewards" doc:"The rewards that score each candidate, each {KIND: {OPTIONS}} or only its kind."`
	Select  Select        `yaml:"select" json:"select" doc:"Which candidates of a prompt are kept."`
}

// EnsureDefaults fills in what is not said.
func (c *Config) EnsureDefaults() {
	(&Score{Rewards: c.Rewards}).EnsureDefaults()
	c.Select.EnsureDefaults()
}

// Validate is an Invalid error that names the key that is wrong.
func (c *Config) Validate() error {
	if err := (&Score{Rewards: c.Rewards}).Validate(); err != nil {
		return err
	}
	return options.Under("select", c.Select.Validate())
}

// Stages are the two stages of curation, which follow each other.
func (c *Config) Stages() (*Score, *Select) {
	s := c.Select
	return &Score{Rewards: c.Rewards}, &s
}
