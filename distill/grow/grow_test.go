package grow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/distill/prompts"
)

// A scripted teacher answers by a function, and remembers what it was asked, sample by sample.
type scripted struct {
	answer func(r Request, sample int) Answer
	mu     sync.Mutex
	asked  []string
	stored map[string]Answer
	fresh  int
}

func (s *scripted) Ask(ctx context.Context, r Request) ([]Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Answer
	for i := range r.Samples {
		sample := r.First + i
		key := fmt.Sprintf("%v %s %d %v", r.Messages, r.Text, sample, r.Seed)
		s.asked = append(s.asked, key)
		a, ok := s.stored[key]
		if !ok {
			a = s.answer(r, sample)
			a.Key = fmt.Sprint("key of sample ", sample)
			s.fresh++
			if s.stored == nil {
				s.stored = map[string]Answer{}
			}
			s.stored[key] = a
		}
		out = append(out, a)
	}
	return out, nil
}

func seedTasks(n int) (out []stillhouse.Prompt) {
	for i := range n {
		out = append(out, stillhouse.Prompt{ID: fmt.Sprint("seed", i), Prompt: []stillhouse.Message{{Role: "user", Content: fmt.Sprintf("Task about topic%d with detail%d and colour%d", i, i, i)}}})
	}
	return out
}

// tasks is an answer with so many numbered tasks about subjects that are not there yet.
func tasks(first, n, from int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d. Explain how thing%d moves in place%d during year%d\n", first+i, from+i, from+i, from+i)
	}
	return b.String() + "END\n"
}

// wanted reads from a request how many tasks it wants, from which number on.
func wanted(t testing.TB, r Request) (first, n int) {
	found := regexp.MustCompile(`numbered (\d+) to (\d+)`).FindStringSubmatch(r.Messages[0].Content)
	require.Len(t, found, 3, r.Messages[0].Content)
	first, _ = strconv.Atoi(found[1])
	last, _ := strconv.Atoi(found[2])
	return first, last - first + 1
}

type grown struct {
	rows []stillhouse.Prompt
	bad  []prompts.BadRow
	Summary
}

func (g grown) texts() (out []string) {
	for _, p := range g.rows {
		out = append(out, p.Prompt[0].Content)
	}
	return out
}

func tryGrow(ctx context.Context, o Options, seeds []stillhouse.Prompt, t Teacher) (g grown, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return g, err
	}
	g.Summary, err = Grow(ctx, o, seeds, t, Sink{
		Prompt: func(p stillhouse.Prompt) error { g.rows = append(g.rows, p); return nil },
		Bad:    func(b prompts.BadRow) error { g.bad = append(g.bad, b); return nil },
	})
	return g, err
}

func mustGrow(t testing.TB, o Options, seeds []stillhouse.Prompt, teacher Teacher) grown {
	t.Helper()
	g, err := tryGrow(context.Background(), o, seeds, teacher)
	require.NoError(t, err)
	assert.True(t, g.Account.Balanced(), "%+v", g.Account)
	assert.EqualValues(t, len(g.rows), g.Account.Kept)
	assert.Len(t, g.bad, int(g.Account.In-g.Account.Kept))
	return g
}

// parents are those that meta names.
func parents(t testing.TB, p stillhouse.Prompt) []string {
	var m struct {
		Method     string
		Parent     []string
		RequestKey string `json:"request_key"`
		Similarity *float64
	}
	require.NoError(t, json.Unmarshal([]byte(*p.Meta), &m))
	assert.Equal(t, p.Source, m.Method)
	assert.NotEmpty(t, m.RequestKey)
	require.NotNil(t, m.Similarity)
	assert.Less(t, *m.Similarity, 0.7)
	return m.Parent
}

func TestSelfInstruct(t *testing.T) {
	teacher := &scripted{answer: func(r Request, sample int) Answer {
		first, n := wanted(t, r)
		assert.Equal(t, 9, first)
		assert.Equal(t, 1.0, r.Temperature)
		assert.Equal(t, 1024, r.MaxTokens)
		return Answer{Text: "Sure! Here they are:\n\n" + tasks(first, n, 100*sample)}
	}}
	o := Options{Target: 100, Round: 4}
	g := mustGrow(t, o, seedTasks(20), teacher)
	require.Len(t, g.rows, 100)
	assert.Empty(t, g.Stopped)
	assert.Equal(t, 13, g.Requests, "8 tasks each")
	assert.Equal(t, map[string]int64{"beyond_target": 4}, g.Account.Dropped)

	ids := map[string]bool{}
	for _, p := range seedTasks(20) {
		ids[p.ID] = true
	}
	bootstrapped := 0
	for i, p := range g.rows {
		from := parents(t, p)
		require.Len(t, from, 8)
		own := 0
		for _, id := range from {
			assert.True(t, ids[id], "%d: a parent is a seed or was grown in an earlier round", i)
			if !strings.HasPrefix(id, "seed") {
				own++
			}
		}
		assert.Contains(t, []int{0, 2}, own)
		bootstrapped += own
		if (i+1)%32 == 0 { // a round is over
			for _, q := range g.rows[:i+1] {
				ids[q.ID] = true
			}
		}
		assert.Equal(t, SelfInstruct, p.Source)
		assert.Nil(t, p.Reference)
	}
	assert.Equal(t, 2*(100-32), bootstrapped, "two of each request after the first round")

	// What was answered is not asked again, and more of it comes after what there was.
	fresh := teacher.fresh
	again := mustGrow(t, o, seedTasks(20), teacher)
	assert.Equal(t, g.rows, again.rows)
	assert.Equal(t, fresh, teacher.fresh)
	o.Target = 200
	more := mustGrow(t, o, seedTasks(20), teacher)
	assert.Equal(t, g.texts(), more.texts()[:100])
	assert.LessOrEqual(t, teacher.fresh, 26+3, "and what a smaller last round had asked differently")
	o.Seed = 1
	assert.NotEqual(t, parents(t, g.rows[0]), parents(t, mustGrow(t, o, seedTasks(20), teacher).rows[0]))
}

// Growth does not depend on which answer comes first.
func TestGrowthIsDeterministic(t *testing.T) {
	answer := func(r Request, sample int) Answer {
		first, n := wanted(t, r)
		return Answer{Text: tasks(first, n, 5*sample)} // each overlaps with the next
	}
	one := mustGrow(t, Options{Target: 60, Round: 8}, seedTasks(10), &scripted{answer: answer})
	for range 5 {
		assert.Equal(t, one.rows, mustGrow(t, Options{Target: 60, Round: 8}, seedTasks(10), &scripted{answer: answer}).rows)
	}
	assert.Positive(t, one.Account.Dropped["duplicate"])
}

// Every dropped prompt has a reason, a place and its text.
func TestReasons(t *testing.T) {
	long := strings.Repeat("word ", 151)
	teacher := &scripted{answer: func(r Request, sample int) Answer {
		switch sample {
		case 0:
			return Answer{Text: "9. Task about topic3 with detail3 and colour3\n10. Tell me more\n11. " + long + "\n12. Describe the picture that hangs in the museum\n" +
				"13. \n14. - a list of things to do today\n15. Write a program that sorts numbers\n16. Explain why the sky looks blue at noon\nEND"}
		case 1:
			return Answer{Text: "I cannot help with that."}
		case 2:
			return Answer{Text: "9. Explain why the sky looks blue at midday\n10. List four rivers of Europe and where they", Truncated: true}
		case 3:
			return Answer{Err: errors.New("the endpoint answered 400")}
		}
		return Answer{Text: tasks(9, 8, 100*sample)}
	}}
	g := mustGrow(t, Options{Target: 20, Round: 4, Tasks: 1}, seedTasks(8), teacher)
	got := map[string]string{}
	for _, b := range g.bad {
		got[b.Place] = b.Reason + ": " + b.Detail
	}
	assert.Equal(t, "too_short: it has 3 words, fewer than 4", got["round 1 request 1 item 2"])
	assert.Equal(t, "too_long: it has 151 words, more than 150", got["round 1 request 1 item 3"])
	assert.Equal(t, `forbidden: it holds "picture"`, got["round 1 request 1 item 4"])
	assert.Equal(t, "unparsable: it is empty", got["round 1 request 1 item 5"])
	assert.Equal(t, "unparsable: it begins with '-'", got["round 1 request 1 item 6"])
	assert.Equal(t, `forbidden: it holds "write a program"`, got["round 1 request 1 item 7"])
	assert.Equal(t, "duplicate: its similarity by rouge-l to prompt seed3 is 1.000: Task about topic3 with detail3 and colour3", got["round 1 request 1 item 1"])
	assert.Equal(t, "unparsable: there is no prompt in the answer", got["round 1 request 2"])
	assert.Contains(t, got["round 1 request 3 item 1"], "duplicate: its similarity by rouge-l to prompt")
	assert.Equal(t, "truncated: the answer ended at 1024 tokens", got["round 1 request 3 item 2"])
	assert.Equal(t, "no_answer: the endpoint answered 400", got["round 1 request 4"])
	assert.Equal(t, "Explain why the sky looks blue at noon", g.texts()[0])
	for _, b := range g.bad {
		if b.Reason != "no_answer" && b.Detail != "it is empty" {
			assert.NotEmpty(t, b.Text, b.Place)
		}
	}
}

func TestGrowthStops(t *testing.T) {
	same := &scripted{answer: func(r Request, sample int) Answer { return Answer{Text: tasks(9, 2, 0)} }}
	g := mustGrow(t, Options{Target: 10, Round: 2, MaxRequests: 100}, seedTasks(8), same)
	assert.Len(t, g.rows, 2)
	assert.Equal(t, "the last 5 rounds brought nothing new", g.Stopped)
	assert.Equal(t, 6, g.Rounds)

	g = mustGrow(t, Options{Target: 10, Round: 4, MaxRequests: 6}, seedTasks(8), same)
	assert.Equal(t, "max_requests (6) is reached", g.Stopped)
	assert.Equal(t, 6, g.Requests)

	_, err := tryGrow(context.Background(), Options{Target: 10}, seedTasks(5), same)
	require.ErrorContains(t, err, "there are 5 seed tasks in prompts.path, and a request shows 6")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = tryGrow(ctx, Options{Target: 10}, seedTasks(8), same)
	require.ErrorIs(t, err, context.Canceled)
}

func TestMinHashKeepsApart(t *testing.T) {
	const words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
	teacher := &scripted{answer: func(r Request, sample int) Answer {
		if sample == 0 {
			return Answer{Text: "9. " + words + "\n10. " + words + " seventeen\n11. sixteen fifteen fourteen thirteen twelve eleven ten nine eight"}
		}
		return Answer{Text: tasks(9, 8, 100*sample)}
	}}
	g := mustGrow(t, Options{Target: 3, Near: MinHash, Tasks: 3}, seedTasks(8), teacher)
	assert.Equal(t, "duplicate", g.bad[0].Reason)
	assert.Contains(t, g.bad[0].Detail, "its similarity by minhash to prompt "+g.rows[0].ID+" is 0.933")
	assert.NotContains(t, *g.rows[0].Meta, "similarity", "MinHash knows only what is near")
}

func TestMagpie(t *testing.T) {
	teacher := &scripted{answer: func(r Request, sample int) Answer {
		assert.Empty(t, r.Messages)
		assert.Equal(t, "<|im_start|>user\n", r.Text)
		assert.Equal(t, []string{"<|im_end|>"}, r.Stop)
		switch sample % 5 {
		case 1:
			return Answer{Text: "How do I do thing" + fmt.Sprint(sample), Truncated: true}
		case 2:
			return Answer{Text: "How is this<|im_end|>\n<|im_start|>assistant\nFine."}
		case 3:
			return Answer{Text: "Hm <|im_start|>user\n again and again"}
		}
		return Answer{Text: fmt.Sprintf("\nWhat does word%d mean when people%d say it%d?\n", sample, sample, sample)}
	}}
	o := Options{Method: Magpie, Target: 12, Round: 10}
	o.SetTemplate("<|im_start|>user\n", "<|im_end|>\n")
	g := mustGrow(t, o, nil, teacher)
	assert.Len(t, g.rows, 12)
	assert.Equal(t, "What does word0 mean when people0 say it0?", g.texts()[0])
	assert.Empty(t, parents(t, g.rows[0]))
	assert.Positive(t, g.Account.Dropped["truncated"])
	assert.Positive(t, g.Account.Dropped["unparsable"])
	assert.Positive(t, g.Account.Dropped["too_short"], "cut at the end of the turn")
	again := mustGrow(t, o, nil, &scripted{answer: teacher.answer})
	assert.Equal(t, g.rows, again.rows)

	chat := &scripted{answer: func(r Request, sample int) Answer {
		require.Len(t, r.Messages, 2)
		assert.Equal(t, "You are a cook.", r.Messages[0].Content)
		return Answer{Text: fmt.Sprintf("What does word%d mean when people%d say it%d?", sample, sample, sample)}
	}}
	g = mustGrow(t, Options{Method: Magpie, Via: ViaChat, System: "You are a cook.", Target: 5}, nil, chat)
	assert.Len(t, g.rows, 5)
}
