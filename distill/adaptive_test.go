package distill

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// A firstWord accepts candidates whose answer begins with one of some words: of the teacher's sixteen, all equally likely.
type firstWord struct {
	words []string
	most  int
}

var quarter = firstWord{[]string{"copper", "cask", "mash", "heart"}, 1}

func (f firstWord) Accept(_ context.Context, cs []stillhouse.Candidate) (n int, err error) {
	for _, c := range cs {
		if f.good(c) {
			n++
		}
	}
	return n, nil
}

func (f firstWord) good(c stillhouse.Candidate) bool {
	for _, w := range f.words {
		if strings.HasPrefix(c.Text(), w) {
			return true
		}
	}
	return false
}

func (f firstWord) Most() int { return f.most }

func adaptively(s Samples, j Judge) func(*Distill) {
	return func(d *Distill) {
		d.Samples = s
		d.Join(j)
	}
}

// Each prompt is asked in rounds until enough is accepted, and not once more; however the server treats n.
func TestStopsWhenEnoughIsAccepted(t *testing.T) {
	for _, s := range []Samples{{Min: 1, Max: 16, Enough: 1}, {Min: 2, Max: 12, Enough: 2}, {Min: 3, Max: 3, Enough: 1}, {Min: 4, Max: 9, Enough: 9}} {
		var want result
		for i, teacher := range []*testkit.Teacher{{}, {MaxChoices: 1}, {RefuseN: true}, {MaxChoices: 3}} {
			testkit.StartTeacher(t, teacher)
			d := newStage(t, teacher, adaptively(s, quarter))
			got := mustRun(t, d, questions(40))
			if i == 0 {
				want = got
			}
			require.Empty(t, cmp.Diff(want.texts(), got.texts()), "%v, teacher %d", s, i)
			assert.Empty(t, cmp.Diff(want.Account, got.Account))
			assert.Zero(t, teacher.Resent())
			assert.Equal(t, len(got.Rows), int(d.Requests().Asked))
			again := newStage(t, teacher, adaptively(s, quarter), inStore(d.Store))
			assert.Empty(t, cmp.Diff(got, mustRun(t, again, questions(40))), "the same store gives the same rows")
			assert.Zero(t, again.Requests().Requests)
		}
		asked, good, total := map[string]int{}, map[string][]bool{}, 0
		for _, c := range want.Rows {
			require.Equal(t, asked[c.ID], int(c.Sample))
			asked[c.ID]++
			good[c.ID] = append(good[c.ID], quarter.good(c))
		}
		for _, p := range questions(40) {
			n, accepted := 0, 0
			for step := s.Min; step > 0; step = s.next(n, accepted) {
				for range step {
					if good[p.ID][n] {
						accepted++
					}
					n++
				}
			}
			assert.Equal(t, n, asked[p.ID], "%v, prompt %s: %v", s, p.ID, good[p.ID])
			total += min(1, accepted)
		}
		unasked := int64(40*s.Max - len(want.Rows))
		assert.Equal(t, unasked, want.Account.Unasked["enough"])
		assert.Equal(t, unasked == 0, want.Account.Unasked == nil)
		assert.Equal(t, int64(total), want.Account.Accepted)
	}
}

// What was paid for with a fixed K serves the rounds of an adaptive one, and the other way round.
func TestFixedAndAdaptiveShareTheStore(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher, adaptively(Exactly(4), quarter))
	fixed := mustRun(t, d, questions(30))
	adaptive := newStage(t, teacher, inStore(d.Store), adaptively(Samples{Min: 2, Max: 8, Enough: 1}, quarter))
	got := mustRun(t, adaptive, questions(30))
	for _, c := range teacher.Calls()[30:] {
		assert.LessOrEqual(t, c.N, 4, "the first four are there")
	}
	stored := map[string]stillhouse.Candidate{}
	for _, c := range fixed.Rows {
		stored[fmt.Sprint(c.ID, c.Sample)] = c
	}
	for _, c := range got.Rows {
		if was, ok := stored[fmt.Sprint(c.ID, c.Sample)]; ok {
			assert.Empty(t, cmp.Diff(was, c))
		} else {
			assert.GreaterOrEqual(t, c.Sample, int32(4))
		}
	}
	requests := teacher.Requests()
	back := mustRun(t, newStage(t, teacher, inStore(d.Store), adaptively(Exactly(4), quarter)), questions(30))
	assert.Empty(t, cmp.Diff(fixed, back))
	assert.Equal(t, requests, teacher.Requests())
}

// A prompt that fails is not asked for more samples.
func TestFailedPromptsGetNoMoreRounds(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		if c.Prompt() == question(3) {
			return testkit.Status(400, "bad_param", "")
		}
		return nil
	}})
	d := newStage(t, teacher, adaptively(Samples{Min: 2, Max: 10, Enough: 1}, quarter))
	r := mustRun(t, d, questions(8))
	assert.Equal(t, map[string]int64{"permanent": 2}, r.Account.Failed)
	assert.Equal(t, int64(8), r.Account.Unasked["prompt_failed"])
	assert.LessOrEqual(t, teacher.Asked(question(3)), 2, "once with n, and once to see whether n is the matter")
}

// A run that is cancelled in the middle of its rounds goes on with the very rounds it would have made.
func TestCancelledRoundsGoOn(t *testing.T) {
	s := adaptively(Samples{Min: 1, Max: 16, Enough: 1}, quarter)
	want := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{}), s), questions(40))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		if c.Number == 60 {
			cancel()
		}
		return nil
	}})
	d := newStage(t, teacher, s)
	_, err := run(ctx, d, questions(40))
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, d.Close())
	assert.Empty(t, cmp.Diff(want, mustRun(t, newStage(t, teacher, s, inStore(d.Store)), questions(40))))
	assert.Zero(t, teacher.Resent())
}

func TestAdaptiveNeedsAJudge(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	for _, change := range []func(*Distill){
		func(d *Distill) { d.Samples = Samples{Min: 1, Max: 2, Enough: 1} },
		func(d *Distill) { d.Target.Accepted = 5 },
	} {
		require.ErrorContains(t, newStage(t, teacher, change).Open(context.Background()), "nobody judges")
	}
	failing := newStage(t, teacher, adaptively(Exactly(2), broken{}))
	_, err := run(context.Background(), failing, questions(3))
	require.ErrorIs(t, err, errJudge)
}

type broken struct{}

var errJudge = stillhouse.Invalidf("no verdict")

func (broken) Accept(context.Context, []stillhouse.Candidate) (int, error) { return 0, errJudge }
func (broken) Most() int                                                   { return 1 }

// TestRoundsAreFewAndSmall compares the rounds with asking one by one, which buys the fewest samples, with doubling, and
// with asking for all at once when the first do not suffice: prompts whose rate of acceptance is drawn from Beta
// distributions. The table that it logs is the one in docs/distill.md.
func TestRoundsAreFewAndSmall(t *testing.T) {
	rules := []struct {
		name string
		next func(s Samples, asked, accepted int) int
	}{
		{"one by one", func(Samples, int, int) int { return 1 }},
		{"doubling", func(_ Samples, asked, _ int) int { return asked }},
		{"ours", Samples.next},
		{"all at once", func(s Samples, _, _ int) int { return s.Max }},
	}
	beta := func(r *rand.Rand, a, b float64) float64 { // by Jöhnk's rejection
		for {
			x, y := math.Pow(r.Float64(), 1/a), math.Pow(r.Float64(), 1/b)
			if x+y <= 1 && x+y > 0 {
				return x / (x + y)
			}
		}
	}
	const prompts = 20000
	for _, s := range []Samples{{1, 16, 1}, {2, 16, 1}, {4, 32, 4}} {
		for _, d := range []struct {
			name string
			a, b float64
		}{{"easy, Beta(4, 1)", 4, 1}, {"mixed, Beta(½, ½)", .5, .5}, {"hard, Beta(0.4, 1.6)", .4, 1.6}} {
			var samples, rounds [4]float64
			for i, rule := range rules {
				rates, luck := rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(2, 2))
				for range prompts {
					p, asked, accepted := beta(rates, d.a, d.b), 0, 0
					for n := s.Min; n > 0; {
						rounds[i]++
						for range n {
							if luck.Float64() < p {
								accepted++
							}
						}
						if asked += n; asked == s.Max || accepted >= s.Enough {
							break
						}
						n = min(rule.next(s, asked, accepted), s.Max-asked)
					}
					samples[i] += float64(asked)
				}
			}
			row := ""
			for i, rule := range rules {
				row += fmt.Sprintf(" | %s %.2f in %.2f", rule.name, samples[i]/prompts, rounds[i]/prompts)
			}
			t.Logf("%v, enough %d, %s%s", s, s.Enough, d.name, row)
			assert.LessOrEqual(t, samples[2], 1.12*samples[0], "samples, %v %s", s, d.name)
			assert.LessOrEqual(t, samples[2], samples[1], "samples, %v %s", s, d.name)
			assert.LessOrEqual(t, rounds[2], 1.1*rounds[1], "rounds, %v %s", s, d.name)
			assert.Less(t, rounds[2], rounds[0], "rounds, %v %s", s, d.name)
		}
	}
}

func TestAdaptiveConforms(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: 2, Fault: func(c testkit.Call) *testkit.Fault {
		switch {
		case strings.Contains(c.Prompt(), "2 + 2"):
			return testkit.Status(400, "bad", "")
		case c.Nth == 0 && c.Number%3 == 0:
			return testkit.Status(503, "", "1")
		}
		return nil
	}})
	store := filepath.Join(t.TempDir(), "conform.db")
	testkit.Conform(t, testkit.Case{
		New: func() stillhouse.Stage {
			return &Distill{Options: Options{Endpoint: teacher.URL(), Model: "m", Samples: Samples{Min: 2, Max: 9, Enough: 1}, Store: store, Target: Target{Accepted: 3}}}
		},
		Join: func(s stillhouse.Stage) {
			d := s.(*Distill)
			d.clock, d.draw = newLeap(), func() float64 { return 0.5 }
			d.Join(quarter)
			t.Cleanup(func() { assert.NoError(t, d.Close()) })
		},
		Input:  func(mem memory.Allocator) arrow.RecordBatch { return stillhouse.PromptBatch(mem, questions(9)) },
		Needs:  []string{"prompt_id", "prompt"},
		Output: stillhouse.CandidateSchema,
	})
}
