package curate

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCosts(t *testing.T) {
	s := &Score{Rewards: demoRewards(t)}
	s.EnsureDefaults()
	assert.Empty(t, s.Costs(), "nothing was asked yet")
	_, err := s.Ask(context.Background(), someCandidates())
	require.NoError(t, err)
	costs := s.Costs()
	require.Len(t, costs, 2)
	for i, name := range []string{"math", "length"} {
		assert.Equal(t, name, costs[i].Reward)
		assert.EqualValues(t, len(someCandidates()), costs[i].Asked)
		assert.Positive(t, costs[i].Took)
	}
	require.NoError(t, s.Close())
	for _, c := range []struct {
		took time.Duration
		says string
	}{
		{30 * time.Nanosecond, "m was asked about 3 candidates, 10ns each"},
		{3 * 12_345 * time.Nanosecond, "m was asked about 3 candidates, 12.3µs each"},
		{3 * 2_345_678 * time.Microsecond, "m was asked about 3 candidates, 2.35s each"},
	} {
		assert.Equal(t, c.says, Cost{Reward: "m", Asked: 3, Took: c.took}.String())
	}
	assert.Zero(t, Cost{Reward: "m"}.Each())
}
