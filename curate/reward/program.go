package reward

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A program runs, reads lines and answers each with a line. It is asked by one goroutine at a time.
type program struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	most   int   // bytes of a line that it answers
	stderr *tail // the end of what it says there

	gone sync.Once
}

// errGone is the error of a program that ended without an answer.
var errGone = errors.New("the program ended")

// start starts a program in a process group of its own, so that what it starts ends with it.
func start(command []string, most int) (*program, error) {
	p := &program{cmd: exec.Command(command[0], command[1:]...), most: most, stderr: &tail{most: 200}}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second
	p.cmd.Stderr = p.stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// ask writes a line and reads one. After an error the program is no more; errGone means that it ended by itself.
func (p *program) ask(ctx context.Context, line []byte) (answer []byte, err error) {
	type result struct {
		line []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		go p.in.Write(append(line, '\n')) // it may answer without having read everything
		l, err := p.line()
		done <- result{l, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, p.end(r.err)
		}
		return r.line, nil
	case <-ctx.Done():
		p.end(nil)
		<-done
		return nil, ctx.Err()
	}
}

// line reads a line of bounded length.
func (p *program) line() (line []byte, err error) {
	for {
		part, err := p.out.ReadSlice('\n')
		if len(line)+len(part) > p.most {
			return nil, fmt.Errorf("it answered with more than %d bytes", p.most)
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSpace(line), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case len(line) > 0:
			return nil, fmt.Errorf("it ended in the middle of an answer, after %q", shorten(string(line)))
		default:
			return nil, errGone
		}
	}
}

// end kills the program and all that it started, and hands on the error.
func (p *program) end(err error) error {
	p.gone.Do(func() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		p.in.Close()
		p.cmd.Wait()
	})
	return err
}

// death says how the program ended, with the last line that it left in its standard error.
func (p *program) death() error {
	last := strings.TrimSpace(p.stderr.String())
	if i := strings.LastIndexByte(last, '\n'); i >= 0 {
		last = last[i+1:]
	}
	if last == "" {
		last = "nothing in its standard error"
	}
	return fmt.Errorf("the program ended without an answer: %s", last)
}

// A tail keeps the last bytes that are written.
type tail struct {
	most int
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b[max(0, len(b)-t.most):]...)
	t.text = t.text[max(0, len(t.text)-t.most):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
