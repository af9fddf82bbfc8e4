package curate

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/curate/reward"
	"stillhouse/internal/testkit"
)

func TestScoreConforms(t *testing.T) {
	testkit.Conform(t, testkit.Case{
		New:     func() stillhouse.Stage { return &Score{Rewards: demoRewards(t)} },
		Input:   candidateBatch,
		Needs:   []string{"reference", "completion", "completion_tokens"},
		Output:  stillhouse.ScoredSchema,
		Account: &stillhouse.Account{In: 10, Kept: 10},
	})
}

// runScore has the stage score candidates.
func runScore(rows []stillhouse.Candidate, entries []reward.Entry) ([]stillhouse.Scored, error) {
	in := testkit.NewMemorySource(stillhouse.CandidateSchema, stillhouse.CandidateBatch(memory.NewGoAllocator(), rows))
	out := &testkit.MemorySink{}
	if _, err := stillhouse.Run(context.Background(), in, &Score{Rewards: entries}, out, stillhouse.Options{}); err != nil {
		return nil, err
	}
	return stillhouse.ScoredRows(out.Shards()[0].Kept)
}

// scored are the candidates as the stage scores them.
func scored(t testing.TB, entries []reward.Entry) []stillhouse.Scored {
	t.Helper()
	mem := memory.NewGoAllocator()
	in := testkit.NewMemorySource(stillhouse.CandidateSchema, candidateBatch(mem))
	out := &testkit.MemorySink{}
	_, err := stillhouse.Run(context.Background(), in, &Score{Rewards: entries}, out, stillhouse.Options{})
	require.NoError(t, err)
	rows, err := stillhouse.ScoredRows(out.Shards()[0].Kept)
	require.NoError(t, err)
	return rows
}

func TestScoreRewards(t *testing.T) {
	type line struct {
		id     string
		reward float64
		math   string
	}
	var got []line
	for _, r := range scored(t, demoRewards(t)) {
		require.Equal(t, "math", r.Scores[0].Name)
		require.Equal(t, "length", r.Scores[1].Name)
		got = append(got, line{r.ID, r.Reward, r.Scores[0].Verdict})
	}
	require.Equal(t, []line{
		{"p1", 1.1, "right"}, {"p1", 0.1, "wrong"}, {"p1", 1.1, "right"},
		{"p2", 0.1, "unparsable"}, {"p2", 0.1, "wrong"},
		{"p3", 1.05, "right"}, {"p3", 1, "right"}, // 60 and 90 tokens of 40: a right answer of any length reaches 1
		{"p4", 0.1, "unparsable"},
		{"p5", 1.1, "right"}, {"p5", 1.1, "right"},
	}, got)
}

// A fake reward does what the test says.
type fake func(ctx context.Context) stillhouse.Score

func (fake) Version() string { return "1" }
func (f fake) Score(ctx context.Context, _ stillhouse.Candidate) stillhouse.Score {
	return f(ctx)
}

// TestScoreFaults lets a verifier hang, panic and answer nonsense.
func TestScoreFaults(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	for name, c := range map[string]struct {
		says              fake
		verdict, evidence string
	}{
		"hangs":      {func(context.Context) stillhouse.Score { <-hang; return stillhouse.Score{} }, "timeout", "no verdict after 1ms"},
		"panics":     {func(context.Context) stillhouse.Score { panic("no \xff way") }, "error", "panic: no \uFFFD way"},
		"no verdict": {func(context.Context) stillhouse.Score { return stillhouse.Score{Score: 1} }, "error", `the reward gave verdict "", which is none`},
		"gives up": {func(ctx context.Context) stillhouse.Score {
			<-ctx.Done()
			return stillhouse.Score{Verdict: "timeout", Evidence: "no verdict after 1ms"}
		}, "timeout", "no verdict after 1ms"},
		"says it fails": {func(context.Context) stillhouse.Score {
			return stillhouse.Score{Verdict: "error", Evidence: "e", Score: 1}
		}, "error", "e"},
	} {
		s := scorer{Reward: c.says, name: "f", weight: 1, timeout: time.Minute}
		if c.verdict == "timeout" {
			s.timeout = time.Millisecond
		}
		got := s.ask(context.Background(), make([]stillhouse.Candidate, 1), nil)[0]
		require.Equal(t, []string{"f", c.verdict, c.evidence}, []string{got.Name, got.Verdict, got.Evidence}, name)
		require.True(t, math.IsNaN(got.Score), name)
		require.True(t, math.IsNaN((&panel{scorers: []scorer{s}}).weighted([]stillhouse.Score{got})), name)
		s.weight = 0
		require.Zero(t, (&panel{scorers: []scorer{s}}).weighted([]stillhouse.Score{got}), "a reward of weight 0 does not count")
	}
}

func TestScoreSchema(t *testing.T) {
	fields := []arrow.Field{}
	for _, f := range stillhouse.CandidateSchema.Fields() {
		if f.Name != "reference" {
			fields = append(fields, f)
		}
	}
	_, err := stillhouse.Check(arrow.NewSchema(fields, nil), &Score{Rewards: demoRewards(t)})
	require.ErrorContains(t, err, `score: reward "math" compares with a reference answer, and there is no column "reference"`)
	require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))

	_, err = stillhouse.Check(stillhouse.CandidateSchema, &Score{Rewards: demoRewards(t)}, &Select{})
	require.NoError(t, err)
	_, err = (&Score{Rewards: demoRewards(t)}).Schema(stillhouse.ScoredSchema)
	require.ErrorContains(t, err, "have been scored")
	require.Equal(t, []string{"math"}, (&Score{Rewards: demoRewards(t)}).NeedsReference())
}

func TestConfig(t *testing.T) {
	const text = "rewards: [math, {length: {max_tokens: 40, weight: 0.1}}, {regex: {pattern: '####', name: marked, timeout: 0.5}}]\nselect: {best: 2, min_reward: 1}\n"
	var c Config
	require.NoError(t, yaml.Unmarshal([]byte(text), &c))
	c.EnsureDefaults()
	require.NoError(t, c.Validate())
	require.Equal(t, []string{"math", "length", "marked"}, []string{c.Rewards[0].Name, c.Rewards[1].Name, c.Rewards[2].Name})
	require.Equal(t, []float64{1, 0.1, 1}, []float64{*c.Rewards[0].Weight, *c.Rewards[1].Weight, *c.Rewards[2].Weight})
	require.Equal(t, &reward.Length{MaxTokens: 40}, c.Rewards[1].Options)
	require.Equal(t, 0.5, c.Rewards[2].Timeout)
	require.Equal(t, 2, c.Select.Best)

	written, err := yaml.Marshal(c)
	require.NoError(t, err)
	require.Equal(t, `rewards:
    - {math: {name: math, weight: 1, timeout: 5}}
    - {length: {min_tokens: 0, max_tokens: 40, name: length, weight: 0.1, timeout: 5}}
    - {regex: {pattern: '####', negate: false, name: marked, weight: 1, timeout: 0.5}}
combine: weights
select:
    best: 2
    min_reward: 1
`, string(written))
	var again Config
	require.NoError(t, yaml.Unmarshal(written, &again))
	require.Equal(t, c, again)
	data, err := json.Marshal(c)
	require.NoError(t, err)
	again = Config{}
	require.NoError(t, json.Unmarshal(data, &again))
	require.Equal(t, c, again)
}

func TestConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"rewards:\n- mth": `line 2: "mth" is not a reward: did you mean "math"?`,
		"rewards:\n- math\n- length: {max_token: 3}":          `line 3: length.max_token: is not a key: did you mean "max_tokens"?`,
		"rewards:\n- math: {wieght: 3}":                       `line 2: math.wieght: is not a key: did you mean "weight"?`,
		"rewards:\n- length:\n    max_tokens: many":           `line 3: length.max_tokens: wants a whole number, not "many"`,
		"rewards: [{length: {max_tokens: 4.5}}]":              `line 1: length.max_tokens: wants a whole number, not "4.5"`,
		"rewards: [{length: {}}]":                             `line 1: length: neither max_tokens nor min_tokens is set`,
		"rewards: [{length: {min_tokens: 9, max_tokens: 2}}]": `length.min_tokens: is 9 and max_tokens 2`,
		"rewards: [{math: {weight: heavy}}]":                  `line 1: math.weight: wants a number, not "heavy"`,
		"rewards: [{math: {weight: .nan}}]":                   `math.weight: is NaN: it must be a finite number`,
		"rewards:\n- math: {timeout: 1,\n    weight: .nan}":   `line 3: math.weight: is NaN: it must be a finite number`,
		"rewards: [{math: {timeout: -1}}]":                    `math.timeout: is -1: it must be between 0 and 86400 seconds`,
		"rewards: [{math: {weight: 1, weight: 2}}]":           `math.weight: is there twice, first in line 1`,
		"rewards: [{math: 3}]":                                `line 1: math: wants keys and values, not "3"`,
		"rewards: [{math: {}, length: {}}]":                   `line 1: wants one name, or one name with its options, such as`,
		"rewards: [[math]]":                                   `line 1: wants one name, or one name with its options`,
		"rewards: [{regex: {pattern: '('}}]":                  `line 1: regex.pattern: is "("`,
		"rewards: [regex]":                                    `line 1: regex.pattern: is missing`,
		"rewards: [math, math]":                               `rewards[1]: is named "math", as another one is`,
		"rewards: [{math: {weight: 0}}]":                      `rewards: have all weight 0`,
		"rewards: []":                                         `rewards: is empty`,
		"rewards: [math]\nselect: {best: -1}":                 `select.best: is -1`,
		"rewards: [math]\nselect: {min_reward: .inf}":         `select.min_reward: is +Inf`,
	} {
		var c Config
		err := yaml.Unmarshal([]byte(text), &c)
		if err == nil {
			c.EnsureDefaults()
			err = c.Validate()
		}
		require.ErrorContains(t, err, want, text)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), text)
	}
	for text, want := range map[string]string{
		`{"rewards": ["mth"]}`:                           `did you mean "math"?`,
		`{"rewards": [{"length": {"max_token": 3}}]}`:    `did you mean "max_tokens"?`,
		`{"rewards": [{"length": {"max_tokens": "x"}}]}`: `length.max_tokens: wants a whole number, not "x"`,
		`{"rewards": [{"a": {}, "b": {}}]}`:              `wants one name`,
		`{"rewards": [{"math": 3}]}`:                     `math: wants keys and values, not "3"`,
	} {
		err := json.Unmarshal([]byte(text), &Config{})
		require.ErrorContains(t, err, want, text)
		require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), text)
	}
}
