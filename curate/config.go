package curate

import "stillhouse/internal/options"

// Config is the config's block curate.
type Config struct {
	Rewards []RewardEntry `yaml:"rewards" json:"rewards" doc:"The rewards that score each candidate, each {KIND: {OPTIONS}} or only its kind."`
	Combine Combination   `yaml:"combine" json:"combine" doc:"How the scores become one reward: weights (the sum of weight × score), all (1 when every reward says right, else 0), any (1 when one does), or lexicographic (the first reward's score, with ties broken by the second, then the third and fourth). Rewards of weight 0 don't count."`
	Select  Select        `yaml:"select" json:"select" doc:"Which candidates of a prompt are kept."`
}

// EnsureDefaults fills in what is not said.
func (c *Config) EnsureDefaults() {
	score := c.score()
	score.EnsureDefaults()
	c.Combine = score.Combine
	c.Select.EnsureDefaults()
}

// Validate is an Invalid error that names the key that is wrong.
func (c *Config) Validate() error {
	if err := c.score().Validate(); err != nil {
		return err
	}
	return options.Under("select", c.Select.Validate())
}

// Stages are the two stages of curation, which follow each other.
func (c *Config) Stages() (*Score, *Select) {
	s := c.Select
	return c.score(), &s
}

func (c *Config) score() *Score { return &Score{Rewards: c.Rewards, Combine: c.Combine} }
