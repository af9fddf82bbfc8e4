package reward

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"strings"

	"stillhouse"
	"stillhouse/internal/options"
)

// Command is the reward command: a program that reads one JSON object a line and answers each with
// one line. It is started once and kept alive. One that dies, says what is not an answer or doesn't answer in time is
// started anew; that costs the row that it was asked about, and no other.
type Command struct {
	Command     []string `yaml:"command" json:"command" doc:"The program and its arguments, such as [python3, reward.py]; no shell is in between."`
	Concurrency int      `yaml:"concurrency" json:"concurrency" doc:"How many of the program run at a time."`
	MaxOutput   int      `yaml:"max_output" json:"max_output" doc:"The most bytes that an answer may have."`
	Version     string   `yaml:"version" json:"version" doc:"Changes whenever the program may score otherwise, so that its scores are made again; a change in the files that the command names is noticed without it."`
}

// EnsureDefaults fills in: one program, answers of up to 1 MiB.
func (o *Command) EnsureDefaults() {
	if o.Concurrency == 0 {
		o.Concurrency = 1
	}
	if o.MaxOutput == 0 {
		o.MaxOutput = 1 << 20
	}
}

// Validate is an Invalid error when there is no program to start.
func (o *Command) Validate() error {
	switch {
	case len(o.Command) == 0 || o.Command[0] == "":
		return options.Wrongf("command", "is missing: name a program, such as command: [python3, reward.py]")
	case o.Concurrency < 0 || o.Concurrency > 256:
		return options.Wrongf("concurrency", "is %d: it must be 1 to 256", o.Concurrency)
	case o.MaxOutput < 0 || o.MaxOutput > 64<<20:
		return options.Wrongf("max_output", "is %d: it must be 1 to %d bytes", o.MaxOutput, 64<<20)
	}
	return nil
}

// New makes the reward. The program starts with the first candidate; that there is one is checked now.
func (o *Command) New() (Reward, error) {
	if _, err := exec.LookPath(o.Command[0]); err != nil {
		return nil, stillhouse.Invalidf("the command %q cannot be started: %w: install it, or name it by its path", o.Command[0], err)
	}
	r := &commandReward{o: *o, version: "1" + filesVersion(o.Command, o.Version), seats: make(chan *seat, o.Concurrency)}
	for range o.Concurrency {
		r.seats <- &seat{}
	}
	return r, nil
}

// filesVersion is a hash of a version and of the files that a command names.
func filesVersion(command []string, version string) string {
	h := sha256.New()
	io.WriteString(h, version)
	known := version != ""
	for _, name := range command {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if at, err := f.Stat(); err == nil && at.Mode().IsRegular() {
			known = true
			io.Copy(h, io.LimitReader(f, 16<<20))
		}
		f.Close()
	}
	if !known {
		return ""
	}
	return "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// A commandReward has seats for its programs. Who asks takes a seat and gives it back.
type commandReward struct {
	o       Command
	version string
	seats   chan *seat
}

// A seat holds a program that runs, or none.
type seat struct {
	program  *program
	answered int // of the rows that the program was asked about
}

var (
	_ Concurrent = (*commandReward)(nil)
	_ io.Closer  = (*commandReward)(nil)
)

func (r *commandReward) Version() string  { return r.version }
func (r *commandReward) Concurrency() int { return r.o.Concurrency }

// Score asks the program. Where one fails that has answered before, the cause may lie with the rows before: it ended after
// them, or said more than was asked. A new one is asked once more then, and what that one does is this row's own.
func (r *commandReward) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	row, err := outsideOf(c)
	if err != nil {
		return failed("the row cannot be written: %v", err)
	}
	var s *seat
	select {
	case s = <-r.seats:
	case <-ctx.Done():
		return outOfTime
	}
	defer func() { r.seats <- s }()
	for {
		if s.program == nil {
			if s.program, err = start(r.o.Command, r.o.MaxOutput); err != nil {
				return failed("the program cannot be started: %v", err)
			}
			s.answered = 0
		}
		line, err := s.program.ask(ctx, row)
		var score stillhouse.Score
		if err == nil {
			if score, err = readReply(line, outsideID(c)); err == nil {
				s.answered++
				return score
			}
			err = s.program.end(err)
		}
		again := s.answered > 0
		if err == errGone {
			err = s.program.death()
		}
		s.program = nil
		if ctx.Err() != nil {
			// The next one is asked sooner when the program has started meanwhile.
			s.program, _ = start(r.o.Command, r.o.MaxOutput)
			s.answered = 0
			return outOfTime
		}
		if !again {
			return failed("%s", shortenTo(strings.ToValidUTF8(err.Error(), "\uFFFD"), 300))
		}
	}
}

// Close ends the programs.
func (r *commandReward) Close() error {
	for range r.o.Concurrency {
		if s := <-r.seats; s.program != nil {
			s.program.end(nil)
		}
	}
	return nil
}
