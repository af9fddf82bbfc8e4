// Benchdistill measures how stillhouse asks a teacher beside other engines, all against one mock: make bench-distill.
// It writes a page for docs/benchmarks and, as the last line of its output, one JSON object.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"stillhouse/internal/bench"
	"stillhouse/internal/machine"
	"stillhouse/internal/mockteacher"
)

// settings are the benchmark's flags.
type settings struct {
	program, python, out, work, only string
	peers                            []string
	prompts, rounds                  int
}

func main() {
	log.SetFlags(log.Ltime)
	b := settings{}
	serve := flag.String("serve", "", "serve the mock with these options, in JSON, until told to stop: what the benchmark runs")
	many := flag.Int("many", 0, "measure only how much memory so many prompts take to plan, and a tenth of them to run")
	peers := flag.String("peers", strings.Join(peerNames, ","), "the peers to measure, by commas")
	flag.StringVar(&b.program, "program", "bin/stillhouse", "our program")
	flag.StringVar(&b.python, "python", "", "the folder of the peers' environments, each with bin/python; without it only ours is measured")
	flag.StringVar(&b.out, "out", "docs/benchmarks", "the folder that the page is written to")
	flag.StringVar(&b.only, "only", "", "the runs to measure, by commas: A, B, D, D50, E, F; all when empty")
	flag.IntVar(&b.prompts, "prompts", 2000, "prompts of a run")
	flag.IntVar(&b.rounds, "rounds", 3, "how often ours and the peers take turns in run A; the other runs are measured once")
	flag.Parse()
	if b.python != "" {
		b.peers = strings.Split(*peers, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := error(nil)
	switch {
	case *serve != "":
		err = serveMock(ctx, *serve)
	case *many > 0:
		err = b.inWork(func() error { return b.memory(ctx, *many) })
	default:
		err = b.inWork(func() error { return b.run(ctx) })
	}
	if err != nil {
		stop()
		log.Fatal("benchdistill: ", err)
	}
}

// inWork does something with a folder to work in, which is gone afterwards.
func (b *settings) inWork(do func() error) (err error) {
	if b.work, err = os.MkdirTemp("", "benchdistill"); err != nil {
		return err
	}
	defer os.RemoveAll(b.work)
	if b.program, err = filepath.Abs(b.program); err != nil {
		return err
	}
	return do()
}

func (b *settings) run(ctx context.Context) error {
	r := report{Began: time.Now(), Machine: machine.Describe(), Prompts: b.prompts}
	var failed error
	for _, c := range cases {
		if !bench.Wanted(b.only, c.name) || failed != nil {
			continue
		}
		rounds := 1
		if c.name == "A" {
			rounds = b.rounds
		}
		var pairs bench.Pairs[result]
		pairs, failed = bench.Run(ctx, []bench.Case[result]{b.engines(c)}, rounds, func(c, who string, m result) { log.Printf("%-4s %-12s %s", c, who, m) })
		r.Pairs = append(r.Pairs, pairs...)
	}
	if len(r.Pairs) == 0 {
		return failed
	}
	o := r.object()
	return errors.Join(failed, bench.Publish(b.out, "distill", r.Began, o, r.page(), os.Stdout))
}

// engines are ours and the peers in one run. A peer that crashes is a result.
func (b *settings) engines(c benchCase) bench.Case[result] {
	run := func(e engine) func(context.Context) (result, error) {
		return func(ctx context.Context) (result, error) { return b.one(ctx, c, e) }
	}
	all := bench.Case[result]{Name: c.name, Ours: run(ours{b.program})}
	for _, name := range b.peers {
		all.Peers = append(all.Peers, bench.Runner[result]{Name: name, Run: run(newPeer(b.python, name))})
	}
	return all
}

// serveMock is the other side of startMock.
func serveMock(ctx context.Context, text string) error {
	var o mockteacher.Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	return mockteacher.New(o).Serve(ctx, func(url string) { fmt.Println(url) })
}

// A mock is the teacher in a process of its own.
type mock struct {
	url string
	cmd *exec.Cmd
}

func startMock(ctx context.Context, o mockteacher.Options) (*mock, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m := &mock{cmd: exec.CommandContext(ctx, self, "-serve", string(text))}
	m.cmd.Env = append(os.Environ(), "GOGC=400")
	m.cmd.Stderr = os.Stderr
	lines, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.cmd.Start(); err != nil {
		return nil, err
	}
	s := bufio.NewScanner(lines)
	if !s.Scan() {
		return nil, fmt.Errorf("the mock did not start: %w", m.cmd.Wait())
	}
	m.url = s.Text()
	return m, nil
}

func (m *mock) stop() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}
