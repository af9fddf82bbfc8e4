package distill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func inBatches(d *Distill) { d.Mode = ModeBatch }

// source is prompts in shards of sixteen.
func source(prompts []stillhouse.Prompt) *testkit.MemorySource {
	var shards []arrow.RecordBatch
	for ps := range slices.Chunk(prompts, 16) {
		shards = append(shards, stillhouse.PromptBatch(memory.DefaultAllocator, ps))
	}
	return testkit.NewMemorySource(stillhouse.PromptSchema, shards...)
}

// filled runs the stage after all its requests were made in batches.
func filled(ctx context.Context, d *Distill, prompts []stillhouse.Prompt) (result, error) {
	if err := d.Fill(ctx, source(prompts), nil, nil); err != nil {
		return result{}, err
	}
	return run(ctx, d, prompts)
}

func mustFill(t *testing.T, d *Distill, prompts []stillhouse.Prompt) result {
	t.Helper()
	r, err := filled(context.Background(), d, prompts)
	require.NoError(t, err)
	return r
}

// What comes by batches is what comes by single requests, and either finds what the other has paid for.
func TestBatchesBringTheSameRows(t *testing.T) {
	for name, script := range map[string]*testkit.Teacher{"n honoured": {}, "n ignored": {MaxChoices: 1}, "n refused": {RefuseN: true}} {
		t.Run(name, func(t *testing.T) {
			online := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: script.MaxChoices, RefuseN: script.RefuseN})
			want := mustRun(t, newStage(t, online), questions(40))
			teacher := testkit.StartTeacher(t, &testkit.Teacher{MaxChoices: script.MaxChoices, RefuseN: script.RefuseN, Batches: &testkit.Batches{Polls: 3, Reverse: true}})
			d := newStage(t, teacher, inBatches)
			got := mustFill(t, d, questions(40))
			assert.Empty(t, cmp.Diff(want, got))
			assert.Zero(t, teacher.Resent())
			counters := d.Requests()
			assert.EqualValues(t, 160, counters.Asked)
			if name == "n honoured" {
				assert.Equal(t, []int{40}, teacher.BatchLines(), "one batch for the whole run")
				assert.EqualValues(t, 40, counters.Answered)
			} else {
				assert.Len(t, teacher.BatchLines(), 2, "and one for what n did not bring")
			}

			again := newStage(t, teacher, inStore(d.Store)) // one by one
			assert.Empty(t, cmp.Diff(want, mustRun(t, again, questions(40))))
			more := newStage(t, teacher, inBatches, inStore(d.Store), func(d *Distill) { d.Samples = Exactly(6) })
			mustFill(t, more, questions(40))
			assert.EqualValues(t, 80, more.Requests().Asked, "a higher K pays for the difference")
			assert.Zero(t, teacher.Resent())
		})
	}
}

// Process makes batches by itself where nobody has filled the store.
func TestProcessMakesBatches(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	r := mustRun(t, newStage(t, teacher, inBatches), questions(20))
	assert.Len(t, r.Rows, 80)
	assert.Equal(t, 2, teacher.BatchCount(), "one for each call")
}

func TestBatchesAreSplit(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	d := newStage(t, teacher, inBatches, func(d *Distill) { d.Batch.MaxRequests = 15 })
	assert.Len(t, mustFill(t, d, questions(40)).Rows, 160)
	assert.Equal(t, []int{15, 15, 10}, teacher.BatchLines())

	long := questions(6)
	for i := range long {
		long[i].Prompt[0].Content += strings.Repeat(" x", 200_000) // 0.4 MB
	}
	long[3].Prompt[0].Content += strings.Repeat(" x", 400_000) // more than a file may have
	teacher = testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{MaxBytes: 1_000_000}})
	d = newStage(t, teacher, inBatches, func(d *Distill) { d.Batch.MaxMegabytes = 1 })
	r := mustFill(t, d, long)
	assert.Equal(t, []int{2, 2, 1}, teacher.BatchLines())
	assert.Len(t, r.Rows, 20)
	require.Len(t, r.Failed, 4)
	assert.Contains(t, r.Failed[0], "and a batch's file may have 1 MB (distill.batch.max_megabytes)")
}

// An equal prompt under another id is in no batch twice.
func TestEqualPromptsInBatches(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	prompts := questions(40)
	for i := range prompts {
		prompts[i].Prompt = questions(2)[i%2].Prompt
	}
	assert.Len(t, mustFill(t, newStage(t, teacher, inBatches), prompts).Rows, 160)
	assert.Equal(t, []int{2}, teacher.BatchLines())
}

// A row that is refused fails alone, one that may succeed is in the next batch.
func TestFailuresInBatches(t *testing.T) {
	var mu sync.Mutex
	came := map[string]int{}
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}, Fault: func(c testkit.Call) *testkit.Fault {
		mu.Lock()
		defer mu.Unlock()
		came[c.Prompt()]++
		switch c.Prompt() {
		case question(1):
			return testkit.Status(400, "invalid_prompt", "")
		case question(6):
			return testkit.Status(400, "context_length_exceeded", "")
		case question(2):
			return testkit.Status(500, "server_error", "")
		case question(3):
			if came[c.Prompt()] < 3 {
				return testkit.Status(429, "rate_limit_exceeded", "")
			}
		case question(4):
			if came[c.Prompt()] < 2 {
				return testkit.ErrorObject("no luck")
			}
		case question(5):
			if came[c.Prompt()] < 2 {
				return testkit.EmptyChoices()
			}
		}
		return nil
	}})
	d := newStage(t, teacher, inBatches, func(d *Distill) { d.MaxRetries = new(3) })
	r := mustFill(t, d, questions(10))
	assert.Len(t, r.Rows, 28)
	assert.Equal(t, map[string]int64{"permanent": 4, "transient": 4}, r.Account.Failed)
	assert.Equal(t, map[string]int64{"context_length": 4}, r.Account.Dropped, "as it would be by itself")
	failed := strings.Join(r.Failed, "\n")
	assert.Contains(t, failed, `prompt "p1" sample 0: the endpoint `+teacher.URL()+" answered 400 Bad Request: scripted failure 400")
	assert.Contains(t, failed, `prompt "p2" sample 3: the endpoint `+teacher.URL()+" answered 500")
	assert.Equal(t, 4, came[question(2)], "once, and three times again")
	assert.Equal(t, []int{10, 4, 2, 1}, teacher.BatchLines())
	assert.Zero(t, teacher.Resent())
	assert.Equal(t, map[string]int64{"500": 12, "429": 8, "error": 4, "empty": 4}, d.Requests().Retries, "by sample")
}

// What an expired batch has answered is kept, and only the rest asked again.
func TestExpiredBatch(t *testing.T) {
	first := func(number int, body string) bool {
		return number == 0 && (strings.Contains(body, "is 7 +") || strings.Contains(body, "is 3 +"))
	}
	for _, end := range []string{"expired", "completed"} { // a completed batch may lack lines as well
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Unanswered: first, End: func(number int) string {
			return []string{end, "completed"}[min(number, 1)]
		}}})
		r := mustFill(t, newStage(t, teacher, inBatches), questions(10))
		assert.Len(t, r.Rows, 40)
		assert.Equal(t, []int{10, 2}, teacher.BatchLines(), end)
		assert.Zero(t, teacher.Resent())
	}
	never := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{End: func(int) string { return "expired" }, Unanswered: func(int, string) bool { return true }}})
	r := mustFill(t, newStage(t, never, inBatches, func(d *Distill) { d.MaxRetries = new(2) }), questions(10))
	assert.Equal(t, map[string]int64{"transient": 40}, r.Account.Failed)
	assert.Equal(t, []int{10, 10, 10}, never.BatchLines())
	assert.Contains(t, r.Failed[0], "could not be executed before the completion window expired")
}

// A cancelled batch ends the run, which keeps what was answered; the next run asks for the rest.
func TestCancelledBatch(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{
		End:        func(number int) string { return []string{"cancelled", "completed"}[min(number, 1)] },
		Unanswered: func(number int, body string) bool { return number == 0 && strings.Contains(body, "is 7 +") }}})
	d := newStage(t, teacher, inBatches)
	_, err := filled(context.Background(), d, questions(10))
	require.ErrorContains(t, err, "batch batch_0 was cancelled at the endpoint: 9 of its 10 requests were answered and are kept")
	assert.Equal(t, stillhouse.Transient, stillhouse.KindOf(err))
	assert.Len(t, mustFill(t, newStage(t, teacher, inBatches, inStore(d.Store)), questions(10)).Rows, 40)
	assert.Equal(t, []int{10, 1}, teacher.BatchLines())
}

// A batch that the endpoint does not begin with is the user's to mend, unless it only lacks room.
func TestRefusedBatch(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{End: func(number int) string { return []string{"failed", "completed"}[min(number, 1)] }}})
	d := newStage(t, teacher, inBatches)
	_, err := filled(context.Background(), d, questions(3))
	require.ErrorContains(t, err, "did not begin with batch batch_0 of 3 requests: model_not_found: line 1: The provided model 'm' is not supported")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	assert.Len(t, mustFill(t, newStage(t, teacher, inBatches, inStore(d.Store)), questions(3)).Rows, 12)

	crowded := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Polls: 2, MaxOpen: 2}})
	d = newStage(t, crowded, inBatches, func(d *Distill) { d.Batch.MaxRequests = 5 })
	assert.Len(t, mustFill(t, d, questions(30)).Rows, 120)
	assert.Equal(t, []int{5, 5, 5, 5, 5, 5}, crowded.BatchLines())
	assert.Equal(t, 6, crowded.FileCount(), "a file waits where it is")
	assert.Positive(t, d.Requests().Retries["token_limit_exceeded"])

	full := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Refuse: func(r *http.Request, before bool) *testkit.BatchFault {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/batches") {
			return &testkit.BatchFault{Status: 400, Body: `{"error":{"message":"Enqueued token limit reached","code":"token_limit_exceeded"}}`}
		}
		return nil
	}}})
	d = newStage(t, full, inBatches)
	_, err = filled(context.Background(), d, questions(3))
	require.ErrorContains(t, err, "has had no room for a further batch for 1h")
	assert.Equal(t, stillhouse.Transient, stillhouse.KindOf(err))
}

// A key that is not right, or an endpoint without the Batch API, ends the run with a word on what to do.
func TestEndpointsWithoutBatches(t *testing.T) {
	none := testkit.StartTeacher(t, &testkit.Teacher{})
	_, err := filled(context.Background(), newStage(t, none, inBatches), questions(3))
	require.ErrorContains(t, err, "it may have no Batch API; write distill.mode: online then")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))

	t.Setenv("MY_KEY", planted)
	locked := testkit.StartTeacher(t, &testkit.Teacher{Key: "another", Batches: &testkit.Batches{}})
	_, err = filled(context.Background(), newStage(t, locked, inBatches, func(d *Distill) { d.APIKeyEnv = new("MY_KEY") }), questions(3))
	require.ErrorContains(t, err, "check the key in the variable MY_KEY (distill.api_key_env)")
	assert.NotContains(t, err.Error(), planted)

	echo := testkit.StartTeacher(t, &testkit.Teacher{Key: planted, Batches: &testkit.Batches{Refuse: func(r *http.Request, before bool) *testkit.BatchFault {
		return &testkit.BatchFault{Status: 403, Body: `{"error":{"message":"you sent %KEY%"}}`}
	}}})
	_, err = filled(context.Background(), newStage(t, echo, inBatches, func(d *Distill) { d.APIKeyEnv = new("MY_KEY") }), questions(3))
	require.ErrorContains(t, err, "you sent [key]")
	assert.NotContains(t, err.Error(), planted)

	dead := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}, Fault: func(testkit.Call) *testkit.Fault { return testkit.Status(404, "model_not_found", "") }})
	d := newStage(t, dead, inBatches)
	_, err = filled(context.Background(), d, questions(3))
	require.ErrorContains(t, err, `batch batch_0: the endpoint `+dead.URL()+` answered 404 Not Found`)
	require.ErrorContains(t, err, `check distill.model ("m")`)
	assert.Equal(t, 1, dead.BatchCount())
}

// The endpoint fails for a while in every way it can, at every step: nothing is made twice.
func TestBatchEndpointFails(t *testing.T) {
	for _, fault := range []testkit.BatchFault{{Status: 500, Body: "oops"}, {Status: 503}, {Status: 429, Body: `{"error":{"message":"slow down"}}`}, {Reset: true}, {Cut: true}, {Status: 200, Body: "{}"}, {Status: 200, Body: "<html>"}} {
		for _, before := range []bool{true, false} {
			if fault.Cut && before {
				continue
			}
			t.Run(fmt.Sprintf("%+v before %t", fault, before), func(t *testing.T) {
				failed := map[string]int{}
				teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Polls: 1, Refuse: func(r *http.Request, b bool) *testkit.BatchFault {
					if key := r.Method + r.URL.Path; b == before && failed[key] < 2 {
						failed[key]++
						return &fault
					}
					return nil
				}}})
				got, err := filled(context.Background(), newStage(t, teacher, inBatches), questions(10))
				require.NoError(t, err)
				assert.Len(t, got.Rows, 40)
				assert.Empty(t, got.Failed)
				assert.Equal(t, []int{10}, teacher.BatchLines(), "one batch, also where the answer to making it was lost")
				assert.Zero(t, teacher.Resent())
			})
		}
	}
}

// Where an answer was lost and the batches cannot be listed, the run stops rather than pay twice.
func TestBatchThatCannotBeFound(t *testing.T) {
	lose := true
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{NoList: true, Refuse: func(r *http.Request, before bool) *testkit.BatchFault {
		if lose && !before && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/batches") {
			return &testkit.BatchFault{Reset: true}
		}
		return nil
	}}})
	d := newStage(t, teacher, inBatches)
	_, err := filled(context.Background(), d, questions(3))
	require.ErrorContains(t, err, "and it does not list its batches: look at the provider's pages for a batch of the file file-in-0")
	require.ErrorContains(t, err, "write distill.batch.forget: [stillhouse-")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	_, err = filled(context.Background(), newStage(t, teacher, inBatches, inStore(d.Store)), questions(3))
	require.ErrorContains(t, err, "it does not list its batches", "still")
	lose = false
	token := err.Error()[strings.Index(err.Error(), "stillhouse-"):]
	token = token[:strings.Index(token, "]")]
	r := mustFill(t, newStage(t, teacher, inBatches, inStore(d.Store), func(d *Distill) { d.Batch.Forget = []string{token} }), questions(3))
	assert.Len(t, r.Rows, 12)
}

// A batch that the endpoint does not know is waited for with a word, until it is forgotten.
func TestBatchThatIsGone(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Polls: 100}})
	d := newStage(t, teacher, inBatches)
	require.NoError(t, d.Open(context.Background()))
	d.asker.batch.stop = func(step string) error {
		if step == "poll" {
			return errors.New("killed")
		}
		return nil
	}
	_, err := filled(context.Background(), d, questions(3))
	require.ErrorContains(t, err, "killed")
	require.NoError(t, d.Close())
	other := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}})
	_, err = filled(context.Background(), newStage(t, other, inBatches, inStore(d.Store)), questions(3))
	require.ErrorContains(t, err, "does not know batch batch_0, which this store waits for with 3 requests")
	require.ErrorContains(t, err, "at "+teacher.URL())
	r := mustFill(t, newStage(t, other, inBatches, inStore(d.Store), func(d *Distill) { d.Batch.Forget = []string{"batch_0"} }), questions(3))
	assert.Len(t, r.Rows, 12)
}

// Batches are looked at more and more seldom.
func TestPolling(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{Polls: 9}})
	d := newStage(t, teacher, inBatches)
	mustFill(t, d, questions(3))
	slept := d.clock.(*leap).slept
	require.Len(t, slept, 9)
	assert.Equal(t, []time.Duration{5 * time.Second, 7500 * time.Millisecond, 11250 * time.Millisecond}, slept[:3])
	assert.Equal(t, time.Minute, slept[8])
}

func TestBatchOptionsAreChecked(t *testing.T) {
	for says, change := range map[string]func(*Options){
		`mode: is "bulk": it must be online or batch`: func(o *Options) { o.Mode = "bulk" },
		"batch.max_requests: is -1":                   func(o *Options) { o.Batch.MaxRequests = -1 },
		"batch.max_megabytes: is -1":                  func(o *Options) { o.Batch.MaxMegabytes = -1 },
		"batch.poll: is -1ns":                         func(o *Options) { o.Batch.Poll = -1 },
	} {
		o := Options{Endpoint: "http://127.0.0.1:1/v1", Model: "m"}
		change(&o)
		o.EnsureDefaults()
		require.ErrorContains(t, o.Validate(), says)
	}
}
