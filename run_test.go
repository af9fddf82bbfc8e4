package stillhouse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"stillhouse"
	"stillhouse/internal/testkit"
)

// source cuts rows into shards that end at the given rows, and at the last.
func source(rows arrow.RecordBatch, ends ...int) *testkit.MemorySource {
	var shards []arrow.RecordBatch
	from := 0
	for _, to := range append(ends, int(rows.NumRows())) {
		shards = append(shards, rows.NewSlice(int64(from), int64(to)))
		from = to
	}
	s := testkit.NewMemorySource(rows.Schema(), shards...)
	for _, b := range shards {
		b.Release()
	}
	return s
}

// ids lists what a run wrote: prompts by their number, left-out rows with reason and detail.
func ids(t *testing.T, sink *testkit.MemorySink) (kept, left string) {
	t.Helper()
	for _, s := range sink.Shards() {
		for _, b := range []arrow.RecordBatch{s.Kept, s.Dropped, s.Failed} {
			if b == nil {
				continue
			}
			ps, err := stillhouse.Prompts(b)
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range ps {
				if b.NumCols() == int64(stillhouse.PromptSchema.NumFields()) {
					kept += p.ID[1:] + " "
				} else {
					n := int(b.NumCols())
					left += fmt.Sprintf("%s %s %s (%s); ", p.ID[1:], b.Column(n-3).ValueStr(i), b.Column(n-2).ValueStr(i), b.Column(n-1).ValueStr(i))
				}
			}
		}
	}
	return strings.TrimSpace(kept), strings.TrimSpace(left)
}

func TestRun(t *testing.T) {
	for _, tc := range []struct {
		stage      stillhouse.Stage
		shards     int
		account    string
		kept, left string
	}{
		{&sort{}, 3, `{"in":10,"kept":6,"dropped":{"unwanted":2},"failed":{"transient":2}}`, "0 1 4 5 6 7",
			`3 sort unwanted (its source is drop); 2 sort transient (prompt "p2": no answer); ` +
				`8 sort unwanted (its source is drop); 9 sort transient (prompt "p9": no answer);`},
		{&triple{}, 3, `{"in":30,"kept":29,"dropped":{"third":1},"failed":{}}`, "0 0 0 1 1 2 2 2 3 3 3 4 4 4 5 5 5 6 6 6 7 7 7 8 8 8 9 9 9",
			`1 triple third (one too many);`},
		{&spare{}, 3, `{"in":30,"kept":19,"dropped":{},"failed":{},"unasked":{"easy":1,"spare":10},"accepted":10}`, "0 0 1 2 2 3 3 4 4 5 5 6 6 7 7 8 8 9 9", ""},
		{&unique{}, 3, `{"in":10,"kept":10,"dropped":{},"failed":{}}`, "0 1 2 3 4 5 6 7 8 9", ""},
		{&latest{}, 4, `{"in":10,"kept":9,"dropped":{"first":1},"failed":{}}`, "1 2 3 4 5 6 7 8 9", `0 latest first (the first of all);`},
	} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		rows := prompts(mem, 10)
		in, out := source(rows, 4, 4), &testkit.MemorySink{}
		ticks := 0
		var mu sync.Mutex
		a, err := stillhouse.Run(context.Background(), in, tc.stage, out, stillhouse.Options{Allocator: mem, BatchRows: 3, Tick: func(n int) {
			mu.Lock()
			defer mu.Unlock()
			ticks += n
		}})
		if err != nil {
			t.Fatalf("%s: %v", tc.stage.Name(), err)
		}
		text, _ := json.Marshal(a)
		kept, left := ids(t, out)
		if string(text) != tc.account || kept != tc.kept || left != tc.left || len(out.Shards()) != tc.shards {
			t.Errorf("%s: %s, %d shards\nkept %s\nleft %s", tc.stage.Name(), text, len(out.Shards()), kept, left)
		}
		if int64(ticks) != a.In {
			t.Errorf("%s: %d ticks for %d rows", tc.stage.Name(), ticks, a.In)
		}
		out.Release()
		in.Release()
		rows.Release()
		mem.AssertSize(t, 0)
	}
}

// TestToysConform holds the toys against the suite that every real stage passes.
func TestToysConform(t *testing.T) {
	for _, stage := range []func() stillhouse.Stage{
		func() stillhouse.Stage { return &sort{} }, func() stillhouse.Stage { return &triple{} }, func() stillhouse.Stage { return &spare{} },
		func() stillhouse.Stage { return &unique{} }, func() stillhouse.Stage { return &latest{} },
	} {
		t.Run(stage().Name(), func(t *testing.T) {
			testkit.Conform(t, testkit.Case{New: stage, Needs: []string{"prompt_id"}, Output: stillhouse.PromptSchema,
				Input: func(mem memory.Allocator) arrow.RecordBatch { return prompts(mem, 17) }})
		})
	}
}

// TestAnyCut is the metamorphic test of the runner: what comes out does not depend on shards, batches or workers.
func TestAnyCut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	for _, stage := range []func() stillhouse.Stage{
		func() stillhouse.Stage { return &sort{} }, func() stillhouse.Stage { return &triple{} }, func() stillhouse.Stage { return &spare{} },
		func() stillhouse.Stage { return &unique{} }, func() stillhouse.Stage { return &latest{} },
	} {
		var want [3]string
		for trial := range 40 {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			rows := prompts(mem, 60)
			o := stillhouse.Options{Allocator: mem}
			var ends []int
			if trial > 0 {
				for at := rnd.IntN(20); at < 60; at += rnd.IntN(20) {
					ends = append(ends, at)
				}
				o.Workers, o.BatchRows = 1+rnd.IntN(6), 1+rnd.IntN(25)
			}
			in, out := source(rows, ends...), &testkit.MemorySink{}
			a, err := stillhouse.Run(context.Background(), in, stage(), out, o)
			if err != nil {
				t.Fatal(err)
			}
			text, _ := json.Marshal(a)
			kept, left := byKind(t, out)
			got := [3]string{string(text), kept, left}
			if trial == 0 {
				want = got
			} else if got != want {
				t.Errorf("%s, shards ending at %v, %+v: %s", stage().Name(), ends, o, cmp.Diff(want, got))
			}
			out.Release()
			in.Release()
			rows.Release()
			mem.AssertSize(t, 0)
		}
	}
}

// byKind is ids with dropped rows before failed ones over all shards.
func byKind(t *testing.T, sink *testkit.MemorySink) (kept, left string) {
	t.Helper()
	kept, all := ids(t, sink)
	var dropped, failed []string
	for _, l := range strings.SplitAfter(all, "; ") {
		if strings.Contains(l, " transient ") {
			failed = append(failed, l)
		} else {
			dropped = append(dropped, l)
		}
	}
	join := func(s []string) string { return strings.TrimRight(strings.Join(s, ""), "; ") }
	return kept, join(dropped) + " | " + join(failed)
}

// TestSequenced looks at what a stage is told of its shards, those among them that are there already.
func TestSequenced(t *testing.T) {
	rows := prompts(memory.DefaultAllocator, 10)
	in, out := source(rows, 4, 4, 6), &testkit.MemorySink{}
	s := &told{}
	for trial := range 2 {
		if _, err := stillhouse.Run(context.Background(), in, s, out, stillhouse.Options{Workers: 3, BatchRows: 1}); err != nil {
			t.Fatal(err)
		}
		wantRows, wantMade := map[int]int64{0: 4, 1: 0, 2: 2, 3: 4}, 0
		if trial == 1 { // one was lost
			wantRows, wantMade = map[int]int64{2: 2}, 3
		}
		delete(s.at, 1)
		if d := cmp.Diff(wantRows, s.rows); d != "" || len(s.made) != wantMade || s.restarts != trial+1 || len(s.early) > 0 {
			t.Errorf("trial %d: told %v and %v, restarted %d times, rows came before their shards %v", trial, s.rows, s.made, s.restarts, s.early)
		}
		for shard, n := range s.at {
			if n != wantRows[shard] {
				t.Errorf("trial %d: %d rows came as shard %d's", trial, n, shard)
			}
		}
		if a := s.made[3]; trial == 1 && a.Kept != 4 {
			t.Errorf("shard 3 is said to be there with %+v", a)
		}
		out.Forget(2)
	}
}

// TestPromptsStayWhole looks at the batches that a stage gets: the rows of one prompt are never split.
func TestPromptsStayWhole(t *testing.T) {
	var rows []stillhouse.Candidate
	for i := range 40 {
		rows = append(rows, stillhouse.Candidate{Prompt: stillhouse.Prompt{ID: fmt.Sprint(i / 4)}, Sample: int32(i % 4)})
	}
	batch := stillhouse.CandidateBatch(memory.DefaultAllocator, rows)
	for _, size := range []int{0, 1, 3, 4, 5, 8, 39, 1 << 62} {
		s := &watch{}
		if _, err := stillhouse.Run(context.Background(), source(batch), s, &testkit.MemorySink{}, stillhouse.Options{BatchRows: size}); err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, n := range s.sizes {
			total += n
			if n%4 != 0 || n == 0 {
				t.Errorf("with batches of %d rows, one has %d", size, n)
			}
		}
		if total != 40 || size > 0 && s.sizes[0] != min(40, (size+3)/4*4) {
			t.Errorf("with batches of %d rows they have %v", size, s.sizes)
		}
	}
}

// watch notes the sizes of its batches.
type watch struct{ sizes []int }

func (*watch) Name() string { return "watch" }

func (*watch) Schema(in *arrow.Schema) (*arrow.Schema, error) { return in, nil }

func (s *watch) Begin() error { s.sizes = nil; return nil }

func (s *watch) Process(_ context.Context, b arrow.RecordBatch, out stillhouse.Emitter) error {
	s.sizes = append(s.sizes, int(b.NumRows()))
	b.Retain()
	return out.Emit(b)
}

func TestRunErrors(t *testing.T) {
	fault := errors.New("fault")
	for name, tc := range map[string]struct {
		stage  stillhouse.Stage
		is     error
		kind   stillhouse.Kind
		says   string
		source func(int) error
		sink   func(int) error
	}{
		"lost rows":            {stage: &wrong{How: "loses"}, is: stillhouse.ErrUnbalanced, kind: stillhouse.Invalid, says: "wrong: shard 0: the books do not balance: 10 rows in, 0 kept, 0 dropped, 0 failed"},
		"made-up rows":         {stage: &wrong{How: "makes up"}, is: stillhouse.ErrUnbalanced, kind: stillhouse.Invalid, says: "10 rows in, 20 kept"},
		"skips what it cannot": {stage: &wrong{How: "skips"}, kind: stillhouse.Invalid, says: "wrong: skipped 1 rows (spare), but is no Expander"},
		"another schema":       {stage: &wrong{How: "another schema"}, kind: stillhouse.Invalid, says: "wrong: emitted a batch of another schema"},
		"drops another schema": {stage: &wrong{How: "drops another schema"}, kind: stillhouse.Invalid, says: "wrong: left out rows (other) of another schema"},
		"fails another schema": {stage: &wrong{How: "fails another schema"}, kind: stillhouse.Invalid, says: "another schema"},
		"a stage's error":      {stage: &wrong{How: "gives up"}, is: errStage, kind: stillhouse.Invalid, says: "wrong: prompt 1: the stage gave up"},
		"the source's error":   {stage: &sort{}, is: fault, says: "sort: shard 0: fault", source: func(int) error { return fault }},
		"the sink's error":     {stage: &sort{}, is: fault, says: "sort: shard 0: fault", sink: func(int) error { return fault }},
		"in a flusher":         {stage: &latest{}, is: fault, says: "latest: shard 1: fault", sink: func(i int) error { return map[int]error{1: fault}[i] }},
	} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		rows := prompts(mem, 10)
		in, out := source(rows), &testkit.MemorySink{Fault: tc.sink}
		in.Fault = tc.source
		_, err := stillhouse.Run(context.Background(), in, tc.stage, out, stillhouse.Options{Allocator: mem})
		if err == nil || !strings.Contains(err.Error(), tc.says) || tc.is != nil && !errors.Is(err, tc.is) || stillhouse.KindOf(err) != tc.kind {
			t.Errorf("%s: %v (%v)", name, err, stillhouse.KindOf(err))
		}
		if o, ok := tc.stage.(stillhouse.Ordered); ok {
			_ = o.Begin()
		}
		in.Release()
		out.Release()
		rows.Release()
		mem.AssertSize(t, 0)
	}

	samples := stillhouse.SampleBatch(memory.DefaultAllocator, nil)
	_, err := stillhouse.Run(context.Background(), source(samples), &sort{}, &testkit.MemorySink{}, stillhouse.Options{})
	if stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), `sort: column "source" is missing`) {
		t.Errorf("another input: %v", err)
	}
	mixed := testkit.NewMemorySource(stillhouse.PromptSchema, prompts(memory.DefaultAllocator, 1), samples)
	_, err = stillhouse.Run(context.Background(), mixed, &sort{}, &testkit.MemorySink{}, stillhouse.Options{Workers: 1})
	if stillhouse.KindOf(err) != stillhouse.Invalid || !strings.Contains(err.Error(), "shard 1 has the columns [prompt completion") {
		t.Errorf("shards of several schemas: %v", err)
	}
}

// TestFirstError has one shard fail while others wait: they are cancelled, and the first error is the run's.
func TestFirstError(t *testing.T) {
	rows := prompts(memory.DefaultAllocator, 8)
	in := source(rows, 1, 2, 3)
	in.Fault = func(shard int) error {
		if shard == 3 {
			return errStage
		}
		return nil
	}
	_, err := stillhouse.Run(context.Background(), in, &wrong{How: "waits"}, &testkit.MemorySink{}, stillhouse.Options{Workers: 4})
	if !errors.Is(err, errStage) {
		t.Errorf("the error is %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, s := range []stillhouse.Stage{&sort{}, &unique{}, &latest{}} {
		out := &testkit.MemorySink{}
		_, err := stillhouse.Run(ctx, source(prompts(memory.DefaultAllocator, 8), 3), s, out, stillhouse.Options{})
		if !errors.Is(err, context.Canceled) || len(out.Shards()) != 0 {
			t.Errorf("%s: %v, %d shards", s.Name(), err, len(out.Shards()))
		}
	}
}

// TestResume stops a run after each shard and takes up again; then it removes one shard after the other.
func TestResume(t *testing.T) {
	rows := prompts(memory.DefaultAllocator, 30)
	for _, stage := range []func() stillhouse.Stage{
		func() stillhouse.Stage { return &sort{} }, func() stillhouse.Stage { return &unique{} }, func() stillhouse.Stage { return &latest{} },
	} {
		whole := &testkit.MemorySink{}
		want, err := stillhouse.Run(context.Background(), source(rows, 5, 11, 20), stage(), whole, stillhouse.Options{})
		if err != nil {
			t.Fatal(err)
		}
		wantKept, wantLeft := ids(t, whole)
		check := func(how string, out *testkit.MemorySink, read *[]int) {
			t.Helper()
			in := source(rows, 5, 11, 20)
			ticks := 0
			*read = nil
			in.Fault = func(shard int) error { *read = append(*read, shard); return nil }
			got, err := stillhouse.Run(context.Background(), in, stage(), out, stillhouse.Options{Workers: 1, Tick: func(n int) { ticks += n }})
			if err != nil {
				t.Fatal(err)
			}
			kept, left := ids(t, out)
			if d := cmp.Diff(want, got); d != "" || kept != wantKept || left != wantLeft || int64(ticks) != want.In {
				t.Errorf("%s, %s: %s, %d ticks\nkept %s\nleft %s", stage().Name(), how, d, ticks, kept, left)
			}
		}
		_, ordered := stage().(stillhouse.Ordered)
		var read []int
		n := len(whole.Shards())
		for stop := range n {
			out := &testkit.MemorySink{Fault: func(shard int) error {
				if shard == stop {
					return errStage
				}
				return nil
			}}
			if _, err := stillhouse.Run(context.Background(), source(rows, 5, 11, 20), stage(), out, stillhouse.Options{Workers: 1}); !errors.Is(err, errStage) {
				t.Fatal(err)
			}
			out.Fault = nil
			check(fmt.Sprint("stopped at shard ", stop), out, &read)
			if !ordered && len(read) != n-stop {
				t.Errorf("%s, stopped at shard %d of %d: read %v again", stage().Name(), stop, n, read)
			}
		}
		check("whole", whole, &read)
		if len(read) > 0 {
			t.Errorf("%s: a run that is done read %v again", stage().Name(), read)
		}
		for shard := range n {
			whole.Forget(shard)
			check(fmt.Sprint("without shard ", shard), whole, &read)
		}
	}
}

func TestNothing(t *testing.T) {
	for _, s := range []stillhouse.Stage{&sort{}, &unique{}, &latest{}} {
		out := &testkit.MemorySink{}
		a, err := stillhouse.Run(context.Background(), testkit.NewMemorySource(stillhouse.PromptSchema), s, out, stillhouse.Options{})
		text, _ := json.Marshal(a)
		if err != nil || string(text) != `{"in":0,"kept":0,"dropped":{},"failed":{}}` {
			t.Errorf("%s: %s, %v", s.Name(), text, err)
		}
	}
}
