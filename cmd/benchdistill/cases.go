package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stillhouse/internal/mockteacher"
)

// A benchCase is one way of the mock to behave, and how it is asked.
type benchCase struct {
	name, title string
	mock        mockteacher.Options
	concurrency int
	kill        bool          // the engine is killed when half of the prompts are answered, and started again
	limit       time.Duration // after which an engine is stopped
}

var cases = []benchCase{
	{name: "A", title: "no latency, 64 at once", concurrency: 64, limit: 3 * time.Minute},
	{name: "B", title: "200 ms ± 50 %, 256 at once", concurrency: 256, limit: 3 * time.Minute,
		mock: mockteacher.Options{Latency: 200 * time.Millisecond, Jitter: 0.5}},
	{name: "D", title: "200 requests a second allowed, 50 at once after a pause, Retry-After: 1", concurrency: 64, limit: 2 * time.Minute,
		mock: mockteacher.Options{Rate: 200, Burst: 50, RetryAfter: "1"}},
	{name: "D50", title: "50 requests a second allowed, 50 at once after a pause, Retry-After: 1", concurrency: 64, limit: 3 * time.Minute,
		mock: mockteacher.Options{Rate: 50, Burst: 50, RetryAfter: "1"}},
	{name: "E", title: "5 % answered 500, 2 % 503, 2 % cut off, 1 % garbage, 2 % truncated", concurrency: 64, limit: 3 * time.Minute,
		mock: mockteacher.Options{RetryAfter: "1", Faults: map[string]float64{"fail500": 0.05, "fail503": 0.02, "drop": 0.02, "garbage": 0.01, "truncate": 0.02}}},
	{name: "F", title: "50 ms, kill -9 half way, then the same command again", concurrency: 64, kill: true, limit: 3 * time.Minute,
		mock: mockteacher.Options{Latency: 50 * time.Millisecond}},
}

// A job is what an engine is given.
type job struct {
	work        string // a folder of its own, kept over a kill
	prompts     string // JSONL with the column prompt
	url         string
	concurrency int
}

// An engine is a program that asks a teacher.
type engine interface {
	name() string                            // of its folder
	command(job) ([]string, []string, error) // and its environment
	answers(job) (answers, error)
}

// answers are what an engine gave out.
type answers struct {
	texts map[string]string // the answer by prompt
	told  map[string]bool   // prompts that were left out with a reason
}

// A result is one run of one engine.
type result struct {
	End    string             `json:"end"` // how the process ended
	WallS  float64            `json:"wall_s"`
	CPUS   float64            `json:"cpu_s"`
	Peak   int64              `json:"peak_mib"`
	StartS float64            `json:"start_s"`  // from the start of the process to its first request
	Window float64            `json:"window_s"` // from the first request to the last whole answer
	Rows   int                `json:"rows"`
	Lost   int                `json:"lost"` // prompts without an answer and without a reason
	Cut    int                `json:"cut"`  // truncated answers that were given out as if they were whole
	Stats  mockteacher.Stats  `json:"stats"`
	AtKill *mockteacher.Stats `json:"at_kill,omitempty"`
}

func (r result) String() string {
	s := fmt.Sprintf("%5d rows of %d requests, window %6.2f s (%6.0f/s), start %.2f s, wall %6.2f s, cpu %6.2f s, %4d MiB, lost %d, cut %d", r.Rows, r.Stats.Requests,
		r.Window, r.perS(), r.StartS, r.WallS, r.CPUS, r.Peak, r.Lost, r.Cut)
	if r.AtKill != nil {
		s += fmt.Sprintf(", asked again after an answer: %d", r.Stats.Resent)
	}
	if r.End != "" {
		s += ", " + r.End
	}
	return s
}

// perS are answered requests a second of the window.
func (r result) perS() float64 {
	if r.Window <= 0 {
		return 0
	}
	return float64(r.Stats.AnsweredBodies) / r.Window
}

// perAnswer are requests an answer.
func (r result) perAnswer() float64 {
	return float64(r.Stats.Requests) / float64(max(1, r.Stats.AnsweredBodies))
}

// one measures one engine in one run.
func (b *settings) one(ctx context.Context, c benchCase, e engine) (result, error) {
	var r result
	j := job{work: filepath.Join(b.work, c.name+"-"+e.name()), concurrency: c.concurrency}
	if err := os.RemoveAll(j.work); err != nil {
		return r, err
	}
	if err := os.MkdirAll(j.work, 0o755); err != nil {
		return r, err
	}
	var asked []string
	var err error
	if j.prompts, asked, err = writePrompts(b.work, b.prompts); err != nil {
		return r, err
	}
	m, err := startMock(ctx, c.mock)
	if err != nil {
		return r, err
	}
	defer m.stop()
	j.url = m.url
	command, env, err := e.command(j)
	if err != nil {
		return r, err
	}
	if c.kill {
		first := start(ctx, command, env, filepath.Join(j.work, "killed.log"))
		first.wait(c.limit, func() bool {
			s, err := m.stats()
			return err == nil && s.AnsweredBodies >= int64(len(asked)/2)
		})
		s, err := m.settled()
		if err != nil {
			return r, err
		}
		r.AtKill = &s
	}
	p := start(ctx, command, env, filepath.Join(j.work, "run.log"))
	p.wait(c.limit, nil)
	r.End, r.WallS, r.CPUS, r.Peak = p.end, p.wall.Seconds(), p.cpu, p.peak>>20
	if r.Stats, err = m.stats(); err != nil {
		return r, err
	}
	if !c.kill {
		r.StartS = float64(r.Stats.FirstNS-p.began.UnixNano()) / 1e9
	}
	r.Window = r.Stats.Window()
	if err := ctx.Err(); err != nil {
		return r, err
	}
	got, err := e.answers(j)
	if err != nil {
		return r, err
	}
	r.judge(asked, got)
	return r, nil
}

// judge compares what was given out with what was asked. The mock's whole answers end with a full stop, truncated ones
// never do.
func (r *result) judge(asked []string, got answers) {
	for _, p := range asked {
		text, ok := got.texts[p]
		switch {
		case ok && !strings.HasSuffix(text, "."):
			r.Cut++
			r.Rows++
		case ok:
			r.Rows++
		case !got.told[p]:
			r.Lost++
		}
	}
}

func (m *mock) stats() (s mockteacher.Stats, err error) {
	resp, err := http.Get(strings.TrimSuffix(m.url, "/v1") + "/stats")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// settled are the books once no answer has come any more for half a second.
func (m *mock) settled() (s mockteacher.Stats, err error) {
	for {
		time.Sleep(500 * time.Millisecond)
		next, err := m.stats()
		if err != nil || next.LastNS == s.LastNS {
			return next, err
		}
		s = next
	}
}
