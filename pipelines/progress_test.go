package pipelines

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/distill"
	"stillhouse/internal/metrics"
)

var asking42 = distill.Status{
	Counters: distill.Counters{Requests: 420, Answered: 400, Asked: 800, FromStore: 100, PromptTokens: 9000, CachedTokens: 300, CompletionTokens: 16000,
		Retries: map[string]int64{"429": 12, "500": 8}},
	Speed:   distill.Speed{InFlight: 60, Concurrency: 64},
	Prompts: 300, Total: 1000, Judged: 900, Accepted: 450, Rows: 280, Cost: 0.169, CostEnd: 0.561,
}

// TestWatcherText looks at the lines that a log gets, and when.
func TestWatcherText(t *testing.T) {
	var out bytes.Buffer
	ui := UI{Out: &out}
	start := time.Now()
	w := &watcher{ui: ui, bar: ui.bar("distill", 4000), options: distill.Options{Prices: distill.Prices{Input: 1, Output: 10}}, told: start}
	w.bar.tick(900)
	for s := range 61 {
		status := asking42
		status.Requests = int64(10 * s)
		w.tick(start.Add(time.Duration(s)*time.Second), status, s == 60)
	}
	want := "distill  900 of 4000, 10.0 requests/s, 450 accepted (50.0 %), $0.1690, about $0.5610 at the end, 60 of 64 in flight, sent again: 429 12, 500 8\n"
	if out.String() != want {
		t.Errorf("%q, not %q", out.String(), want)
	}
}

func TestWatcherJSON(t *testing.T) {
	var out bytes.Buffer
	ui := UI{Out: io.Discard, Log: slog.New(slog.NewJSONHandler(&out, nil))}
	start := time.Now()
	w := &watcher{ui: ui, bar: ui.bar("distill", 4000), options: distill.Options{Prices: distill.Prices{Input: 1}}, told: start}
	w.bar.start = start
	for s := range 12 {
		status := asking42
		if s == 11 {
			status.CostEnd = math.NaN()
		}
		w.tick(start.Add(time.Duration(s)*time.Second), status, s == 11)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 { // after 5 s and 10 s, and at the end
		t.Fatalf("%d lines: %s", len(lines), out.String())
	}
	for i, line := range lines {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]any{"msg": "progress", "step": "distill", "total": 4000.0, "requests": 420.0, "in_flight": 60.0, "concurrency": 64.0,
			"accepted": 450.0, "judged": 900.0, "cost_dollars": 0.169, "retries": map[string]any{"429": 12.0, "500": 8.0}, "from_store": 100.0} {
			if d := cmp.Diff(want, got[key]); d != "" {
				t.Errorf("%s: %s", key, d)
			}
		}
		if _, there := got["cost_at_end_dollars"]; there != (i < 2) {
			t.Errorf("line %d foretells a cost: %t", i, there)
		}
	}
}

// TestWatcherWaits looks at what is said of a time in which nothing can be sent.
func TestWatcherWaits(t *testing.T) {
	until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := distill.Wait{Endpoint: "http://e/v1", Why: "it answered 429", Until: until}
	var out bytes.Buffer
	ui := UI{Out: &out}
	w := &watcher{ui: ui, bar: ui.bar("distill", 10)}
	w.waits(at)
	w.waits(distill.Wait{})
	if want := "distill  waits until 03:04:05: it answered 429\ndistill  goes on\n"; out.String() != want {
		t.Errorf("%q, not %q", out.String(), want)
	}
	var log bytes.Buffer
	w.ui.Log = slog.New(slog.NewJSONHandler(&log, nil))
	w.waits(at)
	w.waits(distill.Wait{})
	for _, say := range []string{`"level":"WARN","msg":"waiting","step":"distill","endpoint":"http://e/v1","why":"it answered 429","until":"2026-01-02T03:04:05Z"}`, `"msg":"waiting is over"`} {
		if !strings.Contains(log.String(), say) {
			t.Errorf("%q is not in %s", say, log.String())
		}
	}
	s := asking42
	s.PerSecond, s.Waiting = 200, at
	if brief := w.brief(s); !strings.Contains(brief, ", 200/s allowed, waits until 03:04:05, sent again") {
		t.Errorf("%q", brief)
	}
}

func TestGauges(t *testing.T) {
	e, err := metrics.Listen("127.0.0.1:0", "r")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	e.Set(gauges(asking42))
	answer, err := http.Get(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`stillhouse_distill_requests_total{run="r"} 420`, `stillhouse_distill_answers_total{run="r"} 800`, `stillhouse_distill_stored_answers_total{run="r"} 100`,
		`stillhouse_distill_retries_total{kind="429",run="r"} 12`, `stillhouse_distill_retries_total{kind="500",run="r"} 8`,
		`stillhouse_distill_requests_in_flight{run="r"} 60`, `stillhouse_distill_cost_dollars{run="r"} 0.169`, `stillhouse_distill_accepted_total{run="r"} 450`,
		"# TYPE stillhouse_distill_requests_total counter", "# TYPE stillhouse_distill_concurrency gauge",
	} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

func TestStaleShards(t *testing.T) {
	account := func(target, budget int64) stillhouse.Account {
		return stillhouse.Account{Unasked: map[string]int64{distill.TargetReached: target, distill.BudgetSpent: budget}}
	}
	whole := account(0, 0)
	for name, tc := range map[string]struct {
		accounts    []stillhouse.Account
		was, target int
		spent       bool
		stale       []int
	}{
		"nothing changed":            {[]stillhouse.Account{whole, account(3, 0)}, 5, 5, false, nil},
		"a target raised":            {[]stillhouse.Account{whole, account(3, 0), account(9, 0)}, 5, 6, false, []int{1, 2}},
		"a target taken away":        {[]stillhouse.Account{whole, account(3, 0), account(9, 0)}, 5, 0, false, []int{1, 2}},
		"a target lowered":           {[]stillhouse.Account{whole, whole, account(9, 0)}, 5, 4, false, []int{0, 1, 2}},
		"a target set":               {[]stillhouse.Account{whole, whole}, 0, 4, false, []int{0, 1}},
		"a budget still spent":       {[]stillhouse.Account{whole, account(0, 3)}, 0, 0, true, nil},
		"a budget raised":            {[]stillhouse.Account{whole, account(0, 3), whole, account(0, 9)}, 0, 0, false, []int{1, 3}},
		"a budget, with a target":    {[]stillhouse.Account{whole, account(0, 3), whole, account(9, 0)}, 5, 5, false, []int{1, 2, 3}},
		"a target raised, and spent": {[]stillhouse.Account{whole, account(3, 1), account(9, 0)}, 5, 8, true, []int{1, 2}},
	} {
		accounts := map[int]stillhouse.Account{}
		for i, a := range tc.accounts {
			accounts[i] = a
		}
		if d := cmp.Diff(tc.stale, staleShards(accounts, tc.was, tc.target, tc.spent)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestBySamples(t *testing.T) {
	var rows []stillhouse.Scored
	add := func(id string, rewards ...float64) {
		for _, r := range rewards {
			rows = append(rows, stillhouse.Scored{Candidate: stillhouse.Candidate{Prompt: stillhouse.Prompt{ID: id}}, Reward: r})
		}
	}
	add("a", 1)
	add("b", 0, 1, 1)
	add("c", 1)
	add("d", 0, math.NaN(), 0.5)
	want := []ByK{{Samples: 1, Prompts: 2, AcceptedPrompts: 2, Accepted: 2}, {Samples: 3, Prompts: 2, AcceptedPrompts: 1, Accepted: 2}}
	if d := cmp.Diff(want, bySamples(rows, &curate.Select{MinReward: new(1.0)})); d != "" {
		t.Error(d)
	}
	want[1].AcceptedPrompts, want[1].Accepted = 2, 5
	if d := cmp.Diff(want, bySamples(rows, &curate.Select{})); d != "" {
		t.Error(d)
	}
}
