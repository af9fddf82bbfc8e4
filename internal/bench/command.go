package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A Command is a program that is run to its end.
type Command struct {
	Args []string // the program first
	Env  []string // beside this process's own, as NAME=VALUE
	// Every, when it is there, is called about fifty times a second while the program runs, with its process id.
	Every func(pid int)
}

// An Ended command.
type Ended struct {
	Out     string
	CPU     float64 // processor time of the process and of children that it waited for, seconds
	Wall    float64 // from its start to its end, seconds
	PeakMiB int64   // the most memory that the process held, seen at the latest 20 ms before its end
}

// Run runs a command. An error ends with the end of what it said on standard error.
func (c Command) Run(ctx context.Context) (Ended, error) {
	var out, bad bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &bad, append(os.Environ(), c.Env...)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return Ended{}, err
	}
	pid, peak := cmd.Process.Pid, int64(0)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			peak = max(peak, peakMiB(pid))
			if c.Every != nil {
				c.Every(pid)
			}
		case err := <-ended:
			if err != nil {
				said := bad.String()
				return Ended{}, fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, said[max(0, len(said)-2000):])
			}
			took := cmd.ProcessState
			return Ended{Out: out.String(), CPU: (took.UserTime() + took.SystemTime()).Seconds(), Wall: time.Since(began).Seconds(), PeakMiB: peak}, nil
		}
	}
}

// peakMiB is the most memory that a process has held, 0 when it is not there. The maximum that the kernel gives when a
// process has ended would not do: it counts from before the program was loaded, when the process shared our memory.
func peakMiB(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	if f := strings.Fields(after); len(f) > 0 {
		kib, _ := strconv.ParseInt(f[0], 10, 64)
		return kib >> 10
	}
	return 0
}

// ProcessorTime is what all threads of a process have worked, in seconds; 0 when it is not there, or where the system
// does not say.
func ProcessorTime(pid int) float64 {
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
