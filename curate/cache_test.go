package curate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"stillhouse"
	"stillhouse/curate/reward"
)

// A memoryCache is a cache that counts.
type memoryCache struct {
	mu     sync.Mutex
	scores map[CacheKey]stillhouse.Score
	kinds  map[string]int
	failed error
}

func newMemoryCache() *memoryCache {
	return &memoryCache{scores: map[CacheKey]stillhouse.Score{}, kinds: map[string]int{}}
}

func (m *memoryCache) Scores(_ context.Context, keys []CacheKey) (map[CacheKey]stillhouse.Score, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[CacheKey]stillhouse.Score{}
	for _, k := range keys {
		if s, ok := m.scores[k]; ok {
			out[k] = s
		}
	}
	return out, m.failed
}

func (m *memoryCache) KeepScore(_ context.Context, key CacheKey, kind string, s stillhouse.Score) (stillhouse.Score, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if was, ok := m.scores[key]; ok {
		return was, nil
	}
	m.scores[key] = s
	m.kinds[kind]++
	return s, m.failed
}

// A slow reward waits for something outside, and counts how often it is asked for each text.
type slow struct {
	mu    *sync.Mutex
	asked map[string]int
	say   func(c stillhouse.Candidate) stillhouse.Score
}

func newSlow(say func(c stillhouse.Candidate) stillhouse.Score) slow {
	return slow{&sync.Mutex{}, map[string]int{}, say}
}

func (slow) Version() string  { return "1" }
func (slow) Concurrency() int { return 4 }
func (s slow) Score(_ context.Context, c stillhouse.Candidate) stillhouse.Score {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[c.Text()]++
	return s.say(c)
}

// slowPanel is a panel of one reward whose scores are kept under its kind, version and options.
func slowPanel(r reward.Reward, identity string, cache Cache) *panel {
	turns := semaphore.NewWeighted(4)
	p := &panel{turns: turns, scorers: []scorer{{Reward: r, name: "n", weight: 1, timeout: 1 << 40, turns: turns, kind: "slow", identities: []string{identity}, cached: costly(r)}}}
	p.use(cache)
	return p
}

func TestScoresAreAskedForOnce(t *testing.T) {
	ctx, cache := context.Background(), newMemoryCache()
	r := newSlow(func(c stillhouse.Candidate) stillhouse.Score {
		return stillhouse.Score{Score: float64(len(c.Text())), Verdict: stillhouse.Right, Evidence: "of " + c.Text()}
	})
	some := []stillhouse.Candidate{candidate("p", 0, "1", "a", 1), candidate("p", 1, "1", "bb", 1), candidate("p", 2, "1", "a", 1)}
	want, err := slowPanel(r, "1", cache).ask(ctx, some)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"a": 1, "bb": 1}, r.asked, "the same answer is asked about once")
	require.Equal(t, []stillhouse.Score{{Name: "n", Score: 1, Verdict: "right", Evidence: "of a"}}, want[2])
	require.Equal(t, map[string]int{"slow": 2}, cache.kinds)

	more := append(some, candidate("q", 0, "1", "ccc", 1))
	got, err := slowPanel(r, "1", cache).ask(ctx, more)
	require.NoError(t, err)
	require.Equal(t, want, got[:3])
	require.Equal(t, map[string]int{"a": 1, "bb": 1, "ccc": 1}, r.asked, "what is new alone is asked about")

	// Another version, or other options, is another reward; so is another reference, another prompt, another meta.
	_, err = slowPanel(r, "2", cache).ask(ctx, some[:1])
	require.NoError(t, err)
	require.Equal(t, 2, r.asked["a"])
	for i, change := range []func(c *stillhouse.Candidate){
		func(c *stillhouse.Candidate) { c.Reference = new("2") },
		func(c *stillhouse.Candidate) { c.Reference = nil },
		func(c *stillhouse.Candidate) { c.Meta = new("") },
		func(c *stillhouse.Candidate) { c.Tools = new("") },
		func(c *stillhouse.Candidate) { c.Prompt.Prompt = []stillhouse.Message{{Role: "user", Content: "else"}} },
		func(c *stillhouse.Candidate) { c.CompletionTokens = 2 },
		func(c *stillhouse.Candidate) { c.LogProbs = []stillhouse.TokenLogProb{{LogProb: -1}} },
	} {
		c := some[0]
		change(&c)
		_, err = slowPanel(r, "1", cache).ask(ctx, []stillhouse.Candidate{c})
		require.NoError(t, err)
		require.Equal(t, 3+i, r.asked["a"], "change %d", i)
	}
	c := some[0]
	c.Sample, c.RequestKey, c.Source = 9, "k", "s"
	_, err = slowPanel(r, "1", cache).ask(ctx, []stillhouse.Candidate{c})
	require.NoError(t, err)
	require.Equal(t, 9, r.asked["a"], "which answer it is and where it is from doesn't matter")
}

// What came of time or of a fault is asked for again; a score that is no number is kept as one.
func TestTimeoutsAndErrorsAreNotKept(t *testing.T) {
	ctx := context.Background()
	for verdict, kept := range map[string]int{stillhouse.Right: 1, stillhouse.Wrong: 1, stillhouse.Unparsable: 1, stillhouse.Timeout: 2, stillhouse.Errored: 2, "nonsense": 2} {
		cache, r := newMemoryCache(), newSlow(func(stillhouse.Candidate) stillhouse.Score { return stillhouse.Score{Verdict: verdict} })
		for range 2 {
			_, err := slowPanel(r, "1", cache).ask(ctx, []stillhouse.Candidate{candidate("p", 0, "1", "a", 1)})
			require.NoError(t, err)
		}
		require.Equal(t, kept, r.asked["a"], verdict)
	}
}

// A slowGroup judges together, and says how many there were.
type slowGroup struct{ slow }

func (s slowGroup) ScoreGroup(ctx context.Context, cs []stillhouse.Candidate) (out []stillhouse.Score) {
	for i, c := range cs {
		x := s.Score(ctx, c)
		x.Evidence = fmt.Sprintf("%d of %d", i, len(cs))
		out = append(out, x)
	}
	return out
}

func TestScoresOfGroupsAreKeptTogether(t *testing.T) {
	ctx, cache := context.Background(), newMemoryCache()
	r := slowGroup{newSlow(func(stillhouse.Candidate) stillhouse.Score { return stillhouse.Score{Verdict: stillhouse.Right} })}
	ask := func(cs ...stillhouse.Candidate) (said []string) {
		scores, err := slowPanel(r, "1", cache).ask(ctx, cs)
		require.NoError(t, err)
		for _, s := range scores {
			said = append(said, s[0].Evidence)
		}
		return said
	}
	a, b, c := candidate("p", 0, "", "a", 1), candidate("p", 1, "", "b", 1), candidate("q", 0, "", "c", 1)
	require.Equal(t, []string{"0 of 2", "1 of 2", "0 of 1"}, ask(a, b, c))
	require.Equal(t, []string{"0 of 2", "1 of 2", "0 of 1"}, ask(a, b, c))
	require.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1}, r.asked)
	d := candidate("p", 2, "", "d", 1)
	require.Equal(t, []string{"0 of 3", "1 of 3", "2 of 3"}, ask(a, b, d), "with one more they are another group")
	require.Equal(t, map[string]int{"a": 2, "b": 2, "c": 1, "d": 1}, r.asked)
}

// A slowFollower looks at what was said before.
type slowFollower struct{ slow }

func (s slowFollower) ScoreAfter(ctx context.Context, c stillhouse.Candidate, before []stillhouse.Score) stillhouse.Score {
	x := s.Score(ctx, c)
	x.Score = before[0].Score
	return x
}

func TestScoresOfFollowersAreThoseOfWhatTheyFollow(t *testing.T) {
	ctx, cache := context.Background(), newMemoryCache()
	r := slowFollower{newSlow(func(stillhouse.Candidate) stillhouse.Score { return stillhouse.Score{Verdict: stillhouse.Right} })}
	for round, first := range []float64{1, 0, 1, 0} {
		p := slowPanel(r, "1", cache)
		before := scorer{Reward: fake(func(context.Context) stillhouse.Score {
			return stillhouse.Score{Score: first, Verdict: stillhouse.Right}
		}), name: "first", timeout: 1 << 40, turns: p.turns}
		p.scorers = append([]scorer{before}, p.scorers...)
		scores, err := p.ask(ctx, []stillhouse.Candidate{candidate("p", 0, "", "a", 1)})
		require.NoError(t, err)
		require.Equal(t, first, scores[0][1].Score)
		require.Equal(t, min(2, round+1), r.asked["a"])
	}
}

// A slowChoice finds out in which of two ways it asks.
type slowChoice struct {
	slow
	way *int
}

func (s slowChoice) Way() int { return *s.way }

// A score is kept under the way in which it came about, and found whichever that was.
func TestScoresAreThoseOfTheWayOfAsking(t *testing.T) {
	ctx, some := context.Background(), []stillhouse.Candidate{candidate("p", 0, "", "a", 1)}
	for way, asked := range map[int]map[string]int{-1: {"first": 2, "second": 2, "either": 2}, 0: {"first": 1, "second": 2, "either": 1}, 1: {"first": 2, "second": 1, "either": 1}} {
		for by, times := range asked {
			cache := newMemoryCache()
			r := slowChoice{newSlow(func(stillhouse.Candidate) stillhouse.Score { return stillhouse.Score{Verdict: stillhouse.Right} }), &way}
			either := slowPanel(r, "first", cache)
			either.scorers[0].identities = []string{"first", "second"}
			_, err := either.ask(ctx, some)
			require.NoError(t, err)
			again := either
			if by != "either" {
				again = slowPanel(r.slow, by, cache)
			}
			_, err = again.ask(ctx, some)
			require.NoError(t, err)
			require.Equal(t, times, r.asked["a"], "way %d, looked up by %s", way, by)
		}
	}
}

func TestWhichScoresAreKept(t *testing.T) {
	no, yes := false, true
	for _, c := range []struct {
		entry reward.Entry
		kept  []string
	}{
		{reward.Entry{Kind: "math"}, nil},
		{reward.Entry{Kind: "majority"}, nil},
		{reward.Entry{Kind: "math", Shared: reward.Shared{Cache: &no}}, nil},
		{reward.Entry{Kind: "math", Shared: reward.Shared{Name: "m", Cache: &yes}}, []string{"m"}},
	} {
		c.entry.EnsureDefaults()
		traits, err := (&Score{Rewards: []reward.Entry{c.entry}}).Traits()
		require.NoError(t, err)
		require.Equal(t, c.kept, traits.Kept, "%+v", c.entry)
	}
	require.True(t, costly(newSlow(nil)), "it waits")
	require.False(t, costly(cheap{newSlow(nil)}), "it says that it isn't")
}

type cheap struct{ slow }

func (cheap) Costly() bool { return false }

// A cache that cannot be read or written ends the work with its error: nothing is scored twice unseen.
func TestFailingCache(t *testing.T) {
	cache := newMemoryCache()
	cache.failed = errors.New("the disk is full")
	_, err := slowPanel(newSlow(func(stillhouse.Candidate) stillhouse.Score { return stillhouse.Score{Verdict: stillhouse.Right} }), "1", cache).
		ask(context.Background(), []stillhouse.Candidate{candidate("p", 0, "", "a", 1)})
	require.ErrorContains(t, err, "the disk is full")
}

// A judge that only recalls accepts what is kept, and asks nothing.
func TestJudgeThatRecalls(t *testing.T) {
	ctx, cache := context.Background(), newMemoryCache()
	yes := true
	c := Config{Rewards: []reward.Entry{{Kind: "math", Shared: reward.Shared{Cache: &yes}}}, Select: Select{MinReward: one()}}
	c.EnsureDefaults()
	candidates := []stillhouse.Candidate{candidate("p", 0, "1", "#### 1", 1), candidate("p", 1, "1", "#### 2", 1)}
	for _, want := range []int{0, 1} {
		recalls, err := c.Acceptor(cache)
		require.NoError(t, err)
		recalls.Recall()
		n, err := recalls.Accept(ctx, candidates)
		require.NoError(t, err)
		require.Equal(t, want, n)
		asks, err := c.Acceptor(cache)
		require.NoError(t, err)
		n, err = asks.Accept(ctx, candidates)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
}

// A candidate without a prompt's id is refused by name: it would be compared with all others that have none.
func TestCandidatesNeedAPromptID(t *testing.T) {
	rows := []stillhouse.Candidate{candidate("p", 0, "1", "#### 1", 1), candidate("", 1, "1", "#### 1", 1)}
	_, err := runScore(rows, demoRewards(t))
	require.ErrorContains(t, err, "row 2 of a batch has no prompt_id")
	require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
}

// TestPairs compares two rewards verdict by verdict.
func TestPairs(t *testing.T) {
	verdicts := []string{stillhouse.Right, stillhouse.Wrong, stillhouse.Unparsable, stillhouse.Timeout}
	tally := NewTally(Select{})
	var rows []stillhouse.Scored
	for n := range 3 {
		for i, a := range verdicts {
			for j, b := range verdicts {
				c := candidate(fmt.Sprintf("p%d", n), 4*i+j, "", "", 1)
				rows = append(rows, stillhouse.Scored{Candidate: c, Reward: math.NaN(), Scores: []stillhouse.Score{{Name: "a", Verdict: a, Evidence: "ea"}, {Name: "b", Verdict: b, Evidence: "eb"}, {Name: "c", Verdict: b}}})
			}
		}
	}
	tally.Add(rows)
	pairs := tally.Summary().Pairs
	require.Len(t, pairs, 3)
	require.Equal(t, []string{"a b", "a c", "b c"}, []string{pairs[0].A + " " + pairs[0].B, pairs[1].A + " " + pairs[1].B, pairs[2].A + " " + pairs[2].B})
	for _, a := range verdicts {
		for _, b := range verdicts {
			require.Equal(t, 3, pairs[0].Counts[a][b])
			require.Equal(t, map[bool]int{true: 12}[a == b], pairs[2].Counts[a][b])
		}
	}
	require.Equal(t, 6, pairs[0].Disagreements)
	require.Len(t, pairs[0].Examples, maxExamples)
	require.Equal(t, Disagreement{"p0", 1, VerdictReason{"right", "ea"}, VerdictReason{"wrong", "eb"}}, pairs[0].Examples[0])
	require.Zero(t, pairs[2].Disagreements)
}
