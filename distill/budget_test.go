package distill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func spending(b Budget, book Book) func(*Distill) {
	return func(d *Distill) {
		d.Budget, d.Prices = b, Prices{Input: 1, Output: 10}
		d.Remember(book)
	}
}

func openBook(t *testing.T, path string) *FileBook {
	t.Helper()
	b, err := OpenBook(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// A run whose budget is spent ends with what it has; with a larger one it goes on where it was, and ends as a run that
// had it from the start.
func TestBudgetOfRequests(t *testing.T) {
	whole := mustRun(t, newStage(t, testkit.StartTeacher(t, &testkit.Teacher{})), questions(40))
	for _, choices := range []int{0, 1} {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: choices})
		path := filepath.Join(t.TempDir(), "book.json")
		store := ""
		for i, budget := range []int64{30, 30, 31, 90, 200} {
			d := newStage(t, teacher, inStore(store), spending(Budget{Requests: budget}, openBook(t, path)))
			r := mustRun(t, d, questions(40))
			store = d.Store
			assert.Equal(t, min(int(budget), 40+120*choices), teacher.Requests(), "budget %d", budget)
			assert.Zero(t, teacher.Resent())
			assert.Equal(t, int64(teacher.Requests()), d.Requests().Requests, "the book remembers")
			assert.Len(t, r.Rows, 160-int(r.Account.Unasked["budget_spent"]))
			if i == 1 || budget == 200 {
				again := mustRun(t, newStage(t, teacher, inStore(store), spending(Budget{Requests: budget}, openBook(t, path))), questions(40))
				assert.Empty(t, cmp.Diff(r, again), "the same store gives the same rows")
			}
			if budget == 200 {
				assert.Empty(t, cmp.Diff(whole.texts(), r.texts()))
				assert.Empty(t, cmp.Diff(whole.Account, r.Account))
			}
			require.NoError(t, d.Close())
		}
	}
}

// Requests that failed count: a budget of requests is one of requests.
func TestBudgetCountsRequestsThatFail(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		if c.Number%2 == 0 {
			return testkit.Status(500, "", "")
		}
		return nil
	}})
	d := newStage(t, teacher, func(d *Distill) { d.Budget.Requests = 25 })
	r := mustRun(t, d, questions(40))
	assert.Equal(t, 25, teacher.Requests())
	assert.Empty(t, r.Failed, "what was to be tried again is unasked, not failed")
	assert.Len(t, r.Rows, 4*12)
	assert.Equal(t, int64(4*28), r.Account.Unasked["budget_spent"])
}

// Answers that are in the store cost nothing.
func TestStoredAnswersCostNothing(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher)
	want := mustRun(t, d, questions(20))
	cheap := newStage(t, teacher, inStore(d.Store), func(d *Distill) { d.Budget = Budget{Requests: 1, CompletionTokens: 1} })
	assert.Empty(t, cmp.Diff(want, mustRun(t, cheap, questions(20))))
	assert.Equal(t, 20, teacher.Requests())
}

// Near its end a budget holds back requests that it could not pay for. So it is overrun by less than one request costs,
// though 64 could be in flight.
func TestBudgetIsHardlyOverrun(t *testing.T) {
	each := Counters{Answered: 1, PromptTokens: 9, CompletionTokens: 40}
	answer := func(testkit.Call) testkit.Choice { return testkit.Choice{Content: "ten", Tokens: 10} }
	cost := Prices{Input: 1, Output: 10}.Cost(each)
	for name, tc := range map[string]struct {
		budget Budget
		afford int
	}{
		"prompt tokens":     {Budget{PromptTokens: 9*50 + 5}, 51},
		"completion tokens": {Budget{CompletionTokens: 40*50 - 1}, 50},
		"dollars":           {Budget{Dollars: 50.5 * cost}, 51},
		"the first":         {Budget{Dollars: 1e-6}, 1},
		"both":              {Budget{Dollars: 1, CompletionTokens: 40 * 20}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Answer: answer})
			d := newStage(t, teacher, func(d *Distill) { d.Concurrency, d.MaxTokens = 64, 10 }, spending(tc.budget, nil))
			d.book = nil
			r := mustRun(t, d, questions(300))
			assert.Equal(t, tc.afford, teacher.Requests())
			assert.Len(t, r.Rows, 4*tc.afford)
			assert.Zero(t, d.Requests().Late, "none was in flight when it was spent")
			assert.InDelta(t, float64(tc.afford)*cost, d.Prices.Cost(d.Requests()), 1e-9)
		})
	}
}

// Where the answers are longer than any before, what was in flight is counted, and shown.
func TestWhatWasInFlightAtTheEndIsCounted(t *testing.T) {
	all := make(chan struct{})
	arrived := 0
	teacher := testkit.StartTeacher(t, &testkit.Teacher{
		Fault: func(c testkit.Call) *testkit.Fault {
			if arrived++; arrived == 8 {
				close(all)
			}
			return &testkit.Fault{Hold: all, Pass: true}
		},
		Answer: func(testkit.Call) testkit.Choice { return testkit.Choice{Content: "a long one", Tokens: 100} },
	})
	d := newStage(t, teacher, func(d *Distill) { d.Concurrency, d.MaxTokens, d.Samples = 8, 10, Exactly(1) }, spending(Budget{CompletionTokens: 85}, nil))
	d.book = nil
	r := mustRun(t, d, questions(50))
	c := d.Requests()
	assert.Equal(t, int64(8), c.Requests)
	assert.Equal(t, int64(7), c.Late)
	assert.Equal(t, "800 completion tokens of 85", d.Budget.Over(c, d.Prices))
	assert.Len(t, r.Rows, 8, "what is paid for is used")
}

// TestBudgetOutlivesKills kills processes that spend one budget at random moments.
func TestBudgetOutlivesKills(t *testing.T) {
	const kills, budget = 8, 60
	draw := rand.New(rand.NewPCG(3, 3))
	started := make(chan *os.Process, 1)
	next := 0
	var killed atomic.Int32
	var dead atomic.Bool
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(c testkit.Call) *testkit.Fault {
		if c.Number >= next && killed.Load() < kills && !dead.Load() {
			dead.Store(true)
			killed.Add(1)
			next = c.Number + 1 + draw.IntN(8)
			assert.NoError(t, (<-started).Kill())
		}
		return nil
	}})
	dir := t.TempDir()
	options, err := json.Marshal(newStage(t, teacher, inStore(filepath.Join(dir, "responses.db")), func(d *Distill) { d.Budget.Requests = budget }))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "options.json"), options, 0o600))
	out := filepath.Join(dir, "rows.json")
	for runs := 1; ; runs++ {
		require.LessOrEqual(t, runs, kills+1)
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "STILLHOUSE_TEST_CHILD="+dir)
		require.NoError(t, cmd.Start())
		started <- cmd.Process
		_ = cmd.Wait()
		if _, err := os.Stat(out); err == nil {
			break
		}
		require.True(t, dead.Load(), "the program ended by itself, without its rows")
		dead.Store(false)
	}
	assert.LessOrEqual(t, teacher.Requests(), budget)
	assert.GreaterOrEqual(t, teacher.Requests(), budget-kills*4, "a kill can take what was counted and not yet sent")
	c, _, err := ReadBook(filepath.Join(dir, "book.json"))
	require.NoError(t, err)
	assert.Equal(t, int64(budget), c.Requests)
	var r result
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &r))
	assert.Equal(t, int64(600), r.Account.Kept+r.Account.Unasked["budget_spent"])
	assert.Len(t, r.Rows, int(r.Account.Kept))
}

func TestBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "book.json")
	_, there, err := ReadBook(path)
	require.NoError(t, err)
	assert.False(t, there)
	b := openBook(t, path)
	c, err := b.Load()
	require.NoError(t, err)
	assert.Equal(t, Counters{}, c)
	for _, want := range []Counters{{Requests: 123456, Retries: map[string]int64{"429": 7}}, {Requests: 1}, {Requests: 12, Late: 3}} {
		require.NoError(t, b.Save(want))
		got, there, err := ReadBook(path)
		require.NoError(t, err)
		assert.True(t, there)
		assert.Equal(t, want, got)
	}
	many := Counters{Retries: map[string]int64{}}
	for i := range 600 {
		many.Retries[fmt.Sprint("kind", i)] = 1
	}
	require.ErrorContains(t, b.Save(many), "more than fit")
	require.NoError(t, os.WriteFile(path, []byte(`{"requests": 1`), 0o600))
	_, err = b.Load()
	require.ErrorContains(t, err, "is damaged")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	_, err = OpenBook(filepath.Join(path, "below"))
	require.ErrorContains(t, err, "open the account of requests")
}

// A full disk ends a run before it spends what it could not account for.
func TestBookThatCannotBeWritten(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	full := &fullBook{after: 10}
	_, err := run(context.Background(), newStage(t, teacher, spending(Budget{Requests: 100}, full)), questions(40))
	require.ErrorIs(t, err, errFull)
	assert.LessOrEqual(t, teacher.Requests(), 10)
	full.after = 1 << 30 // for Close
}

var errFull = errors.New("the disk is full")

type fullBook struct{ after int }

func (b *fullBook) Load() (Counters, error) { return Counters{}, nil }

func (b *fullBook) Save(Counters) error {
	if b.after--; b.after < 0 {
		return errFull
	}
	return nil
}

func TestCost(t *testing.T) {
	c := Counters{PromptTokens: 2e6, CachedTokens: 5e5, CompletionTokens: 1e6}
	assert.InDelta(t, 2*0.5+1*2, Prices{Input: 0.5, Output: 2}.Cost(c), 1e-12)
	assert.InDelta(t, 1.5*0.5+0.5*0.05+2, Prices{Input: 0.5, Output: 2, CachedInput: new(0.05)}.Cost(c), 1e-12)
	assert.InDelta(t, 1.5*0.5+2, Prices{Input: 0.5, Output: 2, CachedInput: new(0.0)}.Cost(c), 1e-12)
	c.CachedTokens = 9e6
	assert.InDelta(t, 2*0.05+2, Prices{Input: 0.5, Output: 2, CachedInput: new(0.05)}.Cost(c), 1e-12, "no more than there were")
}

// Endpoints that give no usage are paid by what can be seen of the request and of the answer.
func TestBudgetWithoutUsage(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{NoUsage: true})
	d := newStage(t, teacher, func(d *Distill) { d.Budget.CompletionTokens, d.Concurrency = 300, 1 })
	r := mustRun(t, d, questions(100))
	var sum int64
	for _, c := range r.Rows {
		sum += int64(c.CompletionTokens)
	}
	assert.Equal(t, sum, d.Requests().CompletionTokens)
	assert.GreaterOrEqual(t, sum, int64(300))
	assert.Less(t, sum, int64(300+4*40))
	var prompts int64
	for _, c := range teacher.Calls() {
		prompts += int64(len(c.Body)+3) / 4
	}
	assert.Equal(t, prompts, d.Requests().PromptTokens)
}

func TestBudgetsThatCannotBe(t *testing.T) {
	for says, change := range map[string]func(*Options){
		"budget.requests: is -1":            func(o *Options) { o.Budget.Requests = -1 },
		"budget.dollars: is -0.5":           func(o *Options) { o.Budget.Dollars = -0.5 },
		"budget.dollars: is 5, but what":    func(o *Options) { o.Budget.Dollars = 5 },
		"prices.output: is -1":              func(o *Options) { o.Prices.Output = -1 },
		"prices.cached_input: is -2":        func(o *Options) { o.Prices.CachedInput = new(-2.0) },
		"target.accepted: is -3":            func(o *Options) { o.Target.Accepted = -3 },
		"budget.completion_tokens: is -100": func(o *Options) { o.Budget.CompletionTokens = -100 },
	} {
		o := Options{Endpoint: "http://127.0.0.1:1/v1", Model: "m"}
		change(&o)
		o.EnsureDefaults()
		require.ErrorContains(t, o.Validate(), says)
	}
	assert.True(t, strings.HasPrefix(Budget{Dollars: 1}.Over(Counters{CompletionTokens: 2e6}, Prices{Output: 1}), "$2.0000 of $1.0000"))
}

// BenchmarkBook is what a budget costs a request, twice: before it is sent, and when it is answered.
func BenchmarkBook(b *testing.B) {
	book, err := OpenBook(filepath.Join(b.TempDir(), "book.json"))
	if err != nil {
		b.Fatal(err)
	}
	defer book.Close()
	c := Counters{Retries: map[string]int64{"429": 12, "500": 3}}
	for b.Loop() {
		c.Requests++
		c.CompletionTokens += 100
		if err := book.Save(c); err != nil {
			b.Fatal(err)
		}
	}
}
