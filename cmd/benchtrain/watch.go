package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// watched runs a training and watches its log. cpu is the processor time, in seconds, that it took from its first line
// to its last one; peak is the most memory that it held, in MiB.
func (b bench) watched(ctx context.Context, log, name string, args ...string) (out string, cpu float64, peak int64, err error) {
	var text, bad bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &text, &bad, environment()
	if err := cmd.Start(); err != nil {
		return "", 0, 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	seen := 0
	var first, last float64
	for {
		select {
		case err := <-ended:
			if err != nil {
				return "", 0, 0, fmt.Errorf("%s %s: %w\n%s", name, args[0], err, end(bad.String()))
			}
			return text.String(), last - first, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10, nil
		case <-tick.C:
			data, _ := os.ReadFile(log) // not there yet, or not any more
			n := bytes.Count(data, []byte("\n"))
			if n <= seen {
				continue
			}
			now := processorTime(cmd.Process.Pid)
			if seen == 0 {
				first = now
			}
			seen, last = n, now
		}
	}
}

// processorTime is the processor time that a process has taken, in seconds, 0 when it is not there.
func processorTime(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// Behind the name in brackets; times 14 and 15 of proc(5), in hundredths of a second.
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}

// command runs a command to its end and returns its output and the most memory it held, in MiB.
func (b bench) command(ctx context.Context, name string, args ...string) (string, int64, error) {
	var text, bad bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &text, &bad, environment()
	if err := cmd.Run(); err != nil {
		return "", 0, fmt.Errorf("%s: %w\n%s", name, err, end(bad.String()))
	}
	return text.String(), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10, nil
}

// threads are those that all runs use.
const threads = 2

func environment() []string { return append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", threads)) }

// end is the end of what a command said.
func end(text string) string { return text[max(0, len(text)-2000):] }
