package curate

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// TestAcceptIsWhatIsKept holds what is accepted candidate by candidate against what Score and Select make of all of them.
func TestAcceptIsWhatIsKept(t *testing.T) {
	ctx, draw := context.Background(), rand.New(rand.NewPCG(5, 5))
	var candidates []stillhouse.Candidate
	for p := range 60 {
		for s := range 1 + draw.IntN(6) {
			text := fmt.Sprintf("#### %d", draw.IntN(3))
			if draw.IntN(8) == 0 {
				text = "no idea"
			}
			candidates = append(candidates, candidate(fmt.Sprintf("p%02d", p), s, "1", text, 1+draw.IntN(50)))
		}
	}
	for _, c := range []Config{
		{Select: Select{MinReward: new(1.0)}},
		{Select: Select{MinReward: new(1.05), Best: 3}},
		{Select: Select{Best: 2}},
		{Select: Select{MinReward: new(9.0)}},
		{Select: Select{Policy: PolicyThreshold, MinReward: new(1.0)}},
		{Select: Select{Policy: PolicyThreshold, MinReward: new(0.05), Best: 2}},
		{Select: Select{Policy: PolicyShortestRight}},
		{Select: Select{Policy: PolicyShortestRight, MinReward: new(1.05), Best: 2}},
		{Combine: All, Select: Select{MinReward: new(1.0)}},
		{Combine: Any, Select: Select{MinReward: new(1.0), Best: 2}},
		{Combine: Lexicographic, Select: Select{MinReward: new(1.0), Best: 2}},
	} {
		c.Rewards = demoRewards(t)
		if c.Combine != "" {
			*c.Rewards[1].Weight = 1
		}
		c.EnsureDefaults()
		judge, err := c.Acceptor(nil)
		require.NoError(t, err)
		require.Equal(t, c.Select.Most(math.MaxInt), judge.Most())

		accepted := map[string]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, one := range candidates {
			wg.Go(func() {
				n, err := judge.Accept(ctx, []stillhouse.Candidate{one})
				mu.Lock()
				defer mu.Unlock()
				accepted[one.ID] += n
				require.NoError(t, err)
			})
		}
		wg.Wait()
		all, err := judge.Accept(ctx, candidates)
		require.NoError(t, err)
		sum := 0
		for _, n := range accepted {
			sum += n
		}
		require.Equal(t, all, sum)

		score, choose := c.Stages()
		scored, kept := &testkit.MemorySink{}, &testkit.MemorySink{}
		batch := stillhouse.CandidateBatch(memory.DefaultAllocator, candidates)
		_, err = stillhouse.Run(ctx, testkit.NewMemorySource(stillhouse.CandidateSchema, []arrow.RecordBatch{batch}...), score, scored, stillhouse.Options{})
		require.NoError(t, err)
		_, err = stillhouse.Run(ctx, scored.Source(stillhouse.ScoredSchema), choose, kept, stillhouse.Options{})
		require.NoError(t, err)
		rows, err := kept.Kept(memory.DefaultAllocator, stillhouse.SampleSchema)
		require.NoError(t, err)
		samples, err := stillhouse.Samples(rows)
		require.NoError(t, err)
		got := map[string]int{}
		for _, s := range samples {
			got[s.PromptID]++
		}
		for id, n := range accepted {
			require.Equal(t, min(n, judge.Most()), got[id], "%s of %+v", id, c.Select)
		}
	}
}

func TestAcceptEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	turns := semaphore.NewWeighted(1)
	judge := &Acceptor{panel: &panel{turns: turns, scorers: []scorer{{turns: turns,
		Reward: fake(func(ctx context.Context) stillhouse.Score {
			cancel()
			<-ctx.Done()
			return stillhouse.Score{Verdict: stillhouse.Right, Score: 1}
		}), weight: 1, timeout: 1 << 40}}}}
	_, err := judge.Accept(ctx, []stillhouse.Candidate{{}})
	require.ErrorIs(t, err, context.Canceled)
	_, err = judge.Accept(ctx, []stillhouse.Candidate{{}})
	require.ErrorIs(t, err, context.Canceled)
}
