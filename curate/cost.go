package curate

import (
	"fmt"
	"sync/atomic"
	"time"
)

// A cost is what it took to ask a reward. What was found in a [Cache] cost nothing.
type cost struct{ asked, nanoseconds atomic.Int64 }

func (c *cost) add(candidates int, took time.Duration) {
	if c != nil {
		c.asked.Add(int64(candidates))
		c.nanoseconds.Add(int64(took))
	}
}

// A Cost is what a reward took since the stage was opened.
type Cost struct {
	Reward string        // its name
	Asked  int64         // candidates that it was asked about
	Took   time.Duration // by its own clock, all its turns together
}

// Each is the mean time for a candidate, 0 where none was asked about.
func (c Cost) Each() time.Duration { return c.Took / time.Duration(max(1, c.Asked)) }

func (c Cost) String() string {
	each := c.Each()
	for unit := time.Duration(1); ; unit *= 10 { // three digits
		if each < 1000*unit {
			return fmt.Sprintf("%s was asked about %d candidates, %v each", c.Reward, c.Asked, each.Round(unit))
		}
	}
}

// Costs are those of the rewards, in the order of the config.
func (s *Score) Costs() (out []Cost) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.panel == nil {
		return nil
	}
	for _, r := range s.panel.scorers {
		out = append(out, Cost{r.name, r.cost.asked.Load(), time.Duration(r.cost.nanoseconds.Load())})
	}
	return out
}
