// Package curate turns candidates into training rows: [Score] has rewards say what each candidate is worth, [Select] keeps
// the best candidates of each prompt. The rewards themselves are package reward.
package curate

import (
	"slices"

	"stillhouse/curate/reward"
	"stillhouse/internal/options"
)

// Config is the config's block curate.
type Config struct {
	Rewards []reward.Entry `yaml:"rewards" json:"rewards" doc:"The rewards that score each candidate, each {KIND: {OPTIONS}} or only its kind."`
	Combine Combination    `yaml:"combine" json:"combine" doc:"How the scores become one reward: weights (the sum of weight × score), all (1 when every reward says right, else 0), any (1 when one does), or lexicographic (the first reward's score, with ties broken by the second, then the third and fourth). Rewards of weight 0 don't count."`
	Select  Select         `yaml:"select" json:"select" doc:"Which candidates of a prompt are kept."`
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
	if err := options.Under("select", c.Select.Validate()); err != nil {
		return err
	}
	return options.Under("select", c.validateSelect())
}

// validateSelect is an error when the selection asks the rewards for what they cannot say.
func (c *Config) validateSelect() error {
	names := make([]string, len(c.Rewards))
	for i, e := range c.Rewards {
		if names[i] = e.Name; e.Name == "" {
			names[i] = e.Kind
		}
	}
	if r := c.Select.Right; r != "" && !slices.Contains(names, r) {
		return options.Wrongf("right", "is %q, which no reward is named: %s", r, options.Nearest(r, names))
	}
	if most, known := c.most(); known && c.Select.MinReward != nil && *c.Select.MinReward > most {
		return options.Wrongf("min_reward", "is %v, and no candidate can have more than %v by these rewards and their weights: nothing would be kept", *c.Select.MinReward, most)
	}
	return nil
}

// most is the greatest reward that a candidate can have, where that is known.
func (c *Config) most() (sum float64, known bool) {
	switch c.Combine {
	case All, Any:
		return 1, true
	case Lexicographic: // a number that stands for an order
		return 0, false
	}
	for _, e := range c.Rewards {
		e.EnsureDefaults()
		if *e.Weight == 0 {
			continue
		}
		b, ok := e.Options.(reward.Bounded)
		if !ok {
			return 0, false
		}
		least, most := b.Bounds()
		sum += max(*e.Weight*least, *e.Weight*most)
	}
	return sum + 1e-9, true // which adding up may lose
}

// Stages are the two stages of curation, which follow each other.
func (c *Config) Stages() (*Score, *Select) {
	s := c.Select
	return c.score(), &s
}

func (c *Config) score() *Score { return &Score{Rewards: c.Rewards, Combine: c.Combine} }
