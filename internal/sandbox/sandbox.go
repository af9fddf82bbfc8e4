// Package sandbox runs programs that nobody has looked at, by bubblewrap: in namespaces of their own, with nothing of this
// machine but a read-only runtime, without network and environment, as one process of bounded memory, files and output.
package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Sandbox says how programs are run. Its zero value has no limits: see [Limits].
type Sandbox struct {
	ReadOnly []string // further directories that programs may read
	Limits   Limits
	Open     bool // without bubblewrap: only the limits are there, and the program may do what its user may
}

// Limits bound a program. 0 is no bound, but for Output.
type Limits struct {
	Memory    int64 // bytes of address space of a process, and of files in the sandbox
	Output    int   // bytes that are read of each of standard output and error
	CPU       int   // seconds of processor time of a process
	Processes int   // 1 lets it start none; more is RLIMIT_NPROC, which the kernel doesn't hold against root
}

// A Result is what a program left.
type Result struct {
	Output, Error []byte // at most Limits.Output each
	TooMuch       bool   // it wrote more to its standard output
	Exit          int    // its exit status, -1 where a signal ended it
}

// Bwrap is the program that makes the sandbox.
const Bwrap = "bwrap"

// Program is where the file that is handed to [Sandbox.Run] lies for the program.
const Program = "/answer/program"

// shellLimits sets the limits with the shell that every system has, and becomes the program. dash calls -p what bash calls -u.
const shellLimits = `ulimit -c 0; ulimit -n 256
[ "$1" = 0 ] || ulimit -v "$1" || exit 125
[ "$2" = 0 ] || ulimit -t "$2" || exit 125
[ "$3" = 0 ] || ulimit -f "$3" || exit 125
[ "$4" -lt 2 ] || ulimit -u "$4" 2>/dev/null || ulimit -p "$4" || exit 125
shift 4
exec "$@"`

// Command is what is run for a command in the sandbox; file is the descriptor of the program's text, filter that of the
// system call filter; negative ones are left out.
func (s Sandbox) Command(command []string, file, filter int) []string {
	files := s.Limits.Memory / 512
	limited := append([]string{"sh", "-c", shellLimits, "sh", strconv.FormatInt(s.Limits.Memory/1024, 10), strconv.Itoa(s.Limits.CPU),
		strconv.FormatInt(files, 10), strconv.Itoa(s.Limits.Processes)}, command...)
	if s.Open {
		return limited
	}
	args := []string{Bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox", "--clearenv",
		"--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin", "--setenv", "HOME", "/answer", "--setenv", "LANG", "C.UTF-8", "--setenv", "PYTHONHASHSEED", "0"}
	for _, dir := range []string{"/usr", "/lib", "/lib64", "/bin", "/sbin"} {
		if to, err := os.Readlink(dir); err == nil {
			args = append(args, "--symlink", to, dir)
		} else {
			args = append(args, "--ro-bind-try", dir, dir)
		}
	}
	args = append(args, "--ro-bind-try", "/etc/alternatives", "/etc/alternatives", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache")
	for _, dir := range s.ReadOnly {
		args = append(args, "--ro-bind", dir, dir)
	}
	args = append(args, "--proc", "/proc", "--dev", "/dev")
	for _, dir := range []string{"/answer", "/tmp"} {
		if s.Limits.Memory > 0 {
			args = append(args, "--size", strconv.FormatInt(s.Limits.Memory/4, 10))
		}
		args = append(args, "--tmpfs", dir)
	}
	if file >= 0 {
		args = append(args, "--ro-bind-data", strconv.Itoa(file), Program)
	}
	if filter >= 0 {
		args = append(args, "--seccomp", strconv.Itoa(filter))
	}
	args = append(args, "--remount-ro", "/", "--chdir", "/answer", "--")
	return append(args, limited...)
}

// Run runs a command with this input. What stands for [Program] in it is the file's text. An error means that it could not be
// run, or that ctx ended; all that the program started has ended when Run returns.
func (s Sandbox) Run(ctx context.Context, command []string, file, input []byte) (r Result, err error) {
	dir, err := os.MkdirTemp("", "stillhouse-sandbox-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	var extra []*os.File
	defer func() {
		for _, f := range extra {
			f.Close()
		}
	}()
	hand := func(data []byte) (descriptor int, err error) { // the program's descriptors begin at 3
		name := filepath.Join(dir, "f"+strconv.Itoa(len(extra)))
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return -1, err
		}
		f, err := os.Open(name)
		if err != nil {
			return -1, err
		}
		extra = append(extra, f)
		return 2 + len(extra), nil
	}
	fileAt, filterAt := -1, -1
	if s.Open {
		if err := os.WriteFile(filepath.Join(dir, "program"), file, 0o600); err != nil {
			return r, err
		}
		command = replace(command, filepath.Join(dir, "program"))
	} else {
		if fileAt, err = hand(file); err != nil {
			return r, err
		}
		if filterAt, err = hand(filter(s.Limits.Processes == 1)); err != nil {
			return r, err
		}
	}
	args := s.Command(command, fileAt, filterAt)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.ExtraFiles = extra
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.WaitDelay = time.Second
	if s.Open {
		cmd.Dir, cmd.Env = dir, append(cmd.Env, "HOME="+dir, "LANG=C.UTF-8", "PYTHONHASHSEED=0")
	}
	stop := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, bad := &bounded{most: s.Limits.Output}, &bounded{most: s.Limits.Output}
	out.full = stop
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), out, bad
	if err := cmd.Start(); err != nil {
		return r, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		stop()
		<-ended
		return r, ctx.Err()
	}
	stop() // what it left behind, where no namespace ends it
	r = Result{Output: out.data, Error: bad.data, TooMuch: out.over, Exit: cmd.ProcessState.ExitCode()}
	var status *exec.ExitError
	if errors.As(err, &status) || errors.Is(err, exec.ErrWaitDelay) || errors.Is(err, syscall.EPIPE) {
		err = nil
	}
	return r, err
}

func replace(command []string, with string) []string {
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = strings.ReplaceAll(word, Program, with)
	}
	return out
}

// Check runs a command that must succeed, and says what to do where the sandbox cannot be made.
func (s Sandbox) Check(ctx context.Context, command []string) error {
	if !s.Open {
		if _, err := exec.LookPath(Bwrap); err != nil {
			return fmt.Errorf("there is no %s, which keeps programs from doing harm: install bubblewrap (apt-get install bubblewrap, dnf install bubblewrap)", Bwrap)
		}
	}
	r, err := s.Run(ctx, command, nil, nil)
	if err != nil {
		return fmt.Errorf("the sandbox cannot be tried: %w", err)
	}
	if r.Exit != 0 {
		said := strings.TrimSpace(string(r.Error))
		if len(said) > 300 {
			said = said[len(said)-300:]
		}
		return fmt.Errorf("%s does not run in the sandbox (exit status %d): %q: where this is about namespaces, the machine must allow them to its users "+
			"(sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0); where it is about a program that is not found, name its directory among those to be read", command[0], r.Exit, strings.ToValidUTF8(said, "\uFFFD"))
	}
	return nil
}

// bounded keeps the first bytes that are written, and has full called when there are more.
type bounded struct {
	most int
	data []byte
	over bool
	full func()
}

var _ io.Writer = (*bounded)(nil)

func (b *bounded) Write(p []byte) (int, error) {
	room := b.most - len(b.data)
	b.data = append(b.data, p[:min(len(p), room)]...)
	if len(p) > room && !b.over {
		b.over = true
		if b.full != nil {
			b.full()
		}
	}
	return len(p), nil
}
