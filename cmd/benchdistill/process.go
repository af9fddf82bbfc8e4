package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is a command in a group of its own, with all that it starts.
type process struct {
	cmd   *exec.Cmd
	err   error
	log   *os.File
	began time.Time

	end  string // how it ended, "" for well
	wall time.Duration
	cpu  float64 // seconds, of all its processes
	peak int64   // bytes resident, of all its processes together, seen every 20 ms
}

func start(ctx context.Context, command, env []string, log string) *process {
	p := &process{cmd: exec.CommandContext(ctx, command[0], command[1:]...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	if p.log, p.err = os.Create(log); p.err != nil {
		return p
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.began = time.Now()
	p.err = p.cmd.Start()
	return p
}

// wait waits for the end, and kills the group when stop says so or the limit is over.
func (p *process) wait(limit time.Duration, stop func() bool) {
	if p.err != nil {
		p.end = p.err.Error()
		return
	}
	defer p.log.Close()
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	killed := ""
	for {
		select {
		case err := <-ended:
			p.wall = time.Since(p.began)
			p.cpu = (p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()).Seconds() // with the children that it waited for
			if p.end = killed; p.end == "" && err != nil {
				p.end = err.Error()
			}
			return
		case <-tick.C:
			if killed == "" && time.Since(p.began) > limit {
				killed = fmt.Sprintf("stopped after %v", limit)
			}
			if killed == "" && stop != nil && stop() {
				killed = "killed"
			}
			if killed != "" {
				_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
				continue
			}
			p.peak = max(p.peak, resident(p.cmd.Process.Pid))
		}
	}
}

// resident is the memory that the processes of a group hold together, in bytes.
func resident(group int) (sum int64) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		// Behind the name in brackets: 2 is the group, 21 the resident pages (proc(5), fields 5 and 24).
		f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(f) < 22 || f[2] != strconv.Itoa(group) {
			continue
		}
		pages, _ := strconv.ParseInt(f[21], 10, 64)
		sum += pages * int64(os.Getpagesize())
	}
	return sum
}
